/** Whether the server admits a certificate: found out by showing it. */
import type { Config } from "../../config.ts";
import { REAL_CLOCK } from "../../lib/clock.ts";
import { codeOf, ServerError } from "../../lib/errors.ts";
import { ANSWER_TIMEOUT_MS } from "../../server/http/access.ts";
import { Http } from "../../server/http/http.ts";

export type Trial =
  /** Whatever answers stands behind Caddy, or is Caddy itself. */
  | { kind: "admitted" }
  | { kind: "refused"; why: string }
  /** The server was not reached, or the certificate cannot be used at all. */
  | { kind: "unknown"; why: string };

type Pair = Partial<Pick<Config, "ca" | "clientCert" | "clientKey">>;

const PAUSE_MS = 300;

/** Over a connection of its own, so that neither an open one nor a resumed session answers in its place. */
async function tryOnce(config: Config, pair: Pair, signal: AbortSignal): Promise<Trial> {
  const http = new Http({ ...config, ...pair });
  try {
    await http.json(config.modelsPath, { timeoutMs: ANSWER_TIMEOUT_MS, signal });
    return { kind: "admitted" };
  } catch (error) {
    if (!(error instanceof ServerError)) throw error;
    if (error.status !== undefined) return { kind: "admitted" };
    const isRefused = error.link === "TLS" && /ALERT/.test(codeOf(error.cause));
    return { kind: isRefused ? "refused" : "unknown", why: error.message };
  } finally {
    await http.close();
  }
}

/**
 * Tries a pair, the one in use where none is given. A Caddy that restarts is away for a moment: what is not known is
 * tried again until `patienceMs` are over.
 *
 * @throws the signal's reason
 */
export async function tried(config: Config, pair: Pair, signal: AbortSignal, patienceMs = 0): Promise<Trial> {
  const end = REAL_CLOCK.now() + patienceMs;
  for (;;) {
    const trial = await tryOnce(config, pair, signal);
    if (trial.kind !== "unknown" || REAL_CLOCK.now() >= end) return trial;
    await REAL_CLOCK.sleep(PAUSE_MS, signal);
  }
}
