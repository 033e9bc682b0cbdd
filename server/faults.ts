/** Turns statuses and error bodies of HTTP, and errors inside a stream, into sentences. */
import { cleanText, type FaultDetails, type Link, type Remedy, ServerError } from "./errors.ts";
import { count, record, text } from "./json.ts";

/** What an error body says, and who said it. */
export interface ErrorBody {
  message: string;
  /** llama-swap names itself since v218; null where that is not told. */
  source: string | null;
  type: string;
  contextWindow: number | undefined;
}

/**
 * Reads the four formats in which llama-swap and llama-server report errors: `{"error":{"message"}}`,
 * `{"error":"text"}`, plain text, and JSON with unescaped quotes (llama-swap v218 to v224).
 */
export function parseErrorBody(answer: string): ErrorBody {
  let value: unknown;
  try {
    value = JSON.parse(answer);
  } catch {
    const unescaped = /^\s*\{"error":"(.*)","src":"([^"]*)"\}\s*$/s.exec(answer);
    return {
      message: cleanText(unescaped?.[1] ?? answer.replace(/<[^<>]*>/g, " "), 400),
      source: unescaped?.[2] ?? (answer.startsWith("llama-swap: ") ? "llama-swap" : null),
      type: "",
      contextWindow: undefined,
    };
  }
  const body = record(value);
  const error = record(body?.error);
  const message = text(body?.error) ?? error?.message ?? body?.message ?? body?.detail;
  return {
    message: typeof message === "string" ? cleanText(message, 400) : "",
    source: text(body?.src) ?? null,
    type: text(error?.type) ?? "",
    contextWindow: count(error?.n_ctx),
  };
}

/** llama.cpp's wordings for a prompt that does not fit, in the body of an answer or in a stream. */
const OVERFLOW =
  /exceeds? the available context size|context size has been exceeded|exceed_context_size|context[ _](?:length|window)[ _]exceeded|prompt is too long|larger than the (?:context|max context)|too big compared to KV size|maximum context length|input is too large|context shift is disabled/i;

/** llama-server's words when a tool call of the model, not ours, could not be read. */
const UNREADABLE_TOOL_CALL =
  /failed to parse (?:input at pos|tool call)|invalid tool call|failed to parse.*tool.?call/i;

/** Whether an error says that the prompt, or prompt and answer together, did not fit. */
export function isOverflow(body: Pick<ErrorBody, "message" | "type">): boolean {
  return body.type === "exceed_context_size_error" || OVERFLOW.test(body.message);
}

function grouped(tokens: number): string {
  return tokens.toLocaleString("en-US").replaceAll(",", "\u202f");
}

/** The sentence for an overflow, worded so that pi compacts and asks again. */
export function overflowFault(body: ErrorBody, details: Partial<FaultDetails> = {}): ServerError {
  const window =
    body.contextWindow === undefined ? "" : ` The model's window is ${grouped(body.contextWindow)} tokens.`;
  return new ServerError(
    `context_length_exceeded: the conversation no longer fits into the model's context.${window}`,
    {
      ...details,
      link: "model",
      remedy: "compact",
      ...(body.contextWindow === undefined ? {} : { contextWindow: body.contextWindow }),
    },
  );
}

function quoted(body: ErrorBody): { said: string; quote?: string } {
  return body.message === "" ? { said: "" } : { said: ` It says: ${body.message}`, quote: body.message };
}

/**
 * The sentence for an error object inside a running stream, or for a 200 answer that holds one.
 *
 * @param text the JSON or the bare text that stood where an event was expected
 */
export function streamFault(text: string): ServerError {
  const body = parseErrorBody(text);
  if (isOverflow(body)) return overflowFault(body);
  if (UNREADABLE_TOOL_CALL.test(body.message)) return toolCallFault(body);
  const { said, quote } = quoted(body);
  if (/^proxy error|failed to read connection/i.test(body.message)) {
    return new ServerError(`The model's process ended while it answered (server error).${said}`, {
      link: "model",
      remedy: "retry",
      ...(quote === undefined ? {} : { quote }),
    });
  }
  return new ServerError(`The server ended the answer with an error (server error).${said}`, {
    link: "model",
    remedy: "retry",
    ...(quote === undefined ? {} : { quote }),
  });
}

function toolCallFault(body: ErrorBody): ServerError {
  const { said, quote } = quoted(body);
  return new ServerError(
    `The server could not read the tool call that the model wrote (server error).${said} If this happens often, start llama-server with --jinja and check that the chat template fits the model.`,
    { link: "model", remedy: "retry", ...(quote === undefined ? {} : { quote }) },
  );
}

/**
 * The sentence for an answer whose status is not 200, where nothing more is known about the model's state.
 *
 * @param status HTTP status
 * @param text the body, as far as it was read
 * @param path the route, for statuses that speak about it
 */
export function answerFault(status: number, text: string, path: string): ServerError {
  const body = parseErrorBody(text);
  const { said, quote } = quoted(body);
  const details = { status, ...(quote === undefined ? {} : { quote }) };
  const fault = (message: string, link: Link, remedy: Remedy): ServerError =>
    new ServerError(message, { ...details, link, remedy });

  if (isOverflow(body)) return overflowFault(body, { status });
  if (UNREADABLE_TOOL_CALL.test(body.message) && !/as JSON/.test(body.message)) return toolCallFault(body);
  if (status === 401) {
    return fault(
      "The server demands an API key, and the one in AI_SERVER_API_KEY is missing or wrong.",
      "server",
      "none",
    );
  }
  if (status === 403) return fault(`Caddy does not let this client in (HTTP 403).${said}`, "Caddy", "none");
  if (status === 400 && /HTTP request .*to .*HTTPS (server|port)/i.test(body.message)) {
    return fault("The server speaks TLS there: write https: in AI_SERVER_URL.", "TLS", "none");
  }
  if (status === 421) {
    return fault(
      "Caddy does not serve this name (HTTP 421). Set AI_SERVER_URL to the site's name as in the Caddyfile, not to an address.",
      "Caddy",
      "none",
    );
  }
  if (status >= 300 && status < 400) {
    return fault(
      `The server answers ${path} with a redirect, which is not followed. Set AI_SERVER_URL to where it leads.`,
      "Caddy",
      "none",
    );
  }
  if (status === 413) {
    return fault(
      "context_length_exceeded: the request is larger than Caddy lets in (request_body max_size).",
      "Caddy",
      "compact",
    );
  }
  if (status === 404 && body.source === null && !/model/i.test(body.message)) {
    const hint = /\/v1\/v1\//.test(path)
      ? "Leave out /v1 at the end of AI_SERVER_URL."
      : "Check AI_SERVER_URL and its path.";
    return fault(`The server does not know ${path} (HTTP 404). ${hint}`, "server", "none");
  }
  if (status === 429)
    return fault(`The server has too many requests at once (HTTP 429).${said}`, "server", "retry");
  if (/^peer proxy error/i.test(body.message)) {
    return fault(
      `llama-swap does not reach the other server (peer) that runs this model (HTTP ${status}).${said}`,
      "server",
      "retry",
    );
  }
  if (status === 502 || status === 504) {
    return fault(
      `Caddy answers, but the model server behind it does not (HTTP ${status}). It may be stopped or restarting.${said}`,
      "server",
      "retry",
    );
  }
  if (status === 503)
    return fault(`The server is not available just now (HTTP 503).${said}`, "server", "retry");
  if (status >= 500 && body.type !== "server_error") {
    return fault(`The server failed (server error, HTTP ${status}).${said}`, "model", "retry");
  }
  // No status from 500 on: the number alone would make pi ask again.
  const number = status < 500 ? ` (HTTP ${status})` : "";
  return fault(`The server refused the request${number}.${said}`, "model", "none");
}
