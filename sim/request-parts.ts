import { type Exchange, SwapError } from "./http.ts";
import { isMap } from "./macros.ts";

/** Percent-decodes a path. @throws {SwapError} 400 for a broken percent-encoding */
export function decode(path: string): string {
  try {
    return decodeURIComponent(path);
  } catch {
    throw new SwapError(400, "invalid path");
  }
}

/** The part of a raw path after `/upstream/<name>`, percent-encoding kept (v248). */
export function rawRest(path: string, name: string): string {
  for (let end = "/upstream/".length; end < path.length; end++) {
    if (path[end] === "/" && decodeSafely(path.slice(0, end)) === `/upstream/${name}`) return path.slice(end);
  }
  return "/";
}

function decodeSafely(text: string): string | undefined {
  try {
    return decodeURIComponent(text);
  } catch {
    return undefined;
  }
}

function parseBody(exchange: Exchange): Record<string, unknown> {
  if (!exchange.headers["content-type"]?.includes("application/json")) return {};
  // JSON.parse is slow on the megabytes of white space by which the doctor tries what passes.
  const text = exchange.body.trim();
  try {
    const body: unknown = JSON.parse(text);
    return isMap(body) ? body : {};
  } catch {
    // Like llama-swap's own reader, which needs no complete JSON to find a model's name.
    const model = /"model"\s*:\s*"((?:[^"\\]|\\.)*)"/.exec(text)?.[1];
    return model === undefined ? {} : { model };
  }
}

/** The model that a JSON body asks for; empty when it names none. */
export function modelInBody(exchange: Exchange): string {
  const { model } = parseBody(exchange);
  return typeof model === "string" ? model : "";
}

export function isStreaming(exchange: Exchange): boolean {
  return exchange.method === "POST" && parseBody(exchange).stream === true;
}

/** Puts another model name into a JSON body (`useModelName`). */
export function renameModel(body: string, model: string): string {
  try {
    return JSON.stringify({ ...JSON.parse(body), model });
  } catch {
    return body;
  }
}
