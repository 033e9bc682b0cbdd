/** Turns statuses and error bodies of HTTP, and errors inside a stream, into sentences. */

import { type FaultDetails, type Link, type Remedy, type Sentence, ServerError } from "../../lib/errors.ts";
import { type ErrorBody, isOverflow, parseErrorBody } from "./error-body.ts";

/** llama-server's messages for a malformed tool call written by the model. */
const UNREADABLE_TOOL_CALL =
  /failed to parse (?:input at pos|tool call)|invalid tool call|failed to parse.*tool.?call/i;

/** The error of an overflow, worded so that pi compacts and retries. */
export function overflowFault(
  { figures }: ErrorBody,
  details: Pick<FaultDetails, "status" | "cause"> & { quote?: string | undefined } = {},
): ServerError {
  const { prompt, window, sureWindow } = figures;
  const sized = (tokens: number | undefined): string =>
    tokens === undefined ? "" : ` (${tokens.toLocaleString("en-US")} tokens)`;
  const isAnswer = prompt !== undefined && window !== undefined && prompt < window;
  const what = isAnswer ? "leaves no room for an answer in" : "no longer fits into";
  const sentence = `context_length_exceeded: the conversation${sized(prompt)} ${what} the model's context${sized(window)}.`;
  return new ServerError(saying(sentence, details.quote), {
    link: "model",
    remedy: "compact",
    status: details.status,
    contextWindow: sureWindow,
    cause: details.cause,
  });
}

/** The sentence with the server's words after it, where there are any. */
function saying(sentence: string, words: string | undefined, after = ""): Sentence {
  return words ? [`${sentence} It says: `, words, after] : sentence + after;
}

/** The words in brackets make pi retry: a broken stream may pass. */
export function brokenStream(why: string, cause?: unknown): ServerError {
  const what = `The answer broke off: ${why}`;
  return new ServerError(
    `${what} (connection error). The server may have been restarted, or the model unloaded.`,
    { link: "stream", remedy: "retry", what, cause },
  );
}

/** A fault of the model that may pass: the words in brackets make pi retry. */
function modelFault(what: string, { message }: ErrorBody, undecided?: string, after?: string): ServerError {
  const sentence = saying(`${what} (server error).`, message, after);
  return new ServerError(sentence, { link: "model", remedy: "retry", what, undecided });
}

/** The sentence for an error inside a running stream, or for a 200 answer that is one. */
export function streamFault(body: ErrorBody): ServerError {
  if (isOverflow(body)) return overflowFault(body);
  if (UNREADABLE_TOOL_CALL.test(body.message)) return toolCallFault(body);
  return /^proxy error|failed to read connection/i.test(body.message)
    ? modelFault("The model's process ended while it answered", body)
    : modelFault("The server ended the answer with an error", body, body.words);
}

function toolCallFault(body: ErrorBody): ServerError {
  const hint =
    " If this happens often, start llama-server with --jinja and check that the chat template fits the model.";
  return modelFault("The server could not read the tool call that the model wrote", body, undefined, hint);
}

/** Words of a `finish_reason` for which pi's own provider retries. */
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
  const what = "The server broke the answer off";
  return new ServerError(
    [
      `${what}${isPassing ? " (server error)" : ""}, with the finish_reason `,
      reason,
      ". Ask again; /ai-server-logs may show why.",
    ],
    { link: "model", remedy: isPassing ? "retry" : "none", what, undecided: reason },
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
  const fault = (link: Link, remedy: Remedy, sentence: Sentence, more?: Partial<FaultDetails>): ServerError =>
    new ServerError(sentence, { link, remedy, status, ...more });
  const said = (sentence: string): Sentence => saying(sentence, body.message);
  const wrongUrl = (link: Link, sentence: string): ServerError =>
    fault(link, "none", sentence, { variable: "AI_SERVER_URL" });
  const passing = (sentence: string): ServerError => fault("server", "retry", said(sentence));

  if (isOverflow(body)) return overflowFault(body, { status });
  if (UNREADABLE_TOOL_CALL.test(body.message) && !/as JSON/.test(body.message)) return toolCallFault(body);
  if (status === 401) {
    const sentence = "The server demands an API key, and the one in AI_SERVER_API_KEY is missing or wrong.";
    return fault("server", "none", sentence, { variable: "AI_SERVER_API_KEY" });
  }
  if (status === 403) return fault("Caddy", "none", said("Caddy denies access to this client (HTTP 403)."));
  if (status === 400 && /HTTP request .*to .*HTTPS (server|port)/i.test(body.message))
    return wrongUrl("TLS", "The server speaks TLS at this port: write https: in AI_SERVER_URL.");
  if (status === 421)
    return wrongUrl(
      "Caddy",
      "Caddy does not serve this name (HTTP 421). Set AI_SERVER_URL to the site's name as in the Caddyfile, not to an address.",
    );
  if (status >= 300 && status < 400)
    return wrongUrl(
      "Caddy",
      `The server answers ${path} with a redirect, which this extension does not follow. Set AI_SERVER_URL to its target.`,
    );
  if (status === 413) {
    const sentence =
      "context_length_exceeded: the request is larger than Caddy allows (request_body max_size).";
    return fault("Caddy", "compact", sentence);
  }
  if (status === 404 && body.source === null && !/model/i.test(body.message)) {
    const hint = /\/v1\/v1\//.test(path)
      ? "Leave out /v1 at the end of AI_SERVER_URL."
      : "Check AI_SERVER_URL and its path, and that Caddy passes this route on.";
    return wrongUrl("server", `The server does not know ${path} (HTTP 404). ${hint}`);
  }
  if (status === 408 || status === 425)
    return passing(`The server did not get the request in time (server error, HTTP ${status}).`);
  if (status === 429) return passing("The server has too many requests at once (HTTP 429).");
  if (/^peer proxy error/i.test(body.message))
    return passing(`llama-swap cannot reach the other server (peer) that runs this model (HTTP ${status}).`);
  if (status === 502 || status === 504)
    return passing(
      `Caddy answers, but the model server behind it does not (HTTP ${status}). It may be stopped or restarting.`,
    );
  if (status === 503) return passing("The server is not available at the moment (HTTP 503).");
  // Only where the server itself answered, and wants neither patience nor a key.
  const undecided = body.words;
  if (status >= 500 && body.type !== "server_error")
    return fault("model", "retry", said(`The server failed (server error, HTTP ${status}).`), { undecided });
  // No status from 500 on: the number alone would make pi retry.
  const number = status < 500 ? ` (HTTP ${status})` : "";
  return fault("model", "none", said(`The server refused the request${number}.`), { undecided });
}
