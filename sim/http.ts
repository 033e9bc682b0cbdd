import type { IncomingHttpHeaders, ServerResponse } from "node:http";

/** What a test can ask about a request after the fact. Times are `Date.now()`. */
export interface RequestRecord {
  method: string;
  /** Path and query as received. */
  path: string;
  headers: IncomingHttpHeaders;
  body: string;
  at: number;
  status: number | undefined;
  finishedAt: number | undefined;
  /** When the connection closed before the answer was complete. */
  disconnectedAt: number | undefined;
  /** Tokens written in total, and after the client had disconnected. */
  tokens: number;
  tokensAfterDisconnect: number;
  /** llama-server's `timings`, at the end of a complete answer. */
  timings: Readonly<Record<string, number>> | undefined;
}

/** One request on its way through the stand-in. */
export interface Exchange {
  method: string;
  /** Path and query for the handler: raw, percent-encoding kept. */
  path: string;
  headers: IncomingHttpHeaders;
  body: string;
  response: ServerResponse;
  record: RequestRecord;
  /** Aborted when the client disconnects. */
  gone: AbortSignal;
}

/** Go's encoding of JSON: `<`, `>` and `&` are escaped. */
export function goJson(value: unknown): string {
  return JSON.stringify(value).replace(/[<>&]/g, (c) => `\\u00${c.charCodeAt(0).toString(16)}`);
}

/**
 * Writes status, headers and a whole body. If a stream has already begun, only the body can follow: that is
 * why llama-swap's error is a bare line after its loading banner.
 */
export function reply(
  exchange: Exchange,
  status: number,
  headers: Record<string, string>,
  body: string | undefined,
): void {
  const { response } = exchange;
  if (!response.headersSent) {
    const length = String(Buffer.byteLength(body ?? ""));
    response.writeHead(status, { ...headers, ...(status === 204 ? {} : { "Content-Length": length }) });
  }
  response.end(body);
}

export function replyText(exchange: Exchange, status: number, body: string): void {
  const sniff: Record<string, string> = status >= 400 ? { "X-Content-Type-Options": "nosniff" } : {};
  reply(exchange, status, { "Content-Type": "text/plain; charset=utf-8", ...sniff }, body);
}

export function replyJson(exchange: Exchange, status: number, value: unknown): void {
  reply(exchange, status, { "Content-Type": "application/json" }, JSON.stringify(value));
}

export function replyGoJson(exchange: Exchange, status: number, value: unknown): void {
  reply(exchange, status, { "Content-Type": "application/json" }, `${goJson(value)}\n`);
}

/** A redirect with the body that Go's `http.Redirect` gives it (GET and HEAD only). */
export function redirect(exchange: Exchange, status: number, reason: string, location: string): void {
  const withBody = exchange.method === "GET" || exchange.method === "HEAD";
  const type: Record<string, string> = withBody ? { "Content-Type": "text/html; charset=utf-8" } : {};
  const body = withBody ? `<a href="${location}">${reason}</a>.\n\n` : "";
  reply(exchange, status, { ...type, Location: location }, body);
}

/** An error in llama-swap's own words; every other failure on the way to a model is a 500. */
export class SwapError extends Error {
  readonly status: number;
  readonly code: string | undefined;
  readonly headers: Record<string, string>;

  constructor(status: number, message: string, code?: string, headers: Record<string, string> = {}) {
    super(message);
    this.status = status;
    this.code = code;
    this.headers = headers;
  }
}

const ERROR_KINDS: Record<number, [type: string, code: string]> = {
  400: ["invalid_request_error", "bad_request"],
  401: ["authentication_error", "unauthorized"],
  404: ["invalid_request_error", "not_found"],
  409: ["invalid_request_error", "conflict"],
  429: ["rate_limit_error", "rate_limit_exceeded"],
  500: ["server_error", "internal_error"],
  502: ["server_error", "bad_gateway"],
  503: ["server_error", "service_unavailable"],
};

/** Answers with an error in the form that the request's Accept header asks for (llama-swap HEAD, #1038). */
export function replyError(exchange: Exchange, error: unknown): void {
  const known = error instanceof SwapError ? error : undefined;
  const status = known?.status ?? 500;
  const message = known?.message ?? `unspecific error: ${error instanceof Error ? error.message : error}`;
  const [type, body] = renderError(status, message, known?.code, exchange.headers.accept ?? "");
  reply(exchange, status, { ...known?.headers, "Content-Type": type }, body);
}

function renderError(status: number, message: string, code: string | undefined, accept: string) {
  // A request rejected by the concurrency limit has its own body, regardless of Accept.
  if (status !== 429 && accept.includes("text/plain"))
    return ["text/plain", `llama-swap: ${message}`] as const;
  if (status !== 429 && accept.includes("text/html")) {
    const entities: Record<string, string> = {
      "&": "&amp;",
      "<": "&lt;",
      ">": "&gt;",
      '"': "&#34;",
      "'": "&#39;",
    };
    const escaped = message.replace(/[&<>"']/g, (character) => entities[character] ?? character);
    return ["text/html", `<html><body><h1>llama-swap</h1><p>${escaped}</p></body></html>`] as const;
  }
  const [type, usualCode] = ERROR_KINDS[status] ?? ["server_error", "internal_error"];
  const error = { message, type, param: null, code: code ?? usualCode };
  return ["application/json", goJson({ src: "llama-swap", error })] as const;
}
