/** The fault table's rows about the way to the server. */

import { lostConnection } from "../support/turns.ts";
import { answered, coded, type FaultRow } from "./rows.ts";

/** Faults of certificates, TLS and network (what is known before connecting, then from the wire). */
export const WAY: FaultRow[] = [
  {
    fault: "no client certificate",
    provoke: (place) => place.certificates({ "client.pem": undefined }),
    says: "The client certificate is missing: there is no file DIR/client.pem. Put it there, or point to it with /login ai-server or AI_SERVER_CLIENT_CERT.",
    pi: "none",
  },
  {
    fault: "no client key",
    provoke: (place) => place.certificates({ "client-key.pem": undefined }),
    says: "The client key is missing: there is no file DIR/client-key.pem. Put it there, or point to it with /login ai-server or AI_SERVER_CLIENT_KEY.",
    pi: "none",
  },
  {
    fault: "no CA",
    provoke: (place) => place.certificates({ "root-ca.pem": undefined }),
    says: "The CA is missing: there is no file DIR/root-ca.pem. Put it there, or point to it with /login ai-server or AI_SERVER_CA.",
    pi: "none",
  },
  {
    fault: "a file in a folder that says timeout 500",
    provoke: (place) => place.certificates({}, { AI_SERVER_CLIENT_CERT: "timeout-500/client.pem" }),
    says: "The client certificate is missing: there is no file DIR/timeout-500/client.pem. Put it there, or point to it with /login ai-server or AI_SERVER_CLIENT_CERT.",
    pi: "none",
  },
  {
    fault: "a folder in the place of a file",
    provoke: (place) => place.certificates({}, { AI_SERVER_CLIENT_CERT: "." }),
    says: "The client certificate cannot be read: DIR is a folder. Name the file in AI_SERVER_CLIENT_CERT.",
    pi: "none",
  },
  {
    fault: "a file that cannot be read",
    provoke: (place) => place.certificates({}, { AI_SERVER_CLIENT_CERT: "loop.pem" }),
    says: "The client certificate cannot be read: DIR/loop.pem (ELOOP). Check the file's owner and mode.",
    pi: "none",
  },
  {
    fault: "a certificate that is not PEM",
    provoke: (place) => place.certificates({ "client.pem": "DER" }),
    says: "The client certificate DIR/client.pem is not a PEM certificate: convert it, for example with: openssl pkcs12 -in FILE.p12 -nodes, or openssl x509 -inform DER -in FILE.der.",
    pi: "none",
  },
  {
    fault: "key and certificate swapped",
    provoke: (place) => place.certificates({ "client.pem": place.read("client-key.pem") }),
    says: "The client certificate DIR/client.pem is not a PEM certificate: it contains a private key; the two files may be swapped.",
    pi: "none",
  },
  {
    fault: "a damaged certificate",
    provoke: (place) =>
      place.certificates({ "client.pem": place.read("client.pem").replace(/\n.{20}/, "\n") }),
    says: "The client certificate DIR/client.pem is damaged: its PEM text cannot be decoded. Copy the file again.",
    pi: "none",
  },
  {
    fault: "a key that is not PEM",
    provoke: (place) => place.certificates({ "client-key.pem": "DER" }),
    says: "The client key DIR/client-key.pem is not a PEM private key. Its first line must say BEGIN PRIVATE KEY, or BEGIN EC or RSA PRIVATE KEY.",
    pi: "none",
  },
  {
    fault: "a key of another certificate",
    provoke: (place) => place.certificates({ "client-key.pem": place.read("stranger-key.pem") }),
    says: "The client key DIR/client-key.pem does not belong to the client certificate DIR/client.pem. Use the pair that was made together, or make a new one with /ai-server-devices enrol.",
    pi: "none",
  },
  {
    fault: "an encrypted key without passphrase",
    provoke: (place) => place.certificates({ "client-key.pem": place.encryptedKey }),
    says: "The client key DIR/client-key.pem is encrypted and no passphrase is set. Set AI_SERVER_CLIENT_KEY_PASSPHRASE, or enter it in /login ai-server.",
    pi: "none",
  },
  {
    fault: "a wrong passphrase",
    provoke: (place) =>
      place.certificates(
        { "client-key.pem": place.encryptedKey },
        { AI_SERVER_CLIENT_KEY_PASSPHRASE: "wrong" },
      ),
    says: "The passphrase does not open the client key DIR/client-key.pem. Correct AI_SERVER_CLIENT_KEY_PASSPHRASE, or enter it again in /login ai-server.",
    pi: "none",
  },
  {
    fault: "an expired client certificate",
    provoke: (place) => place.certificates({ "client.pem": place.old.cert, "client-key.pem": place.old.key }),
    says: "The client certificate DIR/client.pem expired on 2020-02-01 (valid from 2020-01-01). Renew it with /ai-server-devices enrol, or issue a new one with the same CA and put it there.",
    pi: "none",
  },
  {
    fault: "a client certificate of tomorrow",
    provoke: (place) =>
      place.certificates({ "client.pem": place.future.cert, "client-key.pem": place.future.key }),
    says: "The client certificate DIR/client.pem is valid only from 2099-01-01 (until 2099-02-01), and this machine's clock says TODAY. Check the clock.",
    pi: "none",
  },
  {
    fault: "a server of another CA",
    provoke: (place) => place.certificates({ "root-ca.pem": place.read("other-ca.pem") }),
    says: "The certificate of 127.0.0.1 is not signed by the CA in DIR/root-ca.pem. Get the server's current CA file, or set AI_SERVER_CA=system if its certificate is a public one.",
    pi: "none",
  },
  {
    fault: "a server that no public authority knows",
    provoke: (place) => place.certificates({}, { AI_SERVER_CA: "system" }),
    says: "The certificate of 127.0.0.1 is not signed by a public authority. If the server has a CA of its own, put its file at root-ca.pem and unset AI_SERVER_CA.",
    pi: "none",
  },
  {
    fault: "an expired server certificate",
    provoke: (place) => place.served({ notBefore: new Date("2020-01-01"), notAfter: new Date("2020-02-01") }),
    says: "The server certificate of 127.0.0.1 has expired. Renew it on the Caddy host and reload Caddy.",
    pi: "none",
  },
  {
    fault: "a server certificate of tomorrow",
    provoke: (place) => place.served({ notBefore: new Date("2099-01-01"), notAfter: new Date("2099-02-01") }),
    says: "The server certificate of 127.0.0.1 is not valid yet. Check the clocks of this machine and of the Caddy host.",
    pi: "none",
  },
  {
    fault: "a server certificate for another name",
    provoke: (place) => place.served({ names: ["elsewhere.example"] }),
    says: "The server certificate is not for 127.0.0.1. Use the name that it was issued for in AI_SERVER_URL, or issue it with this name (subjectAltName).",
    pi: "none",
  },
  {
    fault: "a port that speaks no TLS",
    provoke: (place) => place.certificates({}, { AI_SERVER_URL: place.plainUrl }),
    says: "127.0.0.1:PORT does not speak TLS. The port in AI_SERVER_URL may be the model server's own instead of Caddy's.",
    pi: "none",
  },
  {
    fault: "a name that does not exist",
    provoke: (place) => place.certificates({}, { AI_SERVER_URL: "https://nowhere.invalid" }),
    says: "The name nowhere.invalid does not exist in DNS. Check AI_SERVER_URL, and this machine's network.",
    pi: "none",
  },
  {
    fault: "a port where nothing listens",
    provoke: async (place) => place.certificates({}, { AI_SERVER_URL: await place.deadUrl() }),
    says: "127.0.0.1:PORT refuses connections (connection refused). Caddy may be stopped, or the port in AI_SERVER_URL is wrong.",
    pi: "retry",
  },
  {
    fault: "a machine that takes connections and says nothing",
    provoke: (place) =>
      place.certificates({}, { AI_SERVER_URL: place.silentUrl, AI_SERVER_CONNECT_TIMEOUT_MS: "300" }),
    says: "127.0.0.1:PORT accepts connections, but did not answer the TLS handshake within 0.3 s (connection timed out). Another program may listen at this port, or Caddy is stuck.",
    pi: "retry",
  },
  {
    fault: "a wrong URL",
    provoke: (place) => place.certificates({}, { AI_SERVER_URL: "http://timeout.example" }),
    says: 'AI_SERVER_URL is "http://timeout.example": it must begin with https: (http: is only for addresses of this machine).',
    pi: "none",
  },
  coded(
    "ERR_SSL_TLSV13_ALERT_CERTIFICATE_REQUIRED",
    "The server demands a client certificate and did not get one. Check that DIR/client.pem is the client's and not the server's.",
    "none",
  ),
  coded(
    "ERR_SSL_TLSV1_ALERT_UNKNOWN_CA",
    "The server refused the client certificate DIR/client.pem. It may have been revoked, come from another CA than the one Caddy trusts, or lack the client-auth usage.",
    "none",
  ),
  coded(
    "ERR_SSL_SSLV3_ALERT_BAD_CERTIFICATE",
    "The server refused the client certificate DIR/client.pem. It may have been revoked, come from another CA than the one Caddy trusts, or lack the client-auth usage.",
    "none",
  ),
  coded(
    "ERR_SSL_SSLV3_ALERT_CERTIFICATE_EXPIRED",
    "The server says that the client certificate DIR/client.pem has expired. Compare the clocks, or issue a new one.",
    "none",
  ),
  coded(
    "ERR_SSL_TLSV1_ALERT_INTERNAL_ERROR",
    "Caddy has no certificate for 127.0.0.1. Check the site's name in the Caddyfile and AI_SERVER_URL.",
    "none",
  ),
  coded(
    "ERR_SSL_TLSV1_ALERT_PROTOCOL_VERSION",
    "127.0.0.1 speaks only versions of TLS before 1.2, which are not safe. Update the server.",
    "none",
  ),
  coded(
    "ERR_SSL_BAD_RECORD_TYPE",
    "The connection to 127.0.0.1:PORT could not be secured (ERR_SSL_BAD_RECORD_TYPE). Check the certificates on both sides, the tls block of the Caddyfile and what answers at this port.",
    "none",
  ),
  coded(
    "EAI_AGAIN",
    "The name 127.0.0.1 could not be looked up (network error: DNS does not answer). Check this machine's network.",
    "retry",
  ),
  coded(
    "ENETUNREACH",
    "127.0.0.1:PORT is unreachable (network error). Check this machine's network or VPN.",
    "retry",
  ),
  coded(
    "ETIMEDOUT",
    "127.0.0.1:PORT does not answer (connection timed out). The machine may be off, or a firewall drops the packets.",
    "retry",
  ),
  coded("ESOMETHING", "The connection to 127.0.0.1:PORT failed (connection error, ESOMETHING).", "retry"),
  answered(
    "a connection lost twice before the answer",
    [{ fault: lostConnection() }, { fault: lostConnection() }],
    "127.0.0.1:PORT closed the connection before it answered (connection error). Caddy or the network ended it.",
    "retry",
  ),
];
