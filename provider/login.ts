/** `/login ai-server`: asks for the address, tries it, asks for what the server demands, and keeps the answers. */
import type { ApiKeyCredential, AuthPrompt, ProviderAuthInteraction } from "@earendil-works/pi-ai";
import { DEFAULTS } from "../config.ts";
import { type Link, ServerError, sentenceOf } from "../lib/errors.ts";
import { counted } from "../lib/figures.ts";
import type { AiServer } from "./ai-server.ts";

/** A fault with the `name` of its variable, or at one of the `links`, asks this question. */
type Question = { name: string; prompt: AuthPrompt; links: readonly Link[] };

const ADDRESS: Question = {
  name: "AI_SERVER_URL",
  prompt: {
    type: "text",
    message: `Address of the server (for the default, type ${DEFAULTS.AI_SERVER_URL})`,
    placeholder: "https://ai.example.org",
  },
  links: ["DNS", "TCP", "Caddy", "server"],
};

const CERTIFICATES: Question = {
  name: "AI_SERVER_CERTS_DIR",
  prompt: {
    type: "text",
    message: `Folder with ${DEFAULTS.AI_SERVER_CLIENT_CERT}, ${DEFAULTS.AI_SERVER_CLIENT_KEY} and ${DEFAULTS.AI_SERVER_CA}`,
    placeholder: "~/certs",
  },
  links: ["certificates", "TLS"],
};

const SSH_HOST: Question = {
  name: "AI_SERVER_SSH_HOST",
  prompt: {
    type: "text",
    message: "ssh target for the commands that administer the server (empty to leave them out)",
    placeholder: "user@host, or local for this machine",
  },
  links: [],
};

const QUESTIONS: readonly Question[] = [
  ADDRESS,
  CERTIFICATES,
  SSH_HOST,
  {
    name: "AI_SERVER_CLIENT_KEY_PASSPHRASE",
    prompt: { type: "secret", message: "Passphrase of the client key" },
    links: [],
  },
  { name: "AI_SERVER_API_KEY", prompt: { type: "secret", message: "API key of the server" }, links: [] },
];

/** The question whose answer can correct the fault: that of its variable, or of its link. */
function questionFor({ variable, link }: ServerError): Question | undefined {
  return (
    QUESTIONS.find(({ name }) => name === variable) ?? QUESTIONS.find(({ links }) => links.includes(link))
  );
}

/**
 * Asks for the address, makes one request, asks for what the request lacked, and returns the credential for pi to
 * store. After a wrong answer it repeats the question with the reason.
 *
 * @throws what the interaction throws when the user cancels; a ServerError that no answer can correct
 */
export async function login(
  aiServer: AiServer,
  interaction: ProviderAuthInteraction,
): Promise<ApiKeyCredential> {
  const answers: Record<string, string> = {};
  const ask = async (question: Question, reason?: string): Promise<void> => {
    const { name, prompt } = question;
    for (let why = reason; ; ) {
      const message = why === undefined ? prompt.message : `${why}\n${prompt.message}`;
      const given = await interaction.prompt({ ...prompt, message });
      // Spaces at the ends may belong to a passphrase.
      const answer = name === "AI_SERVER_CLIENT_KEY_PASSPHRASE" ? given : given.trim();
      if (answer === "") delete answers[name];
      else answers[name] = answer;
      const fault = answer === "" && question === ADDRESS ? withoutAddress() : faultOf(aiServer, answers);
      if (fault === undefined) return;
      if (!canCorrect(aiServer, question, fault)) throw fault;
      why = fault.message;
    }
  };
  if (!aiServer.isFromEnvironment(ADDRESS.name)) await ask(ADDRESS);
  for (;;) {
    try {
      interaction.notify({ type: "progress", message: "Asking the server…" });
      const { models } = await aiServer.discover(answers, { signal: interaction.signal });
      const found = `${counted(models.length, "model")} found`;
      interaction.notify({ type: "progress", message: found });
      break;
    } catch (error) {
      interaction.signal.throwIfAborted();
      const question = error instanceof ServerError ? questionFor(error) : undefined;
      if (question === undefined || aiServer.isFromEnvironment(question.name)) throw error;
      const { maskText } = await import("../masking/masking.ts");
      await ask(question, maskText(sentenceOf(error), "log"));
    }
  }
  if (aiServer.config(answers).sshHost === undefined) await ask(SSH_HOST);
  const { origin, basePath } = aiServer.config(answers);
  // Spelled out, since a later version may have another default.
  return { type: "api_key", env: { ...answers, AI_SERVER_URL: origin + basePath } };
}

/** An empty answer must not contact the default server, which is the author's. */
function withoutAddress(): ServerError {
  const { name: variable } = ADDRESS;
  return new ServerError("Type the address.", { link: "configuration", variable });
}

/** Whether another answer helps: not where the environment wins over it, or where another variable is wrong. */
function canCorrect(aiServer: AiServer, { name }: Question, fault: Error): boolean {
  return fault instanceof ServerError && fault.variable === name && !aiServer.isFromEnvironment(name);
}

function faultOf(aiServer: AiServer, answers: Record<string, string>): Error | undefined {
  try {
    aiServer.config(answers);
    return undefined;
  } catch (error) {
    return error instanceof Error ? error : new Error(String(error));
  }
}
