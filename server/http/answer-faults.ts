/** Turns statuses and error bodies of HTTP, and errors inside a stream, into sentences. */

import { type FaultDetails, type Link, type Remedy, ServerError } from "../../lib/errors.ts";
import { type ErrorBody, isOverflow, parseErrorBody } from "./error-body.ts";

/** llama-server's words when a tool call of the model, not ours, could not be read. */
const UNREADABLE_TOOL_CALL =
  /failed to parse (?:input at pos|tool call)|invalid tool call|failed to parse.*tool.?call/i;

/** Tokens as they stand in a sentence: 40,960 tokens. */
function tokens(count: number | undefined): string | undefined {
  return count === undefined ? undefined : `${count.toLocaleString("en-US")} tokens`;
}

/** The sentence for an overflow, worded so that pi compacts and asks again. */
export function overflowFault({ figures }: ErrorBody, details: Partial<FaultDetails> = {}): ServerError {
  const { prompt, window, sureWindow } = figures;
  const has = (count: number | undefined): string => (count === undefined ? "" : ` (${tokens(count)})`);
  const isAnswer = prompt !== undefined && window !== undefined && prompt < window;
  const what = isAnswer ? "leaves no room for an answer in" : "no longer fits into";
  return new ServerError(
    `context_length_exceeded: the conversation${has(prompt)} ${what} the model's context${has(window)}.`,
    {
      ...details,
      link: "model",
      remedy: "compact",
      ...(sureWindow === undefined ? {} : { contextWindow: sureWindow }),
    },
  );
}

function quoted({ message }: ErrorBody): { said: string; quoting: Pick<FaultDetails, "quote"> } {
  return message === ""
    ? { said: "", quoting: {} }
    : { said: ` It says: ${message}`, quoting: { quote: message } };
}

/** The words make pi ask again: a broken stream may pass. */
export function brokenStream(what: string, cause?: unknown): ServerError {
  return new ServerError(
    `The answer broke off: ${what} (connection error). The server may have been restarted, or the model unloaded.`,
    {
      link: "stream",
      remedy: "retry",
      cause,
    },
  );
}

/** The sentence for an error inside a running stream, or for a 200 answer that is one. */
export function streamFault(body: ErrorBody): ServerError {
  if (isOverflow(body)) return overflowFault(body);
  if (UNREADABLE_TOOL_CALL.test(body.message)) return toolCallFault(body);
  const { said, quoting } = quoted(body);
  if (/^proxy error|failed to read connection/i.test(body.message)) {
    return new ServerError(`The model's process ended while it answered (server error).${said}`, {
      link: "model",
      remedy: "retry",
      ...quoting,
    });
  }
  return new ServerError(`The server ended the answer with an error (server error).${said}`, {
    link: "model",
    remedy: "retry",
    ...quoting,
    undecided: body.words,
  });
}

function toolCallFault(body: ErrorBody): ServerError {
  const { said, quoting } = quoted(body);
  return new ServerError(
    `The server could not read the tool call that the model wrote (server error).${said} If this happens often, start llama-server with --jinja and check that the chat template fits the model.`,
    { link: "model", remedy: "retry", ...quoting },
  );
}

/** A `finish_reason` that may pass, by the words that pi's own provider takes so. */
const PASSING_END =
  /network.?error|server.?error|internal.?error|time.?out|timed.?out|unavailable|overloaded|rate.?limit|terminated/i;

/**
 * The sentence for an answer that ended, but not well.
 *
 * @param reason its `finish_reason`, safe to show
 */
export function finishFault(reason: string): ServerError {
  const body = parseErrorBody(reason);
  if (isOverflow(body)) return overflowFault(body);
  if (reason === "content_filter") {
    return new ServerError("The server withheld the rest of the answer (content filter).", {
      link: "model",
      remedy: "none",
    });
  }
  const isPassing = PASSING_END.test(reason);
  const kind = isPassing ? " (server error)" : "";
  return new ServerError(
    `The server broke the answer off${kind}, with the finish_reason ${reason}. Ask again; /ai-server-logs may show why.`,
    { link: "model", remedy: isPassing ? "retry" : "none", quote: reason, undecided: reason },
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
  const { said, quoting } = quoted(body);
  const fault = (message: string, link: Link, remedy: Remedy): ServerError =>
    new ServerError(message, { ...quoting, status, link, remedy });
  // Only where the server itself answered, and neither asks for patience nor for a key.
  const undecided = (message: string, remedy: Remedy): ServerError =>
    new ServerError(message, { ...quoting, status, link: "model", remedy, undecided: body.words });

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
  if (status === 408 || status === 425)
    return fault(
      `The server did not get the request in time (server error, HTTP ${status}).${said}`,
      "server",
      "retry",
    );
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
    return undecided(`The server failed (server error, HTTP ${status}).${said}`, "retry");
  }
  // No status from 500 on: the number alone would make pi ask again.
  const number = status < 500 ? ` (HTTP ${status})` : "";
  return undecided(`The server refused the request${number}.${said}`, "none");
}
