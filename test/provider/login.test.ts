import { createPrivateKey } from "node:crypto";
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { AuthEvent, AuthPrompt, ProviderAuthInteraction } from "@earendil-works/pi-ai";
import { beforeEach, describe, expect, onTestFinished, test } from "vitest";
import type { Variables } from "../../config.ts";
import { AiServer } from "../../provider/ai-server.ts";
import { login } from "../../provider/login.ts";
import { type Sim, startSim } from "../../sim/server.ts";
import { freePort } from "../support/network.ts";
import { kept } from "../support/wire.ts";

const CONFIG = `
models:
  a:
    cmd: llama-server --port \${PORT}
`;

let agentDir = "";
beforeEach(() => {
  const dir = mkdtempSync(join(tmpdir(), "login-test-"));
  onTestFinished(() => rmSync(dir, { recursive: true, force: true }));
  agentDir = dir;
});

const sim = (options: { apiKeys?: string[] } = {}): Promise<Sim> =>
  kept(startSim({ config: CONFIG, speed: 100, ...options }));

type Answer = string | ((prompt: AuthPrompt) => string);

/** A login whose questions are answered in turn; a question too many fails it. */
async function logIn(answers: Answer[], env: Variables = {}) {
  const prompts: AuthPrompt[] = [];
  const events: AuthEvent[] = [];
  const aiServer = new AiServer({ env, agentDir, now: Date.now, onChanged: () => {} });
  onTestFinished(() => aiServer.close());
  const rest = [...answers];
  const interaction: ProviderAuthInteraction = {
    signal: new AbortController().signal,
    prompt: async (prompt) => {
      prompts.push(prompt);
      const answer = rest.shift();
      if (answer === undefined) throw new Error(`asked too often: ${prompt.message}`);
      return typeof answer === "string" ? answer : answer(prompt);
    },
    notify: (event) => {
      events.push(event);
    },
  };
  const credential = await login(aiServer, interaction).catch((error: unknown) => error);
  return { credential, messages: prompts.map(({ message }) => message), prompts, events, left: rest.length };
}

const TITLES = [
  "Address of the server",
  "Folder with client.pem, client-key.pem and root-ca.pem",
  "ssh target for administration (user@host, or local)",
  "Passphrase of the client key (empty for none)",
  "API key of the server (empty for none)",
];

describe("a login", () => {
  test("asks five things, tries them, and keeps them", async () => {
    const server = await sim();
    const { credential, messages, prompts, events } = await logIn([
      server.url,
      server.certsDir,
      "local",
      "",
      "",
    ]);
    expect(messages).toEqual(TITLES);
    expect(prompts.map(({ type }) => type)).toEqual(["text", "text", "text", "secret", "secret"]);
    expect(credential).toEqual({
      type: "api_key",
      env: { AI_SERVER_URL: server.url, AI_SERVER_CERTS_DIR: server.certsDir, AI_SERVER_SSH_HOST: "local" },
    });
    expect(events).toEqual([
      { type: "progress", message: "Asking the server…" },
      { type: "progress", message: "1 model found" },
    ]);
    expect(server.starts).toEqual({});
  });

  test("of empty answers keeps the default address spelled out", async () => {
    const server = await sim();
    const env = { AI_SERVER_CERTS_DIR: server.certsDir, AI_SERVER_URL: server.url };
    const { credential } = await logIn(["", "", "", "", ""], env);
    expect(credential).toMatchObject({
      env: { AI_SERVER_URL: server.url, AI_SERVER_SSH_HOST: "ai-server@192.168.2.3" },
    });
  });

  test("keeps passphrase and API key, and shows neither", async () => {
    const server = await sim({ apiKeys: ["sk-right"] });
    cpSync(server.certsDir, agentDir, { recursive: true });
    const key = createPrivateKey(readFileSync(join(agentDir, "client-key.pem")));
    const options = {
      type: "pkcs8",
      format: "pem",
      cipher: "aes-256-cbc",
      passphrase: " two words ",
    } as const;
    writeFileSync(join(agentDir, "client-key.pem"), key.export(options), { mode: 0o600 });
    const result = await logIn([server.url, agentDir, "local", " two words ", "sk-right"]);
    expect(result.credential).toMatchObject({
      env: { AI_SERVER_CLIENT_KEY_PASSPHRASE: " two words ", AI_SERVER_API_KEY: "sk-right" },
    });
    expect(JSON.stringify([result.prompts, result.events])).not.toMatch(/two words|sk-right/);
  });

  test("says which answers the environment overrules", async () => {
    const server = await sim();
    const { messages } = await logIn([server.url, "", "local", "", ""], {
      AI_SERVER_CERTS_DIR: server.certsDir,
    });
    expect(messages[1]).toBe(`${TITLES[1]} (AI_SERVER_CERTS_DIR in the environment overrides the answer)`);
    expect(messages[0]).toBe(TITLES[0]);
  });
});

describe("a wrong answer is asked again with the reason:", () => {
  test("an address that is none", async () => {
    const server = await sim();
    const { messages, credential } = await logIn(["nonsense", server.url, server.certsDir, "local", "", ""]);
    expect(messages[1]).toBe(
      `AI_SERVER_URL is "nonsense": that is not a URL. Write it like https://ai.example.org\n${TITLES[0]}`,
    );
    expect(credential).toMatchObject({ type: "api_key" });
  });

  test("an address with a password, which is not repeated", async () => {
    const server = await sim();
    const { messages } = await logIn(["https://me:hunter2@x", server.url, server.certsDir, "local", "", ""]);
    expect(messages[1]).toMatch(/^AI_SERVER_URL contains a user name or password/);
    expect(messages.join()).not.toContain("hunter2");
  });

  test("an address where nothing listens", async () => {
    const server = await sim();
    const port = await freePort();
    const dead = `https://127.0.0.1:${port}`;
    const { messages, credential } = await logIn([dead, server.certsDir, "local", "", "", server.url]);
    expect(messages.at(-1)).toBe(
      `127.0.0.1:${port} refuses connections (connection refused). Caddy may be stopped, or the port in AI_SERVER_URL is wrong.\n${TITLES[0]}`,
    );
    expect(credential).toMatchObject({ env: { AI_SERVER_URL: server.url } });
  });

  test("a folder without certificates", async () => {
    const server = await sim();
    const { messages } = await logIn([server.url, agentDir, "local", "", "", server.certsDir]);
    expect(messages.at(-1)).toBe(
      `The client certificate is missing: there is no file ${agentDir}/client.pem. Put it there, or point to it with /login ai-server or AI_SERVER_CLIENT_CERT.\n${TITLES[1]}`,
    );
  });

  test("an ssh target that is an option", async () => {
    const server = await sim();
    const { messages } = await logIn([server.url, server.certsDir, "-oProxyCommand=id", "local", "", ""]);
    expect(messages[3]).toContain("AI_SERVER_SSH_HOST");
  });

  test("a passphrase, which is not repeated", async () => {
    const server = await sim();
    cpSync(server.certsDir, agentDir, { recursive: true });
    const key = createPrivateKey(readFileSync(join(agentDir, "client-key.pem")));
    const options = { type: "pkcs8", format: "pem", cipher: "aes-256-cbc", passphrase: "right" } as const;
    writeFileSync(join(agentDir, "client-key.pem"), key.export(options), { mode: 0o600 });
    const { messages, credential } = await logIn([server.url, agentDir, "local", "hunter2", "", "right"]);
    expect(messages.at(-1)).toBe(
      `The passphrase does not open the client key ${agentDir}/client-key.pem. Correct AI_SERVER_CLIENT_KEY_PASSPHRASE, or enter it again in /login ai-server.\n${TITLES[3]}`,
    );
    expect(messages.join()).not.toContain("hunter2");
    expect(credential).toMatchObject({ env: { AI_SERVER_CLIENT_KEY_PASSPHRASE: "right" } });
  });

  test.each(["", "sk-wrong", "sk\u0007"])("an API key (%#), which is not repeated", async (wrong) => {
    const server = await sim({ apiKeys: ["sk-right"] });
    const { messages, credential } = await logIn([
      server.url,
      server.certsDir,
      "local",
      "",
      wrong,
      "sk-right",
    ]);
    expect(messages.at(-1)).toMatch(/^.*AI_SERVER_API_KEY.*\nAPI key of the server/);
    expect(messages.join()).not.toContain("sk-wrong");
    expect(credential).toMatchObject({ env: { AI_SERVER_API_KEY: "sk-right" } });
  });
});

describe("a login ends", () => {
  test("when the user cancels, at any question", async () => {
    const server = await sim();
    const cancelled = new Error("Login cancelled");
    const answers = [server.url, server.certsDir, "local", "", ""];
    for (let at = 0; at < answers.length; at++) {
      const cancel = (): string => {
        throw cancelled;
      };
      expect((await logIn([...answers.slice(0, at), cancel])).credential).toBe(cancelled);
    }
  });

  test("when no answer can mend what is wrong in the environment", async () => {
    const server = await sim();
    const wrong = await logIn([server.url, server.certsDir, "local", "", ""], {
      AI_SERVER_TIMEOUT_MS: "soon",
    });
    expect(String(wrong.credential)).toMatch(/^ServerError: AI_SERVER_TIMEOUT_MS is "soon"/);
    const url = await logIn(["https://x", "", "", "", ""], { AI_SERVER_URL: "nonsense" });
    expect(String(url.credential)).toMatch(/^ServerError: AI_SERVER_URL is "nonsense"/);
    const dead = await logIn([server.url, server.certsDir, "local", "", ""], {
      AI_SERVER_URL: `https://127.0.0.1:${await freePort()}`,
    });
    expect(String(dead.credential)).toMatch(/^ServerError: .* refuses connections/);
  });
});
