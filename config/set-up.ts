/** The defaults, and what a start of pi needs of the configuration: whether there is one, and for which server. */
import { existsSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";

/** Environment variables, or what `/login` stored under their names. */
export type Variables = Readonly<Record<string, string | undefined>>;

export const PROVIDER_ID = "ai-server";

/** The name of this extension's protocol in pi, known to no other code. */
export const API = "ai-server";

/** pi's key for a provider without one; never sent. */
export const PLACEHOLDER_API_KEY = "ai-server-mtls";

/** Every default, by the name of its variable. Paths of files are relative to the certificate folder. */
export const DEFAULTS = {
  AI_SERVER_URL: "https://ai.shahondin1624.de",
  AI_SERVER_CA: "root-ca.pem",
  AI_SERVER_CLIENT_CERT: "client.pem",
  AI_SERVER_CLIENT_KEY: "client-key.pem",
  AI_SERVER_TIMEOUT_MS: 300_000,
  AI_SERVER_CONNECT_TIMEOUT_MS: 10_000,
  AI_SERVER_LOAD_TIMEOUT_MS: 600_000,
  AI_SERVER_LOOP_GUARD: "on",
  AI_SERVER_WARM: "off",
  AI_SERVER_SSH_HOST: "ai-server@192.168.2.3",
  AI_SERVER_PRESET_PATH: "~/.config/llama-swap/config.yaml",
  AI_SERVER_MODELS_DIR: "~/models",
  AI_SERVER_SERVICE_UNIT: "llama-swap.service",
  AI_SERVER_SSH_MODE: "direct",
  AI_SERVER_CA_DIR: "~/ai-server-ca",
  AI_SERVER_SSH_TIMEOUT_MS: 10_000,
  AI_SERVER_RESTART_TIMEOUT_MS: 60_000,
  AI_SERVER_INDICATOR: "activity",
  AI_SERVER_MODELS_PATH: "/v1/models",
  AI_SERVER_RUNNING_PATH: "/running",
  AI_SERVER_UNLOAD_PATH: "/api/models/unload/<id>",
  AI_SERVER_UNLOAD_ALL_PATH: "/api/models/unload",
  AI_SERVER_UPSTREAM_HEALTH_PATH: "/upstream/<id>/health",
} as const;

/** The models of the default server, shown until it is first reached. */
export const MODELS = [
  { id: "Qwen_Qwen3.6-35B-A3B-Q8_0", contextWindow: 262_144 },
  { id: "MiniMax-M2.7-IQ3_XXS", contextWindow: 131_072 },
] as const;

const CERTIFICATE_VARIABLES = [
  "AI_SERVER_CERTS_DIR",
  "AI_SERVER_CA",
  "AI_SERVER_CLIENT_CERT",
  "AI_SERVER_CLIENT_KEY",
] as const;

/** The environment wins over what was stored; an empty value counts as none. */
export function lookUp(env: Variables, stored: Variables, name: string): string | undefined {
  return env[name]?.trim() || stored[name]?.trim() || undefined;
}

/** Where a server is, without a slash at the end of the path. */
export function addressOf({ origin, pathname }: URL): { origin: string; basePath: string } {
  return { origin, basePath: pathname.replace(/\/+$/, "") };
}

/** The server's address as the environment has it, unchecked; undefined where that is no URL. */
export function addressIn(env: Variables): { origin: string; basePath: string } | undefined {
  const url = lookUp(env, {}, "AI_SERVER_URL") ?? DEFAULTS.AI_SERVER_URL;
  return URL.canParse(url) ? addressOf(new URL(url)) : undefined;
}

/**
 * Whether the user has set up anything at all: a login, the URL, a certificate variable, or one of the three
 * files in their default place. Cheap, since pi asks many times during a start; never throws.
 */
export function isSetUp(env: Variables, stored: Variables | undefined, agentDir: string): boolean {
  if (stored !== undefined) return true;
  if (["AI_SERVER_URL", ...CERTIFICATE_VARIABLES].some((name) => env[name]?.trim())) return true;
  return [DEFAULTS.AI_SERVER_CA, DEFAULTS.AI_SERVER_CLIENT_CERT, DEFAULTS.AI_SERVER_CLIENT_KEY].some((file) =>
    existsSync(join(agentDir, "certs", file)),
  );
}

/** pi's folder for settings, logins and stored models. */
export function agentDirOf(env: Variables): string {
  const moved = env.PI_CODING_AGENT_DIR;
  if (!moved) return join(homedir(), ".pi", "agent");
  return moved.replace(/^~(?=\/|$)/, () => homedir());
}
