/** Turns errors of sockets, TLS and the HTTP client into sentences. */
import type { ServerAddress } from "../config.ts";
import { codeOf, type Link, type Remedy, ServerError } from "./errors.ts";

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
      `${host(at)} does not speak TLS. The port in AI_SERVER_URL may be the model server's own instead of Caddy's.`,
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
