import { homedir } from "node:os";
import { DEFAULTS, lookUp, type Variables } from "./config/set-up.ts";
import {
  localPath,
  parseApiKey,
  parseChoice,
  parseCommand,
  parseMilliseconds,
  parseRoute,
  parseServerPath,
  parseSshHost,
  parseSwitch,
  parseUnit,
  parseUrl,
  wrong,
} from "./config/values.ts";

export {
  DEFAULTS,
  isSetUp,
  MODELS,
  PLACEHOLDER_API_KEY,
  PROVIDER_ID,
  type Variables,
} from "./config/set-up.ts";

/** The variables that hold a secret itself, and not the path of one. */
const SECRET_VARIABLES = ["AI_SERVER_CLIENT_KEY_PASSPHRASE", "AI_SERVER_API_KEY"] as const;

/** All variables that no process which pi starts may inherit. */
export const KEPT_VARIABLES: readonly string[] = [...SECRET_VARIABLES, "HF_TOKEN"];

/** The name of every variable. */
export const VARIABLES: readonly string[] = [
  ...Object.keys(DEFAULTS),
  ...SECRET_VARIABLES,
  "AI_SERVER_CERTS_DIR",
  "AI_SERVER_RESTART_COMMAND",
  "AI_SERVER_CA_HOST",
  "AI_SERVER_CADDY_RELOAD",
  "AI_SERVER_QUOTES_FILE",
];

/** The defaults that differ where the server is llama.cpp's router. */
export const ROUTER_DEFAULTS = {
  AI_SERVER_PRESET_PATH: "~/.llama-models.ini",
  AI_SERVER_SERVICE_UNIT: "llama-server.service",
} as const;

/** Where requests go, and how they identify themselves. */
export interface ServerAddress {
  /** Scheme, host and port: `https://host[:port]`. */
  origin: string;
  /** The path of `AI_SERVER_URL` without a slash at its end; empty for the root. Kept before every route. */
  basePath: string;
  /** Path of the CA file, or `system` for Node's own roots. */
  ca: string;
  clientCert: string;
  clientKey: string;
  passphrase: string | undefined;
  apiKey: string | undefined;
  connectTimeoutMs: number;
  /** The variable that names a proxy for this address. No proxy is used, which may be why the server is unreachable. */
  unusedProxy?: string | undefined;
}

/** Everything that can be set, validated. Durations are in milliseconds, paths of local files are absolute. */
export interface Config extends ServerAddress {
  /** How long a stream may stay silent. */
  timeoutMs: number;
  /** How long a turn may wait for a model that loads, or for its place in the queue. */
  loadTimeoutMs: number;
  /** Whether a turn ends when the model repeats itself for ever. */
  isLoopGuarded: boolean;
  /**
   * What the server does for a session before its first prompt: nothing; load the model; or load it and read what every
   * turn begins with.
   */
  warm: "off" | "load" | "read";
  /**
   * `user@host` for ssh, or `local` for this machine. The default belongs to the default address alone: with another one
   * and no `AI_SERVER_SSH_HOST` it is undefined, and no command contacts a machine.
   */
  sshHost: string | undefined;
  /** On the server; `~` is the home of the server's user. */
  presetPath: string;
  /** The folder on the server into which models are downloaded; `~` as above. */
  modelsDir: string;
  serviceUnit: string;
  /** Whether the user set them: the defaults of a server other than llama-swap differ. */
  isPresetPathSet: boolean;
  isServiceUnitSet: boolean;
  /** `wrapper`: the ssh key there runs `ai-server-admin` and nothing else. */
  sshMode: "direct" | "wrapper";
  /** For the ssh connection to be made. */
  sshTimeoutMs: number;
  /** For a restart, and again for the server to answer after it. */
  restartTimeoutMs: number;
  /** Runs on the server in the place of `systemctl --user restart <unit>`. */
  restartCommand: string | undefined;
  /** The machine that has the CA, as in `sshHost`, which it is where the user has set no other. */
  caHost: string | undefined;
  /** There; `~` is the home of the machine's user. */
  caDir: string;
  /** Runs there in the place of `caddy reload`. */
  caddyReload: string | undefined;
  modelsPath: string;
  runningPath: string;
  unloadPath: string;
  unloadAllPath: string;
  upstreamHealthPath: string;
  /** Whether URL and server are the defaults, so that the fallback `MODELS` may stand for them. */
  isDefaultUrl: boolean;
}

/**
 * Makes the configuration from the environment, what `/login` stored and the defaults, in this order of
 * precedence. Reads no file.
 *
 * @param env the environment of this process
 * @param stored the `env` of the stored credential; pi hands it over only when a turn or a refresh begins
 * @param agentDir pi's agent folder, `~/.pi/agent` unless moved
 * @throws {ServerError} that names the variable which is wrong
 */
export function readConfig(env: Variables, stored: Variables, agentDir: string, home = homedir()): Config {
  const get = (name: string): string | undefined => lookUp(env, stored, name);
  const text = (name: Exclude<keyof typeof DEFAULTS, `${string}_MS`>): string => get(name) ?? DEFAULTS[name];
  const duration = (name: Extract<keyof typeof DEFAULTS, `${string}_MS`>): number =>
    parseMilliseconds(name, get(name), DEFAULTS[name]);

  const address = parseUrl(text("AI_SERVER_URL"));
  const isDefaultUrl = address.origin + address.basePath === DEFAULTS.AI_SERVER_URL;
  const sshHost = get("AI_SERVER_SSH_HOST") ?? (isDefaultUrl ? DEFAULTS.AI_SERVER_SSH_HOST : undefined);
  const caHost = get("AI_SERVER_CA_HOST") ?? sshHost;
  const certsDir = localPath(get("AI_SERVER_CERTS_DIR") ?? "certs", agentDir, home);
  const ca = text("AI_SERVER_CA");
  return {
    ...address,
    ca: ca === "system" ? ca : localPath(ca, certsDir, home),
    clientCert: localPath(text("AI_SERVER_CLIENT_CERT"), certsDir, home),
    clientKey: localPath(text("AI_SERVER_CLIENT_KEY"), certsDir, home),
    // Spaces at the ends may belong to a passphrase.
    passphrase: env.AI_SERVER_CLIENT_KEY_PASSPHRASE || stored.AI_SERVER_CLIENT_KEY_PASSPHRASE || undefined,
    apiKey: parseApiKey(get("AI_SERVER_API_KEY")),
    timeoutMs: duration("AI_SERVER_TIMEOUT_MS"),
    connectTimeoutMs: duration("AI_SERVER_CONNECT_TIMEOUT_MS"),
    unusedProxy: proxyVariable(env, address.origin),
    loadTimeoutMs: duration("AI_SERVER_LOAD_TIMEOUT_MS"),
    isLoopGuarded: parseSwitch("AI_SERVER_LOOP_GUARD", text("AI_SERVER_LOOP_GUARD")),
    warm: parseChoice("AI_SERVER_WARM", text("AI_SERVER_WARM"), ["off", "load", "read"]),
    sshHost: sshHost && parseSshHost("AI_SERVER_SSH_HOST", sshHost),
    presetPath: parseServerPath("AI_SERVER_PRESET_PATH", text("AI_SERVER_PRESET_PATH")),
    modelsDir: parseServerPath("AI_SERVER_MODELS_DIR", text("AI_SERVER_MODELS_DIR")),
    serviceUnit: parseUnit(text("AI_SERVER_SERVICE_UNIT")),
    isPresetPathSet: get("AI_SERVER_PRESET_PATH") !== undefined,
    isServiceUnitSet: get("AI_SERVER_SERVICE_UNIT") !== undefined,
    sshMode: parseChoice("AI_SERVER_SSH_MODE", text("AI_SERVER_SSH_MODE"), ["direct", "wrapper"]),
    sshTimeoutMs: duration("AI_SERVER_SSH_TIMEOUT_MS"),
    restartTimeoutMs: duration("AI_SERVER_RESTART_TIMEOUT_MS"),
    restartCommand: parseCommand(
      "AI_SERVER_RESTART_COMMAND",
      get("AI_SERVER_RESTART_COMMAND"),
      "sudo systemctl restart llama-swap",
    ),
    caHost: caHost && parseSshHost("AI_SERVER_CA_HOST", caHost),
    caDir: parseServerPath("AI_SERVER_CA_DIR", text("AI_SERVER_CA_DIR")),
    caddyReload: parseCommand(
      "AI_SERVER_CADDY_RELOAD",
      get("AI_SERVER_CADDY_RELOAD"),
      "sudo systemctl restart caddy",
    ),
    modelsPath: parseRoute("AI_SERVER_MODELS_PATH", text("AI_SERVER_MODELS_PATH")),
    runningPath: parseRoute("AI_SERVER_RUNNING_PATH", text("AI_SERVER_RUNNING_PATH")),
    unloadPath: parseRoute("AI_SERVER_UNLOAD_PATH", text("AI_SERVER_UNLOAD_PATH")),
    unloadAllPath: parseRoute("AI_SERVER_UNLOAD_ALL_PATH", text("AI_SERVER_UNLOAD_ALL_PATH")),
    upstreamHealthPath: parseRoute("AI_SERVER_UPSTREAM_HEALTH_PATH", text("AI_SERVER_UPSTREAM_HEALTH_PATH")),
    isDefaultUrl,
  };
}

const PROXY_VARIABLES = ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"] as const;

/** Whether a list such as `localhost,.example.org,10.0.0.1:8443`, or `*`, names this host, as curl reads it. */
function isExcepted(list: string, { hostname, port }: URL): boolean {
  return list.split(/[\s,]+/).some((entry) => {
    const [, name = "", own] = /^\*?\.?(.*?)(?::(\d+))?$/.exec(entry.toLowerCase()) ?? [];
    if (entry === "*") return true;
    if (name === "" || (own !== undefined && own !== (port || "443"))) return false;
    return hostname === name || hostname.endsWith(`.${name}`);
  });
}

/** @returns the variable that names a proxy for this origin; undefined where none applies */
function proxyVariable(env: Variables, origin: string): string | undefined {
  const url = new URL(origin);
  if (url.protocol !== "https:" || isExcepted(env.no_proxy || env.NO_PROXY || "", url)) return undefined;
  return PROXY_VARIABLES.find((name) => env[name]?.trim());
}

/** The look of the working line, and the file of its quotes. */
export interface IndicatorConfig {
  mode: "activity" | "quotes" | "off";
  quotesFile: string | undefined;
}

/** Apart from the rest, since a wrong look must not stop a turn. */
export function readIndicator(env: Variables, agentDir: string, home = homedir()): IndicatorConfig {
  const mode = lookUp(env, {}, "AI_SERVER_INDICATOR") ?? DEFAULTS.AI_SERVER_INDICATOR;
  const file = lookUp(env, {}, "AI_SERVER_QUOTES_FILE");
  if (mode === "activity" || mode === "quotes" || mode === "off") {
    return { mode, quotesFile: file && localPath(file, agentDir, home) };
  }
  throw wrong("AI_SERVER_INDICATOR", mode, "it must be activity, quotes or off.");
}

/** pi's own switch: it stops requests that the user did not ask for. */
export function isOffline(env: Variables): boolean {
  return /^(1|true|yes|on)$/i.test(env.PI_OFFLINE?.trim() ?? "");
}

/**
 * Puts an id into a route: `<id>` is replaced by the percent-encoded id; a route without it gets the id at its
 * end.
 */
export function routeFor(route: string, id: string): string {
  const encoded = encodeURIComponent(id);
  return route.includes("<id>")
    ? route.replaceAll("<id>", () => encoded)
    : `${route.replace(/\/+$/, "")}/${encoded}`;
}
