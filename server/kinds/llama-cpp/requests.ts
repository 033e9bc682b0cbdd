/** What llama-server answers beside a turn, also behind a proxy: it counts a prompt's tokens, and ends a thought. */
import { count, parsed, record } from "../../../lib/json.ts";
import { type Access, isNoSuchRoute, type Limits, post } from "../../http/access.ts";
import type { BackendKind, ThinkingEnd } from "../backend.ts";

export const COUNT_PATH = "/v1/chat/completions/input_tokens";

/**
 * The tokens in the prompt of a chat request, which is not answered (seen in llama-server b11669).
 *
 * @param path `COUNT_PATH`, with what a proxy needs before it
 * @returns undefined where the server has no such route
 * @throws {ServerError}
 */
export async function requestCount(
  { http }: Access,
  path: string,
  request: string,
  limits: Limits,
): Promise<number | undefined> {
  try {
    return count(record(await http.json(path, { ...limits, body: request }))?.input_tokens);
  } catch (error) {
    if (isNoSuchRoute(error)) return undefined;
    throw error;
  }
}

export const THINKING_PATH = "/v1/chat/completions/control";

/** Whether a request to such a server may ask that the thinking of its answer can be ended. */
export function mayEndThinking(kind: BackendKind | undefined): boolean {
  return kind === "llama-server" || kind === "router" || kind === "llama-swap";
}

/**
 * Ends the thinking of a running answer, so that the model answers now (seen in llama-server b11669; an earlier one
 * answers 404).
 *
 * @param path `THINKING_PATH`, with what a proxy needs before it
 * @throws {ServerError} for a fault of the way; the signal's reason
 */
export async function requestThinkingEnd(
  { http }: Access,
  path: string,
  model: string,
  answer: string,
  signal: AbortSignal,
): Promise<ThinkingEnd> {
  const { status, text } = await post(http, path, { id: answer, action: "reasoning_end", model }, signal);
  const success = status === 200 ? record(parsed(text))?.success : undefined;
  if (typeof success !== "boolean") return "unsupported";
  return success ? "ended" : "not thinking";
}
