/** How long a load may take: by pi's own limit, and by llama-swap's. */
import { formatOf, surveyOf } from "../../../host/config/config-file.ts";
import type { HostFile } from "../../../host/ssh/machine.ts";
import { orFault, ServerError } from "../../../lib/errors.ts";
import { spent } from "../../../lib/figures.ts";
import type { Loaded } from "../../../server/load.ts";
import { type Finding, ok, warning } from "../finding.ts";
import type { Visit } from "../visit.ts";

export interface LoadLimit {
  readonly limitMs: number;
  /** What sets it. */
  readonly name: string;
  /** How it is raised, without a full stop. */
  readonly next: string;
}

/** A load that took more of its limit than this share fails as soon as the disk is busy. */
const AMPLE_SHARE = 0.8;

/** llama-swap's own default, in seconds. */
const DEFAULT_HEALTH_CHECK = 120;

/** The lower of the limits that are known. llama-swap's is in its config, which is read over ssh alone. */
export async function nearestLimit(visit: Visit): Promise<LoadLimit> {
  const { config, server } = visit;
  const own: LoadLimit = {
    limitMs: config.loadTimeoutMs,
    name: "AI_SERVER_LOAD_TIMEOUT_MS",
    next: "Raise AI_SERVER_LOAD_TIMEOUT_MS",
  };
  if (server.kind !== "llama-swap" || config.sshHost === undefined) return own;
  const files = await visit.files().catch(() => undefined);
  visit.signal.throwIfAborted();
  if (files === undefined) return own;
  const seconds = files.map(healthCheckTimeoutIn).find((value) => value !== undefined);
  const theirs: LoadLimit = {
    limitMs: 1000 * (seconds ?? DEFAULT_HEALTH_CHECK),
    name: "llama-swap's healthCheckTimeout",
    next: "Raise healthCheckTimeout in llama-swap's config",
  };
  return theirs.limitMs < own.limitMs ? theirs : own;
}

/** Seconds; undefined where the config does not set it, or is not understood. */
function healthCheckTimeoutIn({ name, text }: HostFile): number | undefined {
  const survey = orFault(() => surveyOf(text, formatOf(name)));
  return survey instanceof ServerError ? undefined : survey.swap?.healthCheckTimeout;
}

/** Pure. */
export function loadTime({ loadMs }: Loaded, { limitMs, name, next }: LoadLimit): Finding {
  const [check, subject] = ["load", "Load"];
  if (loadMs === undefined) return ok(check, subject, "loaded; it stays loaded");
  const seen = `loaded in ${spent(loadMs)}, of ${spent(limitMs)} that ${name} allows; it stays loaded`;
  if (loadMs <= AMPLE_SHARE * limitMs) return ok(check, subject, seen);
  return warning(check, subject, seen, `${next}: the next load may take a little longer.`);
}
