/** `/login ai-server`: asks for the address and the certificates, tries them, and keeps them. */
import type { ApiKeyCredential, AuthPrompt, ProviderAuthInteraction } from "@earendil-works/pi-ai";
import { type Config, DEFAULTS } from "../config.ts";
import { type Link, ServerError, sentenceOf } from "../lib/errors.ts";
import type { AiServer } from "./ai-server.ts";

type Question = { name: string; prompt: AuthPrompt; links: readonly Link[] };

const CERTIFICATE_LINKS: readonly Link[] = ["certificates", "TLS"];

/** The questions in order; a fault at one of the `links` repeats its question. */
function questions(config: Config | undefined): Question[] {
  return [
    {
      name: "AI_SERVER_URL",
      prompt: { type: "text", message: "Address of the server", placeholder: DEFAULTS.AI_SERVER_URL },
      links: ["DNS", "TCP", "Caddy", "server"],
    },
    {
      name: "AI_SERVER_CERTS_DIR",
      prompt: {
        type: "text",
        message: `Folder with ${DEFAULTS.AI_SERVER_CLIENT_CERT}, ${DEFAULTS.AI_SERVER_CLIENT_KEY} and ${DEFAULTS.AI_SERVER_CA}`,
        placeholder: config?.clientCert.replace(/[/\\][^/\\]*$/, "") ?? "~/.pi/agent/certs",
      },
      links: CERTIFICATE_LINKS,
    },
    {
      name: "AI_SERVER_SSH_HOST",
      prompt: {
        type: "text",
        message: "ssh target for administration (user@host, or local)",
        placeholder: DEFAULTS.AI_SERVER_SSH_HOST,
      },
      links: [],
    },
    {
      name: "AI_SERVER_CLIENT_KEY_PASSPHRASE",
      prompt: { type: "secret", message: "Passphrase of the client key (empty for none)" },
      links: CERTIFICATE_LINKS,
    },
    {
      name: "AI_SERVER_API_KEY",
      prompt: { type: "secret", message: "API key of the server (empty for none)" },
      links: ["server"],
    },
  ];
}

/** The question that a wrong answer belongs to: that of the variable to correct, or the link's. */
function questionFor(error: ServerError, all: readonly Question[]): Question | undefined {
  return (
    all.find(({ name }) => name === error.variable) ?? all.find(({ links }) => links.includes(error.link))
  );
}

/**
 * Asks, makes one request, and returns the credential for pi to store. After a wrong answer it repeats the question with
 * the reason.
 *
 * @throws what the interaction throws when the user cancels; a ServerError that no answer can correct
 */
export async function login(
  aiServer: AiServer,
  interaction: ProviderAuthInteraction,
): Promise<ApiKeyCredential> {
  const all = questions(defaultConfig(aiServer));
  const answers: Record<string, string> = {};
  const ask = async ({ name, prompt }: Question, reason?: string): Promise<void> => {
    const note = aiServer.isFromEnvironment(name) ? ` (${name} in the environment overrides the answer)` : "";
    const message = `${reason === undefined ? "" : `${reason}\n`}${prompt.message}${note}`;
    const given = await interaction.prompt({ ...prompt, message });
    // Spaces at the ends may belong to a passphrase.
    const answer = name === "AI_SERVER_CLIENT_KEY_PASSPHRASE" ? given : given.trim();
    if (answer === "") delete answers[name];
    else answers[name] = answer;
  };
  for (const question of all) {
    await ask(question);
    for (let fault = faultOf(aiServer, answers); fault !== undefined; fault = faultOf(aiServer, answers)) {
      if (!canMend(aiServer, question, fault)) throw fault;
      await ask(question, fault.message);
    }
  }
  for (;;) {
    try {
      interaction.notify({ type: "progress", message: "Asking the server…" });
      const { models } = await aiServer.discover(answers, { signal: interaction.signal });
      interaction.notify({
        type: "progress",
        message: `${models.length} ${models.length === 1 ? "model" : "models"} found`,
      });
      return { type: "api_key", env: stored(aiServer, answers) };
    } catch (error) {
      interaction.signal.throwIfAborted();
      const question = error instanceof ServerError ? questionFor(error, all) : undefined;
      if (question === undefined || aiServer.isFromEnvironment(question.name)) throw error;
      const { maskText } = await import("../masking/masking.ts");
      await ask(question, maskText(sentenceOf(error), "log"));
    }
  }
}

/** Whether another answer helps: not where the environment wins over it, or where another variable is wrong. */
function canMend(aiServer: AiServer, { name }: Question, fault: Error): boolean {
  return fault instanceof ServerError && fault.variable === name && !aiServer.isFromEnvironment(name);
}

function defaultConfig(aiServer: AiServer): Config | undefined {
  try {
    return aiServer.config({});
  } catch {
    return undefined;
  }
}

function faultOf(aiServer: AiServer, answers: Record<string, string>): Error | undefined {
  try {
    aiServer.config(answers);
    return undefined;
  } catch (error) {
    return error instanceof Error ? error : new Error(String(error));
  }
}

/** The answers, with the defaults spelled out, since a later version may have others. */
function stored(aiServer: AiServer, answers: Record<string, string>): Record<string, string> {
  const { origin, basePath, sshHost } = aiServer.config(answers);
  return { AI_SERVER_URL: origin + basePath, AI_SERVER_SSH_HOST: sshHost, ...answers };
}
