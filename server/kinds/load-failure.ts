/** The sentences for a model that could not be loaded, or whose process failed. */

import { ServerError } from "../../lib/errors.ts";
import { withoutPolling } from "../../lib/log-noise.ts";
import { cleanText } from "../../lib/text.ts";
import { type Backend, type BackendKind, hasConfigFile } from "./backend.ts";

const LOG_LINES = 6;
/** Lines of a log that are searched for the reason. */
const READ_LINES = 60;
const LOG_LINE_CHARACTERS = 300;

/**
 * The error of a model whose process failed. The reason is only in the model's log, which is quoted. Secrets are masked: a
 * turn's error is kept in the session.
 *
 * @param name as the user knows the model
 * @param what of it failed, as the end of a sentence
 * @param reason llama-swap's own words, where there are any
 */
export async function processFault(
  server: Pick<Backend, "logTail"> & { readonly kind?: BackendKind | undefined },
  model: { id: string; name: string },
  what: string,
  reason: string | undefined,
  signal: AbortSignal,
): Promise<ServerError> {
  const [log, { maskLines, maskText }] = await Promise.all([
    server.logTail?.(model.id, READ_LINES, signal) ?? [],
    // Only failures need it, and it reads YAML.
    import("../../masking/masking.ts"),
  ]);
  const tail = withoutPolling(log);
  const lines = maskLines(tail.slice(-LOG_LINES), "log").map((line) => cleanText(line, LOG_LINE_CHARACTERS));
  // llama-swap repeats the whole command line of a process that it cannot start.
  const said = reason === undefined ? "" : `: ${maskText(reason, "log")}`;
  const quote = lines.length === 0 ? said : `${said}\nIts log ends with:\n${lines.join("\n")}`;
  const hint = hintFor(model.id, reason ?? "", tail, server.kind);
  return new ServerError([`${model.name} ${what}`, quote, hint], {
    link: "model",
    remedy: "none",
    quotesLog: lines.length > 0,
  });
}

/** llama-swap's message for a model that failed its health check, with a duration as Go writes it: `15s`, `2m0s`. */
const TOO_SLOW = /health check timed out after (?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?/i;

/** Messages of CUDA, Vulkan, Metal, ggml, vLLM and the kernel. */
const OUT_OF_MEMORY =
  /out of (?:device |host )?memory|OutOf(?:Device|Host)?Memory|(?:failed|unable|cannot) to allocate|cudaMalloc failed|bad_alloc|\boom[- _]?kill|insufficient memory/i;

/** A line of advice for a known reason of a failed load; else empty. */
function hintFor(
  id: string,
  reason: string,
  log: readonly string[],
  kind: BackendKind = "llama-swap",
): string {
  if ([reason, ...log].some((line) => OUT_OF_MEMORY.test(line)))
    return `\nMemory ran out: give the model a smaller context ${hasConfigFile(kind) ? `with /ai-server-ctx ${id} <size>` : "on the server"}, or use a smaller quantisation.`;
  const slow = TOO_SLOW.exec(reason);
  if (slow === null) return "";
  const [hours, minutes, rest] = slow.slice(1).map((part) => Number(part ?? 0));
  const limit = 3600 * (hours ?? 0) + 60 * (minutes ?? 0) + (rest ?? 0);
  return `\nhealthCheckTimeout in llama-swap's config is ${limit} s: raise it if the model needs longer to load.`;
}

/** The server has no such model, or it is a selector. */
export function unknownModel(id: string): ServerError {
  return new ServerError(
    `The server has no model ${id} to load. /ai-server-status lists its models; a selector cannot be loaded, since each request chooses one of its models.`,
    { link: "model", remedy: "none", status: 404 },
  );
}
