/** Turns errors of sockets, TLS and the HTTP client into sentences. */
import type { ServerAddress } from "../../config.ts";
import { codeOf, type Link, type Remedy, ServerError } from "../../lib/errors.ts";
import { certificateFault } from "./certificate-faults.ts";

type Words = (address: ServerAddress) => string;

interface Row {
  link: Link;
  remedy: Remedy;
  /** What failed: the whole sentence, or with `rest` its beginning. */
  what: Words;
  rest: string;
  variable?: string | undefined;
}

/** A fault that stays. @param variable the setting that may be wrong */
function lasting(link: Link, what: Words, variable?: string): Row {
  return { link, remedy: "none", what, rest: "", variable };
}

/** A fault that may pass. @param rest of the sentence, beginning with the words that make pi ask again */
function passing(link: Link, what: Words, rest: string): Row {
  return { link, remedy: "retry", what, rest };
}

const host = (address: ServerAddress): string => new URL(address.origin).host;
const name = (address: ServerAddress): string => new URL(address.origin).hostname;

const CLIENT_CERTIFICATE_REFUSED = lasting(
  "TLS",
  (at) =>
    `The server refused the client certificate ${at.clientCert}. It may come from another CA than the one Caddy trusts, or lack the client-auth usage.`,
);

const NOTHING_IN_COMMON = lasting(
  "TLS",
  (at) =>
    `${name(at)} ended the handshake: it shares no cipher, key or signature with this client (which accepts no cipher without encryption or a certificate), or it refuses the client certificate ${at.clientCert}. Check the server's certificate, the ciphers in the tls block of the Caddyfile, and the CA and usage of the client certificate.`,
);

const CIPHER_NOT_OFFERED = lasting(
  "TLS",
  (at) =>
    `${name(at)} chose a cipher that this client did not offer, such as one without encryption or a certificate. Check what answers at ${host(at)}: Caddy does not do that.`,
);

const WEAK_KEY_EXCHANGE = lasting(
  "TLS",
  (at) =>
    `${name(at)} exchanges keys in a way that is too weak to be safe, or that this client does not accept. Leave out ciphers and curves in the tls block of the Caddyfile, or update the server.`,
);

const WEAK_SIGNATURE = lasting(
  "TLS",
  (at) =>
    `${name(at)} signs the handshake with an algorithm that this client does not accept, such as SHA-1. Give it a key of EC P-256 or RSA with 2048 bits or more, or update the server.`,
);

const NOT_UNPACKED = lasting(
  "Caddy",
  (at) =>
    `An answer of ${host(at)} is marked as compressed, but cannot be unpacked. Turn the compression off (encode in the Caddyfile), or update the proxy.`,
);

const UNREACHABLE = passing(
  "TCP",
  (at) => `${host(at)} is unreachable`,
  " (network error). Check this machine's network or VPN.",
);

/** By the code of the error. Sources: Node's `errors` and `tls` manuals, OpenSSL's alert names, undici's errors. */
const BY_CODE: Readonly<Record<string, Row>> = {
  ENOTFOUND: lasting(
    "DNS",
    (at) => `The name ${name(at)} does not exist in DNS. Check AI_SERVER_URL, and this machine's network.`,
  ),
  EAI_AGAIN: passing(
    "DNS",
    (at) => `The name ${name(at)} could not be looked up`,
    " (network error: DNS does not answer). Check this machine's network.",
  ),
  ECONNREFUSED: passing(
    "TCP",
    (at) => `${host(at)} refuses connections`,
    " (connection refused). Caddy may be stopped, or the port in AI_SERVER_URL is wrong.",
  ),
  Z_DATA_ERROR: NOT_UNPACKED,
  Z_NEED_DICT: NOT_UNPACKED,
  Z_BUF_ERROR: NOT_UNPACKED,
  Z_MEM_ERROR: NOT_UNPACKED,
  EHOSTUNREACH: UNREACHABLE,
  ENETUNREACH: UNREACHABLE,
  EADDRNOTAVAIL: UNREACHABLE,
  ETIMEDOUT: passing(
    "TCP",
    (at) => `${host(at)} does not answer`,
    " (connection timed out). The machine may be off, or a firewall drops the packets.",
  ),
  UND_ERR_CONNECT_TIMEOUT: passing(
    "TCP",
    (at) => `${host(at)} did not answer within ${at.connectTimeoutMs / 1000} s`,
    " (connection timed out). The machine may be off, or a firewall drops the packets.",
  ),
  ECONNRESET: passing(
    "Caddy",
    (at) => `${host(at)} closed the connection before it answered`,
    " (connection error). Caddy or the network ended it.",
  ),
  ALERT_CERTIFICATE_REQUIRED: lasting(
    "TLS",
    (at) =>
      `The server demands a client certificate and did not get one. Check that ${at.clientCert} is the client's and not the server's.`,
  ),
  ALERT_CERTIFICATE_EXPIRED: lasting(
    "TLS",
    (at) =>
      `The server says that the client certificate ${at.clientCert} has expired. Compare the clocks, or issue a new one.`,
  ),
  ALERT_UNKNOWN_CA: CLIENT_CERTIFICATE_REFUSED,
  ALERT_BAD_CERTIFICATE: CLIENT_CERTIFICATE_REFUSED,
  ALERT_UNSUPPORTED_CERTIFICATE: CLIENT_CERTIFICATE_REFUSED,
  ALERT_CERTIFICATE_REVOKED: CLIENT_CERTIFICATE_REFUSED,
  ALERT_CERTIFICATE_UNKNOWN: CLIENT_CERTIFICATE_REFUSED,
  ALERT_DECRYPT_ERROR: CLIENT_CERTIFICATE_REFUSED,
  ALERT_ACCESS_DENIED: CLIENT_CERTIFICATE_REFUSED,
  ALERT_HANDSHAKE_FAILURE: NOTHING_IN_COMMON,
  ALERT_INSUFFICIENT_SECURITY: NOTHING_IN_COMMON,
  ERR_SSL_NO_SHARED_CIPHER: NOTHING_IN_COMMON,
  ERR_SSL_NO_CIPHERS_AVAILABLE: NOTHING_IN_COMMON,
  ERR_SSL_WRONG_CIPHER_RETURNED: CIPHER_NOT_OFFERED,
  ERR_SSL_UNKNOWN_CIPHER_RETURNED: CIPHER_NOT_OFFERED,
  ERR_SSL_DH_KEY_TOO_SMALL: WEAK_KEY_EXCHANGE,
  ERR_SSL_BAD_DH_VALUE: WEAK_KEY_EXCHANGE,
  ERR_SSL_WRONG_CURVE: WEAK_KEY_EXCHANGE,
  ERR_SSL_BAD_ECPOINT: WEAK_KEY_EXCHANGE,
  ERR_SSL_NO_SUITABLE_KEY_SHARE: WEAK_KEY_EXCHANGE,
  ERR_SSL_WRONG_SIGNATURE_TYPE: WEAK_SIGNATURE,
  ERR_SSL_NO_SUITABLE_SIGNATURE_ALGORITHM: WEAK_SIGNATURE,
  ERR_SSL_NO_SHARED_SIGNATURE_ALGORITHMS: WEAK_SIGNATURE,
  ERR_SSL_UNSAFE_LEGACY_RENEGOTIATION_DISABLED: lasting(
    "TLS",
    (at) =>
      `${name(at)} can only renegotiate TLS in the old, unsafe way, which this client does not accept. Update the server, or what stands in front of it.`,
  ),
  ALERT_INTERNAL_ERROR: lasting(
    "Caddy",
    (at) =>
      `Caddy has no certificate for ${name(at)}. Check the site's name in the Caddyfile and AI_SERVER_URL.`,
  ),
  ERR_SSL_TLSV1_UNRECOGNIZED_NAME: lasting(
    "Caddy",
    (at) =>
      `The server does not know the name ${name(at)}. Check the site's name in the Caddyfile and AI_SERVER_URL.`,
  ),
  ALERT_PROTOCOL_VERSION: lasting(
    "TLS",
    (at) => `${name(at)} speaks only versions of TLS before 1.2, which are not safe. Update the server.`,
  ),
  ERR_SSL_WRONG_VERSION_NUMBER: lasting(
    "TLS",
    (at) =>
      `${host(at)} does not speak TLS. The port in AI_SERVER_URL may be the model server's own instead of Caddy's.`,
    "AI_SERVER_URL",
  ),
};

const BY_CODE_SAME_AS: Readonly<Record<string, string>> = {
  EPIPE: "ECONNRESET",
  UND_ERR_SOCKET: "ECONNRESET",
  // The connection ended without TLS's own goodbye: the network's doing, and no fault of the certificates.
  ERR_SSL_UNEXPECTED_EOF_WHILE_READING: "ECONNRESET",
  ERR_SSL_PACKET_LENGTH_TOO_LONG: "ERR_SSL_WRONG_VERSION_NUMBER",
  ERR_SSL_HTTP_REQUEST: "ERR_SSL_WRONG_VERSION_NUMBER",
  ERR_SSL_UNSUPPORTED_PROTOCOL: "ALERT_PROTOCOL_VERSION",
  ERR_SSL_WRONG_SSL_VERSION: "ALERT_PROTOCOL_VERSION",
  ERR_SSL_VERSION_TOO_LOW: "ALERT_PROTOCOL_VERSION",
  ALERT_UNRECOGNIZED_NAME: "ERR_SSL_TLSV1_UNRECOGNIZED_NAME",
  ERR_TLS_CERT_ALTNAME_INVALID: "HOSTNAME_MISMATCH",
  ERR_TLS_CERT_ALTNAME_FORMAT: "HOSTNAME_MISMATCH",
};

/** Node's own codes and those of OpenSSL's libraries: whatever has one did not fail for the network's sake. */
function isTls(code: string): boolean {
  return /^(ERR_SSL_|ERR_TLS_|ERR_OSSL_|ERR_CRYPTO_|ALERT_|EPROTO$)/.test(code);
}

function otherFault(code: string): Row {
  return isTls(code)
    ? lasting(
        "TLS",
        (at) =>
          `The connection to ${host(at)} could not be secured (${code}). Check the certificates on both sides, the tls block of the Caddyfile and what answers at this port.`,
      )
    : passing(
        "TCP",
        (at) => `The connection to ${host(at)} failed`,
        ` (connection error, ${code || "unknown reason"}).`,
      );
}

/** The code of an error and the words beside it. OpenSSL's own stand in the message where a write met the alert. */
function codeAndReason(error: unknown): { code: string; reason: string } {
  const code = codeOf(error);
  let reason = "";
  for (let at = error; at instanceof Error; at = at.cause) {
    reason = at.message;
    if ("code" in at && at.code === code) break;
  }
  const said =
    code === "EPROTO" || code === "" ? /:SSL routines:[^:]*:([^:]{1,80}):/.exec(reason)?.[1] : undefined;
  return said === undefined
    ? { code, reason }
    : { code: `ERR_SSL_${said.toUpperCase().replaceAll(" ", "_")}`, reason };
}

/** The sentence for an error of the socket, of TLS or of the HTTP client. */
export function transportFault(error: unknown, address: ServerAddress): ServerError {
  if (error instanceof ServerError) return error;
  const { code: told, reason } = codeAndReason(error);
  // OpenSSL renames the family of an alert from version to version: SSLV3, TLSV1, TLSV13, SSL/TLS.
  const alert = told.replace(/^ERR_SSL_[A-Z0-9/]+_ALERT_/, "ALERT_");
  const code = /^(ERR__|ZSTD_error)/.test(alert)
    ? "Z_DATA_ERROR"
    : Object.hasOwn(BY_CODE_SAME_AS, alert)
      ? (BY_CODE_SAME_AS[alert] ?? alert)
      : alert;
  const certificate = certificateFault(code, reason, address, name(address), error);
  if (certificate !== undefined) return certificate;
  const { link, remedy, what, rest, variable } =
    (Object.hasOwn(BY_CODE, code) ? BY_CODE[code] : undefined) ?? otherFault(code);
  const failed = what(address);
  const hint = isWay(link, remedy) ? proxyHint(address) : "";
  return new ServerError(failed + rest + hint, { link, remedy, what: failed, variable, cause: error });
}

/** Where there is no way, one through a proxy may be the only one. */
function isWay(link: Link, remedy: Remedy): boolean {
  return link === "DNS" || link === "TCP" || (link === "Caddy" && remedy === "retry");
}

function proxyHint({ unusedProxy }: ServerAddress): string {
  return unusedProxy !== undefined
    ? ` ${unusedProxy} is set, but not used: this extension connects to the server directly, which a network with a proxy may not allow.`
    : "";
}
