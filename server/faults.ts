/** Turns what the wire says into sentences: errors of sockets and TLS, statuses and error bodies of HTTP. */
import type { ServerAddress } from "../config.ts";
import { cleanText, codeOf, type FaultDetails, type Link, type Remedy, ServerError } from "./errors.ts";

type Row = readonly [link: Link, remedy: Remedy, sentence: (address: ServerAddress) => string];

const host = (address: ServerAddress): string => new URL(address.origin).host;
const name = (address: ServerAddress): string => new URL(address.origin).hostname;

const NOT_OUR_CA: Row = [
  "TLS",
  "none",
  (at) =>
    at.ca === "system"
      ? `The certificate of ${name(at)} is not signed by a public authority. If the server has a CA of its own, put its file at root-ca.pem and unset AI_SERVER_CA.`
      : `The certificate of ${name(at)} is not signed by the CA in ${at.ca}. Get the server's current CA file, or set AI_SERVER_CA=system if its certificate is a public one.`,
];

const CLIENT_CERTIFICATE_REFUSED: Row = [
  "TLS",
  "none",
  (at) =>
    `The server refused the client certificate ${at.clientCert}. It may come from another CA than the one Caddy trusts, or lack the client-auth usage.`,
];

const UNREACHABLE: Row = [
  "TCP",
  "retry",
  (at) => `There is no way to ${host(at)} (network error). Check this machine's network or VPN.`,
];

/** By the code of the error. Sources: Node's `errors` and `tls` manuals, OpenSSL's alert names, undici's errors. */
const BY_CODE: Readonly<Record<string, Row>> = {
  ENOTFOUND: [
    "DNS",
    "none",
    (at) => `The name ${name(at)} does not exist in DNS. Check AI_SERVER_URL, and this machine's network.`,
  ],
  EAI_AGAIN: [
    "DNS",
    "retry",
    (at) =>
      `The name ${name(at)} could not be looked up (network error: DNS does not answer). Check this machine's network.`,
  ],
  ECONNREFUSED: [
    "TCP",
    "retry",
    (at) =>
      `${host(at)} refuses connections (connection refused). Caddy may be stopped, or the port in AI_SERVER_URL is another.`,
  ],
  EHOSTUNREACH: UNREACHABLE,
  ENETUNREACH: UNREACHABLE,
  EADDRNOTAVAIL: UNREACHABLE,
  ETIMEDOUT: [
    "TCP",
    "retry",
    (at) =>
      `${host(at)} does not answer (connection timed out). The machine may be off, or a firewall drops the packets.`,
  ],
  UND_ERR_CONNECT_TIMEOUT: [
    "TCP",
    "retry",
    (at) =>
      `${host(at)} did not answer within ${at.connectTimeoutMs / 1000} s (connection timed out). The machine may be off, or a firewall drops the packets.`,
  ],
  ECONNRESET: [
    "Caddy",
    "retry",
    (at) =>
      `${host(at)} closed the connection before it answered (connection error). Caddy or the network ended it.`,
  ],
  CERT_HAS_EXPIRED: [
    "TLS",
    "none",
    (at) => `The server certificate of ${name(at)} has expired. Renew it on the Caddy host and reload Caddy.`,
  ],
  CERT_NOT_YET_VALID: [
    "TLS",
    "none",
    (at) =>
      `The server certificate of ${name(at)} is not valid yet. Check the clocks of this machine and of the Caddy host.`,
  ],
  ERR_TLS_CERT_ALTNAME_INVALID: [
    "TLS",
    "none",
    (at) =>
      `The server certificate is not for ${name(at)}. Use the name that it was issued for in AI_SERVER_URL, or issue it with this name (subjectAltName).`,
  ],
  ALERT_CERTIFICATE_REQUIRED: [
    "TLS",
    "none",
    (at) =>
      `The server demands a client certificate and did not get one. Check that ${at.clientCert} is the client's and not the server's.`,
  ],
  ALERT_CERTIFICATE_EXPIRED: [
    "TLS",
    "none",
    (at) =>
      `The server says that the client certificate ${at.clientCert} has expired. Compare the clocks, or issue a new one.`,
  ],
  ALERT_UNKNOWN_CA: CLIENT_CERTIFICATE_REFUSED,
  ALERT_BAD_CERTIFICATE: CLIENT_CERTIFICATE_REFUSED,
  ALERT_UNSUPPORTED_CERTIFICATE: CLIENT_CERTIFICATE_REFUSED,
  ALERT_CERTIFICATE_REVOKED: CLIENT_CERTIFICATE_REFUSED,
  ALERT_CERTIFICATE_UNKNOWN: CLIENT_CERTIFICATE_REFUSED,
  ALERT_DECRYPT_ERROR: CLIENT_CERTIFICATE_REFUSED,
  ALERT_ACCESS_DENIED: CLIENT_CERTIFICATE_REFUSED,
  ALERT_HANDSHAKE_FAILURE: CLIENT_CERTIFICATE_REFUSED,
  ALERT_INTERNAL_ERROR: [
    "Caddy",
    "none",
    (at) =>
      `Caddy has no certificate for ${name(at)}. Check the site's name in the Caddyfile and AI_SERVER_URL.`,
  ],
  ERR_SSL_TLSV1_UNRECOGNIZED_NAME: [
    "Caddy",
    "none",
    (at) =>
      `The server does not know the name ${name(at)}. Check the site's name in the Caddyfile and AI_SERVER_URL.`,
  ],
  ALERT_PROTOCOL_VERSION: [
    "TLS",
    "none",
    (at) => `${name(at)} speaks only versions of TLS before 1.2, which are not safe. Update the server.`,
  ],
  ERR_SSL_WRONG_VERSION_NUMBER: [
    "TLS",
    "none",
    (at) =>
      `${host(at)} does not speak TLS. The port in AI_SERVER_URL may be llama-swap's own instead of Caddy's.`,
  ],
};

const BY_CODE_SAME_AS: Readonly<Record<string, string>> = {
  EPIPE: "ECONNRESET",
  UND_ERR_SOCKET: "ECONNRESET",
  ERR_SSL_PACKET_LENGTH_TOO_LONG: "ERR_SSL_WRONG_VERSION_NUMBER",
  ERR_SSL_UNSUPPORTED_PROTOCOL: "ALERT_PROTOCOL_VERSION",
};

const UNTRUSTED = new Set([
  "UNABLE_TO_VERIFY_LEAF_SIGNATURE",
  "UNABLE_TO_GET_ISSUER_CERT",
  "UNABLE_TO_GET_ISSUER_CERT_LOCALLY",
  "SELF_SIGNED_CERT_IN_CHAIN",
  "DEPTH_ZERO_SELF_SIGNED_CERT",
  "CERT_UNTRUSTED",
  "CERT_SIGNATURE_FAILURE",
  "INVALID_CA",
]);

function isTls(code: string): boolean {
  return /^(ERR_SSL_|ERR_TLS_|ALERT_)/.test(code);
}

function otherFault(code: string): Row {
  return isTls(code)
    ? ["TLS", "none", (at) => `The connection to ${host(at)} could not be secured (${code}).`]
    : [
        "TCP",
        "retry",
        (at) => `The connection to ${host(at)} failed (connection error, ${code || "unknown reason"}).`,
      ];
}

/** The sentence for an error of the socket, of TLS or of the HTTP client. */
export function transportFault(error: unknown, address: ServerAddress): ServerError {
  if (error instanceof ServerError) return error;
  // OpenSSL renames the family of an alert from version to version: SSLV3, TLSV1, TLSV13, SSL/TLS.
  const code = codeOf(error).replace(/^ERR_SSL_[A-Z0-9/]+_ALERT_/, "ALERT_");
  const row = UNTRUSTED.has(code) ? NOT_OUR_CA : BY_CODE[BY_CODE_SAME_AS[code] ?? code];
  const [link, remedy, sentence] = row ?? otherFault(code);
  return new ServerError(sentence(address), { link, remedy, cause: error });
}

/** What an error body says, and who said it. */
export interface ErrorBody {
  message: string;
  /** llama-swap names itself since v218; null where that is not told. */
  source: string | null;
  type: string;
  contextWindow: number | undefined;
}

function field(value: unknown, key: string): unknown {
  return typeof value === "object" && value !== null ? (value as Record<string, unknown>)[key] : undefined;
}

function positive(value: unknown): number | undefined {
  return typeof value === "number" && Number.isFinite(value) && value > 0 ? value : undefined;
}

/**
 * Reads the four formats in which llama-swap and llama-server report errors: `{"error":{"message"}}`,
 * `{"error":"text"}`, plain text, and JSON with unescaped quotes (llama-swap v218 to v224).
 */
export function parseErrorBody(text: string): ErrorBody {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    const unescaped = /^\s*\{"error":"(.*)","src":"([^"]*)"\}\s*$/s.exec(text);
    return {
      message: cleanText(unescaped?.[1] ?? text.replace(/<[^>]*>/g, " "), 400),
      source: unescaped?.[2] ?? (text.startsWith("llama-swap: ") ? "llama-swap" : null),
      type: "",
      contextWindow: undefined,
    };
  }
  const error = field(value, "error");
  const message =
    typeof error === "string"
      ? error
      : (field(error, "message") ?? field(value, "message") ?? field(value, "detail"));
  const source = field(value, "src");
  const type = field(error, "type");
  return {
    message: typeof message === "string" ? cleanText(message, 400) : "",
    source: typeof source === "string" ? source : null,
    type: typeof type === "string" ? type : "",
    contextWindow: positive(field(error, "n_ctx")),
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
      "llama-swap demands an API key, and the one in AI_SERVER_API_KEY is missing or wrong.",
      "llama-swap",
      "none",
    );
  }
  if (status === 403) return fault(`Caddy does not let this client in (HTTP 403).${said}`, "Caddy", "none");
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
    return fault(`The server does not know ${path} (HTTP 404). ${hint}`, "llama-swap", "none");
  }
  if (status === 429)
    return fault(`The server has too many requests at once (HTTP 429).${said}`, "llama-swap", "retry");
  if (status === 502 || status === 504) {
    return fault(
      `Caddy answers, but llama-swap behind it does not (HTTP ${status}). llama-swap may be stopped or restarting.${said}`,
      "llama-swap",
      "retry",
    );
  }
  if (status === 503)
    return fault(`The server is not available just now (HTTP 503).${said}`, "llama-swap", "retry");
  if (status >= 500 && body.type !== "server_error") {
    return fault(`The server failed (server error, HTTP ${status}).${said}`, "model", "retry");
  }
  // No status from 500 on: the number alone would make pi ask again.
  const number = status < 500 ? ` (HTTP ${status})` : "";
  return fault(`The server refused the request${number}.${said}`, "model", "none");
}
