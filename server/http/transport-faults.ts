/** Turns errors of sockets, TLS and the HTTP client into sentences. */
import type { ServerAddress } from "../../config.ts";
import { codeOf, type Link, type Remedy, ServerError } from "../../lib/errors.ts";
import { certificateFault } from "./certificate-faults.ts";

type Words = (address: ServerAddress) => string;

interface Row {
  /** Of the errors that mean it, with blanks between. */
  codes: string;
  link: Link;
  remedy: Remedy;
  /** What failed: the whole sentence, or with `rest` its beginning. */
  what: Words;
  rest: string;
  variable?: string | undefined;
}

/** A fault that stays. @param variable the setting that may be wrong */
function lasting(codes: string, link: Link, what: Words, variable?: string): Row {
  return { codes, link, remedy: "none", what, rest: "", variable };
}

/** A fault that may pass. @param rest of the sentence, beginning with the words that make pi ask again */
function passing(codes: string, link: Link, what: Words, rest: string): Row {
  return { codes, link, remedy: "retry", what, rest };
}

const host = (address: ServerAddress): string => new URL(address.origin).host;
const name = (address: ServerAddress): string => new URL(address.origin).hostname;

/** The faults by their codes. Sources: Node's `errors` and `tls` manuals, OpenSSL's alert names, undici's errors. */
const ROWS: readonly Row[] = [
  lasting(
    "ENOTFOUND",
    "DNS",
    (at) => `The name ${name(at)} does not exist in DNS. Check AI_SERVER_URL, and this machine's network.`,
  ),
  passing(
    "EAI_AGAIN",
    "DNS",
    (at) => `The name ${name(at)} could not be looked up`,
    " (network error: DNS does not answer). Check this machine's network.",
  ),
  passing(
    "ECONNREFUSED",
    "TCP",
    (at) => `${host(at)} refuses connections`,
    " (connection refused). Caddy may be stopped, or the port in AI_SERVER_URL is wrong.",
  ),
  lasting(
    "Z_DATA_ERROR Z_NEED_DICT Z_BUF_ERROR Z_MEM_ERROR",
    "Caddy",
    (at) =>
      `An answer of ${host(at)} is marked as compressed, but cannot be unpacked. Turn the compression off (encode in the Caddyfile), or update the proxy.`,
  ),
  passing(
    "EHOSTUNREACH ENETUNREACH EADDRNOTAVAIL",
    "TCP",
    (at) => `${host(at)} is unreachable`,
    " (network error). Check this machine's network or VPN.",
  ),
  passing(
    "ETIMEDOUT",
    "TCP",
    (at) => `${host(at)} does not answer`,
    " (connection timed out). The machine may be off, or a firewall drops the packets.",
  ),
  passing(
    "UND_ERR_CONNECT_TIMEOUT",
    "TCP",
    (at) => `${host(at)} did not answer within ${at.connectTimeoutMs / 1000} s`,
    " (connection timed out). The machine may be off, or a firewall drops the packets.",
  ),
  passing(
    "ERR_TLS_HANDSHAKE_TIMEOUT",
    "TLS",
    (at) =>
      `${host(at)} accepts connections, but did not answer the TLS handshake within ${at.connectTimeoutMs / 1000} s`,
    " (connection timed out). Another program may listen at this port, or Caddy is stuck.",
  ),
  // The last one: it ended without TLS's own goodbye, which is the network's doing and no fault of the certificates.
  passing(
    "ECONNRESET EPIPE UND_ERR_SOCKET ERR_SSL_UNEXPECTED_EOF_WHILE_READING",
    "Caddy",
    (at) => `${host(at)} closed the connection before it answered`,
    " (connection error). Caddy or the network ended it.",
  ),
  lasting(
    "ALERT_CERTIFICATE_REQUIRED",
    "TLS",
    (at) =>
      `The server demands a client certificate and did not get one. Check that ${at.clientCert} is the client's and not the server's.`,
  ),
  lasting(
    "ALERT_CERTIFICATE_EXPIRED",
    "TLS",
    (at) =>
      `The server says that the client certificate ${at.clientCert} has expired. Compare the clocks, or issue a new one.`,
  ),
  lasting(
    "ALERT_UNKNOWN_CA ALERT_BAD_CERTIFICATE ALERT_UNSUPPORTED_CERTIFICATE ALERT_CERTIFICATE_REVOKED " +
      "ALERT_CERTIFICATE_UNKNOWN ALERT_DECRYPT_ERROR ALERT_ACCESS_DENIED",
    "TLS",
    (at) =>
      `The server refused the client certificate ${at.clientCert}. It may have been revoked, come from another CA than the one Caddy trusts, or lack the client-auth usage.`,
  ),
  lasting(
    "ALERT_HANDSHAKE_FAILURE ALERT_INSUFFICIENT_SECURITY ERR_SSL_NO_SHARED_CIPHER ERR_SSL_NO_CIPHERS_AVAILABLE",
    "TLS",
    (at) =>
      `${name(at)} ended the handshake: it shares no cipher, key or signature with this client (which accepts no cipher without encryption or a certificate), or it refuses the client certificate ${at.clientCert}. Check the server's certificate, the ciphers in the tls block of the Caddyfile, and the CA and usage of the client certificate.`,
  ),
  lasting(
    "ERR_SSL_WRONG_CIPHER_RETURNED ERR_SSL_UNKNOWN_CIPHER_RETURNED",
    "TLS",
    (at) =>
      `${name(at)} chose a cipher that this client did not offer, such as one without encryption or a certificate. Check what answers at ${host(at)}: Caddy does not do that.`,
  ),
  lasting(
    "ERR_SSL_DH_KEY_TOO_SMALL ERR_SSL_BAD_DH_VALUE ERR_SSL_WRONG_CURVE " +
      "ERR_SSL_BAD_ECPOINT ERR_SSL_NO_SUITABLE_KEY_SHARE",
    "TLS",
    (at) =>
      `${name(at)} exchanges keys in a way that is too weak to be safe, or that this client does not accept. Leave out ciphers and curves in the tls block of the Caddyfile, or update the server.`,
  ),
  lasting(
    "ERR_SSL_WRONG_SIGNATURE_TYPE ERR_SSL_NO_SUITABLE_SIGNATURE_ALGORITHM ERR_SSL_NO_SHARED_SIGNATURE_ALGORITHMS",
    "TLS",
    (at) =>
      `${name(at)} signs the handshake with an algorithm that this client does not accept, such as SHA-1. Give it a key of EC P-256 or RSA with 2048 bits or more, or update the server.`,
  ),
  lasting(
    "ERR_SSL_UNSAFE_LEGACY_RENEGOTIATION_DISABLED",
    "TLS",
    (at) =>
      `${name(at)} can only renegotiate TLS in the old, unsafe way, which this client does not accept. Update the server, or what stands in front of it.`,
  ),
  lasting(
    "ALERT_INTERNAL_ERROR",
    "Caddy",
    (at) =>
      `Caddy has no certificate for ${name(at)}. Check the site's name in the Caddyfile and AI_SERVER_URL.`,
  ),
  lasting(
    "ERR_SSL_TLSV1_UNRECOGNIZED_NAME ALERT_UNRECOGNIZED_NAME",
    "Caddy",
    (at) =>
      `The server does not know the name ${name(at)}. Check the site's name in the Caddyfile and AI_SERVER_URL.`,
  ),
  lasting(
    "ALERT_PROTOCOL_VERSION ERR_SSL_UNSUPPORTED_PROTOCOL ERR_SSL_WRONG_SSL_VERSION ERR_SSL_VERSION_TOO_LOW",
    "TLS",
    (at) => `${name(at)} speaks only versions of TLS before 1.2, which are not safe. Update the server.`,
  ),
  lasting(
    "ERR_SSL_WRONG_VERSION_NUMBER ERR_SSL_PACKET_LENGTH_TOO_LONG ERR_SSL_HTTP_REQUEST",
    "TLS",
    (at) =>
      `${host(at)} does not speak TLS. The port in AI_SERVER_URL may be the model server's own instead of Caddy's.`,
    "AI_SERVER_URL",
  ),
];

const BY_CODE: ReadonlyMap<string, Row> = new Map(
  ROWS.flatMap((row) => row.codes.split(" ").map((code) => [code, row] as const)),
);

/** Node's own codes and those of OpenSSL's libraries: whatever has one did not fail for the network's sake. */
function isTls(code: string): boolean {
  return /^(ERR_SSL_|ERR_TLS_|ERR_OSSL_|ERR_CRYPTO_|ALERT_|EPROTO$)/.test(code);
}

function otherFault(code: string): Row {
  return isTls(code)
    ? lasting(
        code,
        "TLS",
        (at) =>
          `The connection to ${host(at)} could not be secured (${code}). Check the certificates on both sides, the tls block of the Caddyfile and what answers at this port.`,
      )
    : passing(
        code,
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
  const { code: given, reason } = codeAndReason(error);
  const code = given
    // OpenSSL renames the family of an alert from version to version: SSLV3, TLSV1, TLSV13, SSL/TLS.
    .replace(/^ERR_SSL_[A-Z0-9/]+_ALERT_/, "ALERT_")
    // Brotli's and zstd's many names for data that cannot be unpacked.
    .replace(/^(?:ERR__|ZSTD_error).*/, "Z_DATA_ERROR");
  const row = BY_CODE.get(code);
  const certificate = row ? undefined : certificateFault(code, reason, address, name(address), error);
  if (certificate !== undefined) return certificate;
  const { link, remedy, what, rest, variable } = row ?? otherFault(code);
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
