/** The sentences for a model that could not be loaded, or whose process failed. */
import type { Backend } from "./backend.ts";
import { cleanText, ServerError } from "./errors.ts";
import type { LoadProgress } from "./load-progress.ts";

const LOG_LINES = 6;
const LOG_LINE_CHARACTERS = 300;

/**
 * The error of a model whose process failed: neither llama-swap nor its answer tells why, the model's log does.
 * Secrets in both are masked: a turn's error is kept in the session.
 *
 * @param name as the user knows the model
 * @param what of it failed, as the end of a sentence
 * @param reason llama-swap's own words, where there are any
 */
export async function processFault(
  server: Pick<Backend, "logTail">,
  model: { id: string; name: string },
  what: string,
  reason: string | undefined,
  signal: AbortSignal,
): Promise<ServerError> {
  const [log, { maskLines, maskText }] = await Promise.all([
    server.logTail?.(model.id, LOG_LINES, signal) ?? [],
    // Only failures need it, and it reads YAML.
    import("../masking/masking.ts"),
  ]);
  const lines = maskLines(log, "log").map((line) => cleanText(line, LOG_LINE_CHARACTERS));
  // llama-swap repeats the whole command line of a process that it cannot start.
  const said = reason === undefined ? "" : `: ${maskText(reason, "log")}`;
  const quote = lines.length === 0 ? said : `${said}\nIts log ends with:\n${lines.join("\n")}`;
  return new ServerError(`${model.name} ${what}${quote}`, { link: "model", remedy: "none", quote });
}

/** The server has no model of this id, or none that is loaded by itself. */
export function unknownModel(id: string): ServerError {
  return new ServerError(
    `There is no model ${id} on the server that could be loaded. /ai-server-status lists those that there are; one that stands for several (selector) is chosen by each request.`,
    { link: "model", remedy: "none", status: 404 },
  );
}

/** @param other the model that would be loaded instead */
export function ambiguousModel(id: string, other: string): ServerError {
  return new ServerError(
    `${id} cannot be loaded by itself: llama-swap before v228 would take it for ${other} and load that. Update llama-swap, rename one of them, or send ${id} a message.`,
    { link: "model", remedy: "none" },
  );
}

/** @param progress what the server was doing when the limit was over */
export function loadTimedOut(id: string, limitMs: number, progress: LoadProgress | undefined): ServerError {
  const limit = `${id} was not loaded within ${seconds(limitMs)} (timed out)`;
  return new ServerError(
    `${limit}: ${doing(progress)} Look at /ai-server-status, or raise AI_SERVER_LOAD_TIMEOUT_MS.`,
    { link: "model", remedy: "retry" },
  );
}

function doing(progress: LoadProgress | undefined): string {
  switch (progress?.kind) {
    case "waiting":
      return progress.requests
        ? `${progress.for} has to go first and still has ${progress.requests} ${progress.requests === 1 ? "request" : "requests"}, which the server lets it finish.`
        : `${progress.for} is still loaded and has to go first.`;
    case "stopping":
      return `the server is still stopping ${progress.model}.`;
    case "loading":
      return `it has been loading for ${seconds(progress.elapsedMs)}, and the server goes on with it.`;
    default:
      return "the server does not tell why.";
  }
}

function seconds(milliseconds: number): string {
  return `${Math.ceil(milliseconds / 1000)} s`;
}
