/** Where the server's configuration is and what restarts it, by the kind of server. Pure. */
import { type Config, DEFAULTS, ROUTER_DEFAULTS } from "../config.ts";
import { ServerError } from "../lib/errors.ts";
import { formatOf } from "./config/config-file.ts";

/**
 * The configuration with path and unit of this kind of server, where the user has set none.
 *
 * @param kind undefined where the server does not answer: then the ending of the configured path decides
 * @param kindBefore what it was when it last answered; counts where neither says
 * @throws {ServerError} where the path that was set is of the other kind
 */
export function placedConfig(
  config: Config,
  kind: string | undefined,
  kindBefore: string | undefined,
): Config {
  const { isPresetPathSet, isServiceUnitSet, presetPath, serviceUnit, sshHost, sshMode } = config;
  const isIni = isPresetPathSet && formatOf(presetPath) === "ini";
  // With a wrapper its own path counts.
  if (isPresetPathSet && (sshMode === "direct" || sshHost === "local")) requireFormat(presetPath, kind);
  const isToldByPath = isPresetPathSet && /\.(ini|ya?ml)$/i.test(presetPath);
  const likely = kind ?? (isToldByPath ? undefined : kindBefore);
  const isRouter = likely === "router" || (likely !== "llama-swap" && isIni);
  if (!isRouter && likely !== "llama-server") return config;
  return {
    ...config,
    presetPath: isPresetPathSet || !isRouter ? presetPath : ROUTER_DEFAULTS.AI_SERVER_PRESET_PATH,
    serviceUnit: isServiceUnitSet ? serviceUnit : ROUTER_DEFAULTS.AI_SERVER_SERVICE_UNIT,
  };
}

/** A folder may hold either; what says nothing by its ending is let through. */
function requireFormat(path: string, kind: string | undefined): void {
  if (kind === "llama-swap" && /\.ini$/i.test(path)) {
    throw wrongKind(
      `${path}, a preset of llama.cpp's router, but the server is llama-swap`,
      DEFAULTS.AI_SERVER_PRESET_PATH,
    );
  }
  if (kind === "router" && /\.ya?ml$/i.test(path)) {
    throw wrongKind(
      `${path}, a config of llama-swap, but the server is llama.cpp's router`,
      ROUTER_DEFAULTS.AI_SERVER_PRESET_PATH,
    );
  }
}

function wrongKind(what: string, usual: string): ServerError {
  return new ServerError(
    `AI_SERVER_PRESET_PATH is ${what}. Set it to the file that the server reads, or leave it out for ${usual}.`,
    { link: "configuration", remedy: "none" },
  );
}
