/** Variables that are set but do nothing, the proxy that is not used, and pi's own version. */
import { VERSION } from "@earendil-works/pi-coding-agent";
import { unknownVariables } from "../../config/unknown-variables.ts";
import { type Config, VARIABLES, type Variables } from "../../config.ts";
import { counted } from "../../lib/figures.ts";
import { type Finding, ok, warning } from "./finding.ts";
import type { Visit } from "./visit.ts";

/** The oldest pi that the tests run on. */
const OLDEST_PI = "1.5.2";

export async function* settings({ call, config, stored }: Visit): AsyncIterable<Finding> {
  const env = call.aiServer.variables;
  yield* ignored(env, stored, config, await unknownVariables(env));
  yield piVersion();
  if (config.unusedProxy !== undefined) {
    const seen = `${config.unusedProxy} is set, and not used: the connection goes straight to ${config.origin}`;
    yield ok("proxy", "Proxy", seen);
  }
}

function* ignored(
  env: Variables,
  stored: Variables,
  config: Config,
  unknown: readonly string[],
): Iterable<Finding> {
  const check = "variables";
  const subject = "Variables";
  const next = "Correct or unset it, and start pi again.";
  const sentences = [...unknown, ...overridden(env, stored), ...withoutEffect(env, stored, config)];
  for (const sentence of sentences) yield warning(check, subject, sentence, next);
  if (sentences.length > 0) return;
  const set = VARIABLES.filter((name) => env[name]?.trim());
  const words =
    set.length === 0 ? "none is set" : `${counted(set.length, "variable")} set, none of them ignored`;
  yield ok(check, subject, words);
}

/** Neither value is shown: one may be a secret. */
function overridden(env: Variables, stored: Variables): string[] {
  return VARIABLES.filter((name) => {
    const [ours, login] = [env[name]?.trim(), stored[name]?.trim()];
    return ours && login && ours !== login;
  }).map(
    (name) => `${name} of the environment differs from what /login ai-server has stored, which is ignored`,
  );
}

/** What the rest of the configuration makes meaningless. */
function withoutEffect(env: Variables, stored: Variables, config: Config): string[] {
  const isSet = (name: string): boolean => Boolean(env[name]?.trim() || stored[name]?.trim());
  const isLocal = config.sshHost === "local";
  const isPlain = config.origin.startsWith("http:");
  const lists: readonly (readonly [boolean, readonly string[], string])[] = [
    [isLocal, ["AI_SERVER_SSH_MODE"], "the server is this machine (AI_SERVER_SSH_HOST=local)"],
    [
      !isLocal && config.sshMode === "wrapper",
      ["AI_SERVER_PRESET_PATH", "AI_SERVER_SERVICE_UNIT", "AI_SERVER_RESTART_COMMAND"],
      "with AI_SERVER_SSH_MODE=wrapper ai-server-admin has its own on the server",
    ],
    [
      isPlain,
      ["AI_SERVER_CA", "AI_SERVER_CLIENT_CERT", "AI_SERVER_CLIENT_KEY", "AI_SERVER_CERTS_DIR"],
      `${config.origin} is plain HTTP`,
    ],
    [
      (env.AI_SERVER_INDICATOR?.trim() || "activity") !== "quotes",
      ["AI_SERVER_QUOTES_FILE"],
      "AI_SERVER_INDICATOR is not quotes",
    ],
  ];
  return lists
    .filter(([applies]) => applies)
    .flatMap(([, names, why]) => names.filter(isSet).map((name) => `${name} has no effect: ${why}`));
}

/** @param version pi's own */
export function piVersion(version = VERSION): Finding {
  const check = "pi-version";
  const subject = "pi";
  const isOld = version.localeCompare(OLDEST_PI, "en", { numeric: true }) < 0;
  if (!isOld) return ok(check, subject, version);
  const seen = `${version}; the extension is tested with ${OLDEST_PI} and newer`;
  return warning(check, subject, seen, "Update pi.");
}
