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

const ADDRESS = "Address of the server (for the default, type https://ai.shahondin1624.de)";
const FOLDER = "Folder with client.pem, client-key.pem and root-ca.pem";
const SSH = "ssh target for the commands that administer the server (empty to leave them out)";
const PASSPHRASE = "Passphrase of the client key";
const API_KEY = "API key of the server";

/** Encrypts the key in a copy of the server's certificates, in the folder where the extension looks first. */
function encryptKey(server: Sim, passphrase: string): void {
  const dir = join(agentDir, "certs");
  cpSync(server.certsDir, dir, { recursive: true });
  const path = join(dir, "client-key.pem");
  const key = createPrivateKey(readFileSync(path));
  const options = { type: "pkcs8", format: "pem", cipher: "aes-256-cbc", passphrase } as const;
  writeFileSync(path, key.export(options), { mode: 0o600 });
}

describe("a login", () => {
  test("asks for the address and an ssh target where the certificates are in place", async () => {
    const server = await sim();
    cpSync(server.certsDir, join(agentDir, "certs"), { recursive: true });
    const { credential, messages, prompts, events } = await logIn([server.url, "local"]);
    expect(messages).toEqual([ADDRESS, SSH]);
    expect(prompts.map(({ type }) => type)).toEqual(["text", "text"]);
    expect(credential).toEqual({
      type: "api_key",
      env: { AI_SERVER_URL: server.url, AI_SERVER_SSH_HOST: "local" },
    });
    expect(events).toEqual([
      { type: "progress", message: "Asking the server…" },
      { type: "progress", message: "1 model found" },
    ]);
    expect(server.starts).toEqual({});
  });

  test("stores no ssh target where the answer is empty", async () => {
    const server = await sim();
    const env = { AI_SERVER_CERTS_DIR: server.certsDir };
    const { credential, messages } = await logIn([server.url, ""], env);
    expect(messages).toEqual([ADDRESS, SSH]);
    expect(credential).toEqual({ type: "api_key", env: { AI_SERVER_URL: server.url } });
  });

  test("asks nothing that the environment sets", async () => {
    const server = await sim();
    const { credential, messages } = await logIn([], {
      AI_SERVER_CERTS_DIR: server.certsDir,
      AI_SERVER_URL: server.url,
      AI_SERVER_SSH_HOST: "local",
    });
    expect(messages).toEqual([]);
    expect(credential).toEqual({ type: "api_key", env: { AI_SERVER_URL: server.url } });
  });

  test("takes no default for an empty address", async () => {
    const server = await sim();
    const env = { AI_SERVER_CERTS_DIR: server.certsDir, AI_SERVER_SSH_HOST: "local" };
    const { credential, messages, prompts, events } = await logIn(["", " ", server.url], env);
    expect(messages).toEqual([ADDRESS, `Type the address.\n${ADDRESS}`, `Type the address.\n${ADDRESS}`]);
    expect(prompts[0]).toMatchObject({ placeholder: "https://ai.example.org" });
    expect(events[0]).toMatchObject({ message: "Asking the server…" });
    expect(credential).toEqual({ type: "api_key", env: { AI_SERVER_URL: server.url } });
  });

  test("asks for passphrase and API key where they are needed, keeps them, and shows neither", async () => {
    const server = await sim({ apiKeys: ["sk-right"] });
    encryptKey(server, " two words ");
    const result = await logIn([server.url, " two words ", "sk-right", "local"]);
    expect(result.messages.map((message) => message.split("\n").at(-1))).toEqual([
      ADDRESS,
      PASSPHRASE,
      API_KEY,
      SSH,
    ]);
    expect(result.prompts.map(({ type }) => type)).toEqual(["text", "secret", "secret", "text"]);
    expect(result.credential).toMatchObject({
      env: { AI_SERVER_CLIENT_KEY_PASSPHRASE: " two words ", AI_SERVER_API_KEY: "sk-right" },
    });
    expect(JSON.stringify([result.prompts, result.events])).not.toMatch(/two words|sk-right/);
  });
});

describe("a login asks again, with the reason, for", () => {
  const env = (server: Sim) => ({ AI_SERVER_CERTS_DIR: server.certsDir, AI_SERVER_SSH_HOST: "local" });

  test("an address that is no URL", async () => {
    const server = await sim();
    const { messages, credential } = await logIn(["nonsense", server.url], env(server));
    expect(messages[1]).toBe(
      `AI_SERVER_URL is "nonsense": that is not a URL. Write it like https://ai.example.org\n${ADDRESS}`,
    );
    expect(credential).toMatchObject({ type: "api_key" });
  });

  test("an address with a password, which it does not repeat", async () => {
    const server = await sim();
    const { messages } = await logIn(["https://me:hunter2@x", server.url], env(server));
    expect(messages[1]).toMatch(/^AI_SERVER_URL contains a user name or password/);
    expect(messages.join()).not.toContain("hunter2");
  });

  test("an address where nothing listens", async () => {
    const server = await sim();
    const port = await freePort();
    const { messages, credential } = await logIn([`https://127.0.0.1:${port}`, server.url], env(server));
    expect(messages.at(-1)).toBe(
      `127.0.0.1:${port} refuses connections (connection refused). Caddy may be stopped, or the port in AI_SERVER_URL is wrong.\n${ADDRESS}`,
    );
    expect(credential).toMatchObject({ env: { AI_SERVER_URL: server.url } });
  });

  test("a folder without certificates", async () => {
    const server = await sim();
    const { messages, credential } = await logIn([server.url, agentDir, server.certsDir, ""]);
    const missing = (dir: string): string =>
      `The client certificate is missing: there is no file ${dir}/client.pem. Put it there, or point to it with /login ai-server or AI_SERVER_CLIENT_CERT.`;
    expect(messages).toEqual([
      ADDRESS,
      `${missing(join(agentDir, "certs"))}\n${FOLDER}`,
      `${missing(agentDir)}\n${FOLDER}`,
      SSH,
    ]);
    expect(credential).toMatchObject({ env: { AI_SERVER_CERTS_DIR: server.certsDir } });
  });

  test("an ssh target that ssh would read as an option", async () => {
    const server = await sim();
    const { messages } = await logIn([server.url, "-oProxyCommand=id", "local"], {
      AI_SERVER_CERTS_DIR: server.certsDir,
    });
    expect(messages[2]).toContain("AI_SERVER_SSH_HOST");
  });

  test("a passphrase, which it does not repeat", async () => {
    const server = await sim();
    encryptKey(server, "right");
    const { messages, credential } = await logIn([server.url, "hunter2", "right", ""]);
    expect(messages[2]).toBe(
      `The passphrase does not open the client key ${agentDir}/certs/client-key.pem. Correct AI_SERVER_CLIENT_KEY_PASSPHRASE, or enter it again in /login ai-server.\n${PASSPHRASE}`,
    );
    expect(messages.join()).not.toContain("hunter2");
    expect(credential).toMatchObject({ env: { AI_SERVER_CLIENT_KEY_PASSPHRASE: "right" } });
  });

  test.each(["", "sk-wrong", "sk\u0007"])("an API key (%#), which it does not repeat", async (wrong) => {
    const server = await sim({ apiKeys: ["sk-right"] });
    const { messages, credential } = await logIn([server.url, wrong, "sk-right"], env(server));
    expect(messages.at(-1)).toMatch(/^.*AI_SERVER_API_KEY.*\nAPI key of the server/);
    expect(messages.join()).not.toContain("sk-wrong");
    expect(credential).toMatchObject({ env: { AI_SERVER_API_KEY: "sk-right" } });
  });
});

describe("a login ends", () => {
  test("when the user cancels, at any question", async () => {
    const server = await sim({ apiKeys: ["sk-right"] });
    encryptKey(server, "right");
    const cancelled = new Error("Login cancelled");
    const answers = [server.url, "right", "sk-right", ""];
    for (let at = 0; at < answers.length; at++) {
      const cancel = (): string => {
        throw cancelled;
      };
      expect((await logIn([...answers.slice(0, at), cancel])).credential).toBe(cancelled);
    }
  });

  test("when no answer can correct what is wrong in the environment", async () => {
    const server = await sim();
    const wrong = await logIn([server.url], { AI_SERVER_TIMEOUT_MS: "soon" });
    expect(String(wrong.credential)).toMatch(/^ServerError: AI_SERVER_TIMEOUT_MS is "soon"/);
    const url = await logIn([], { AI_SERVER_URL: "nonsense" });
    expect(String(url.credential)).toMatch(/^ServerError: AI_SERVER_URL is "nonsense"/);
    const dead = await logIn([], {
      AI_SERVER_CERTS_DIR: server.certsDir,
      AI_SERVER_URL: `https://127.0.0.1:${await freePort()}`,
    });
    expect(String(dead.credential)).toMatch(/^ServerError: .* refuses connections/);
  });
});
