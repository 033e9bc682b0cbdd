/** llama-server's count of the tokens in the prompt of a chat request, which it does not answer. */
import { count, record } from "../../lib/json.ts";
import { type Access, isNoSuchRoute, type Limits } from "../http/access.ts";

export const COUNT_PATH = "/v1/chat/completions/input_tokens";

/**
 * Sends the request (seen in llama-server b11669).
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
