/**
 * What OpenSSL finds wrong with a server's certificate, as sentences. Node names only 28 of OpenSSL's verify codes and
 * reports every other as UNSPECIFIED, with OpenSSL's reason as the message. Sources: `X509_V_ERR_…` in OpenSSL's
 * x509_vfy.h, the reasons in its x509_txt.c, and Node's `X509ErrorCode`.
 */
import type { ServerAddress } from "../../config.ts";
import { ServerError } from "../../lib/errors.ts";
import { cleanText } from "../../lib/text.ts";

type Sentence = (address: ServerAddress, name: string) => string;

const REISSUE = "Issue the server's certificate again and reload Caddy.";

const untrusted: Sentence = (at, name) =>
  at.ca === "system"
    ? `The certificate of ${name} is not signed by a public authority. If the server has a CA of its own, put its file at root-ca.pem and unset AI_SERVER_CA.`
    : `The certificate of ${name} is not signed by the CA in ${at.ca}. Get the server's current CA file, or set AI_SERVER_CA=system if its certificate is a public one.`;

const expired: Sentence = (_, name) =>
  `The server certificate of ${name} has expired. Renew it on the Caddy host and reload Caddy.`;

const notYetValid: Sentence = (_, name) =>
  `The server certificate of ${name} is not valid yet. Check the clocks of this machine and of the Caddy host.`;

const otherName: Sentence = (_, name) =>
  `The server certificate is not for ${name}. Use the name that it was issued for in AI_SERVER_URL, or issue it with this name (subjectAltName).`;

const purpose: Sentence = (_, name) =>
  `The certificate that ${name} shows may not be used for a server: it is for another purpose, such as a client's with clientAuth alone, or the certificate that signed it is not a CA's. Issue the server's with extendedKeyUsage=serverAuth and reload Caddy.`;

const weakKey: Sentence = (_, name) =>
  `The key in the server certificate of ${name} is too short to be safe, such as RSA with 1024 bits. Make a new key of EC P-256, or RSA with 2048 bits or more, issue the certificate for it and reload Caddy.`;

const weakAuthority: Sentence = (_, name) =>
  `The key of the CA that signed the certificate of ${name} is too short to be safe, such as RSA with 1024 bits. Make a new CA with EC P-256, or RSA with 2048 bits or more, and issue the certificates again.`;

const weakDigest: Sentence = (_, name) =>
  `The certificate of ${name} is signed with a digest that is too weak to be safe, such as SHA-1 or MD5. Sign it again with SHA-256 (openssl x509 -req -sha256 …) and reload Caddy.`;

const signature: Sentence = (_, name) =>
  `The signature of the certificate of ${name} does not match: the file is damaged, or another CA of the same name signed it. Put the right files on the Caddy host, or get the server's current CA file.`;

const algorithm: Sentence = (_, name) =>
  `The certificate of ${name}, or its CA's, has a key or a signature of a kind that this machine cannot check. Use EC P-256 or RSA, signed with SHA-256. ${REISSUE}`;

const notAnAuthority: Sentence = (_, name) =>
  `The certificate that signed that of ${name} may not sign certificates: a CA has basicConstraints CA:TRUE and keyUsage keyCertSign. Make the CA again and issue the server's certificate with it.`;

const chain: Sentence = (_, name) =>
  `There are more certificates between that of ${name} and its CA than the CA allows, or they form a circle. Sign the server's certificate with the CA itself and reload Caddy.`;

const constraints: Sentence = (_, name) =>
  `The CA that signed the certificate of ${name} may not sign for this name: its name constraints do not allow it, or cannot be read. Use a name that the CA allows, or a CA without nameConstraints.`;

const malformed: Sentence = (_, name) =>
  `The certificate of ${name}, or its CA's, is malformed: a date or an extension in it is not valid, or not known here. ${REISSUE}`;

const policy: Sentence = (_, name) =>
  `The certificate of ${name} does not meet a certificate policy that applies to it. Issue it without policies, from a CA that requires none, and reload Caddy.`;

const revoked: Sentence = (_, name) =>
  `The server certificate of ${name} has been revoked or rejected by its CA. Make a new key, issue a certificate for it and reload Caddy.`;

const revocationList: Sentence = (_, name) =>
  `Whether the certificate of ${name} has been revoked could not be checked: the revocation list, or the answer about it, is missing, too old or damaged. Issue a certificate that needs no such list, or fix the list.`;

const publicProof: Sentence = (_, name) =>
  `The certificate of ${name} lacks a proof that is required in addition to its CA's signature (DANE or Certificate Transparency). Issue one with the CA in root-ca.pem, and reload Caddy.`;

const notChecked: Sentence = (_, name) =>
  `The certificate of ${name} could not be checked on this machine. Check its memory and its OpenSSL settings (OPENSSL_CONF, NODE_OPTIONS), and verify the certificate with openssl verify.`;

/**
 * The sentences by words of OpenSSL's reason, or of the code's name where Node has one: the first that fits. The names of
 * all codes and their reasons are in `test/fixtures/openssl-verify-codes.json`.
 */
const SENTENCES: readonly (readonly [RegExp, Sentence])[] = [
  [/\bcrl|\bocsp/, revocationList],
  [/revoked|rejected/, revoked],
  [/policy|suite b/, policy],
  [/proxy|chain too long|path loop|path length (?:constraint )?exceeded/, chain],
  [/\bdane|\bscts/, publicProof],
  [/^ee .*key too (?:small|weak)/, weakKey],
  [/^ca .*key too (?:small|weak)/, weakAuthority],
  [/(?:md|digest algorithm) too weak/, weakDigest],
  [/subtree|permitted|excluded|name constraint|constraint (?:type|syntax)|name syntax|resource/, constraints],
  [/purpose|digital signature|^invalid non.ca/, purpose],
  [/^invalid ca\b|no certsign|certificate signing|(?:missing|include) key usage/, notAnAuthority],
  [/signature algorithm|issuer public key|have a public key|explicit (?:ecc )?param/, algorithm],
  [/cert(?:ificate)?(?:'s)? signature/, signature],
  [/has expired/, expired],
  [/not yet valid/, notYetValid],
  [/(?:hostname|address|email) mismatch|altname/, otherName],
  [
    /get (?:local )?issuer|unable to verify|self.signed|trusted|issuer mismatch|^a(?:kid|uthority and) .*mismatch/,
    untrusted,
  ],
  [/^unspecified$|out of mem|application verification|invalid call|verification context|lookup/, notChecked],
  [
    /format error|error in cert|extension|path ?len|key ?cert ?sign|empty|identifier|critical|x509v3/,
    malformed,
  ],
];

/** Codes of the connection itself, of its handshake and of the HTTP client. */
const NO_VERIFY_CODE = /^(?:ERR_(?!TLS_CERT_ALTNAME)|ALERT_|UND_ERR_|E[A-Z]+$)/;

/**
 * The sentence for a certificate of the server's that OpenSSL does not accept.
 *
 * @param code of the error, as Node gives it
 * @param reason its message, which is OpenSSL's own words for a verify code
 * @param name of the host
 * @param cause the error itself
 * @returns undefined for an error that is not about a certificate
 */
export function certificateFault(
  code: string,
  reason: string,
  address: ServerAddress,
  name: string,
  cause: unknown,
): ServerError | undefined {
  if (NO_VERIFY_CODE.test(code)) return undefined;
  const isUnnamed = code === "UNSPECIFIED" && reason.trim() !== "";
  const words = isUnnamed ? reason : code.replace(/^X509_V_ERR_/, "").replaceAll("_", " ");
  const sentence = SENTENCES.find(([about]) => about.test(words.trim().toLowerCase()))?.[1];
  if (sentence === undefined && !isUnnamed) return undefined;
  const message =
    sentence?.(address, name) ??
    `The certificate of ${name} is not accepted: ${cleanText(reason, 200)}. Issue it as docs/certificates.md shows, and reload Caddy.`;
  const variable = sentence === otherName ? "AI_SERVER_URL" : undefined;
  return new ServerError(message, { link: "TLS", remedy: "none", variable, cause });
}
