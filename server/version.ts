/** Which server this is, and of which version. */
import { cleanText, ServerError } from "./errors.ts";
import { list, record, text } from "./json.ts";
import type { ModelServer } from "./model-server.ts";
import { nameOf } from "./names.ts";

const ANSWER_TIMEOUT_MS = 5000;

/** Statuses of a server that has no such route, or has something else there. */
const HAS_NO_SUCH = new Set([200, 400, 404, 405, 501]);

export interface ServerVersion {
  kind: "llama-swap" | "llama-server" | "unknown";
  /** As the server words it (`v250`, `217`, `local_0bdb3720`, `b6123-abcdef`), on one line of at most 100 characters. */
  version: string | undefined;
}

/**
 * Asks which server this is: `/api/version` (llama-swap since v173), else what only llama-swap has or says, else
 * llama-server's `/props`. Loads nothing.
 *
 * @throws {ServerError} where the server cannot be reached; the signal's reason
 */
export async function serverVersion(
  server: ModelServer,
  signal: AbortSignal | undefined,
): Promise<ServerVersion> {
  const { runningPath, modelsPath } = server.config;
  const told = record(await answerOf(server, "/api/version", signal));
  // Ollama has the same route, without these.
  if (text(told?.build_date) !== undefined || text(told?.commit) !== undefined) {
    return { kind: "llama-swap", version: nameOf(told?.version) };
  }
  if (Array.isArray(record(await answerOf(server, runningPath, signal))?.running)) {
    return { kind: "llama-swap", version: undefined };
  }
  const models = list(record(await answerOf(server, modelsPath, signal))?.data);
  if (models.some((entry) => record(entry)?.owned_by === "llama-swap")) {
    return { kind: "llama-swap", version: undefined };
  }
  const build = text(record(await answerOf(server, "/props", signal))?.build_info);
  if (build === undefined) return { kind: "unknown", version: undefined };
  return { kind: "llama-server", version: nameOf(cleanText(build)) };
}

/** The number of a llama-swap's version, where it is one of its releases. */
export function releaseOf(version: string | undefined): number | undefined {
  const digits = /^v?(\d{1,6})$/.exec(version ?? "")?.[1];
  const release = Number(digits);
  // A build without a version calls itself 0.
  return digits === undefined || release === 0 ? undefined : release;
}

/** A JSON answer, where there is one. */
async function answerOf(
  server: ModelServer,
  path: string,
  signal: AbortSignal | undefined,
): Promise<unknown> {
  try {
    return await server.http.json(path, { signal, timeoutMs: ANSWER_TIMEOUT_MS });
  } catch (error) {
    if (error instanceof ServerError && HAS_NO_SUCH.has(error.status ?? 0)) return undefined;
    throw error;
  }
}
