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

/** The verify codes without `X509_V_ERR_`, by their sentence. */
const BY_SENTENCE: readonly (readonly [Sentence, string])[] = [
  [
    untrusted,
    "UNABLE_TO_GET_ISSUER_CERT UNABLE_TO_GET_ISSUER_CERT_LOCALLY UNABLE_TO_VERIFY_LEAF_SIGNATURE " +
      "DEPTH_ZERO_SELF_SIGNED_CERT SELF_SIGNED_CERT_IN_CHAIN CERT_UNTRUSTED SUBJECT_ISSUER_MISMATCH " +
      "AKID_SKID_MISMATCH AKID_ISSUER_SERIAL_MISMATCH RPK_UNTRUSTED",
  ],
  [expired, "CERT_HAS_EXPIRED"],
  [notYetValid, "CERT_NOT_YET_VALID"],
  [otherName, "HOSTNAME_MISMATCH IP_ADDRESS_MISMATCH EMAIL_MISMATCH"],
  [purpose, "INVALID_PURPOSE KEYUSAGE_NO_DIGITAL_SIGNATURE INVALID_NON_CA"],
  [weakKey, "EE_KEY_TOO_SMALL"],
  [weakAuthority, "CA_KEY_TOO_SMALL"],
  [weakDigest, "CA_MD_TOO_WEAK"],
  [signature, "CERT_SIGNATURE_FAILURE UNABLE_TO_DECRYPT_CERT_SIGNATURE"],
  [
    algorithm,
    "UNABLE_TO_DECODE_ISSUER_PUBLIC_KEY NO_ISSUER_PUBLIC_KEY UNSUPPORTED_SIGNATURE_ALGORITHM " +
      "SIGNATURE_ALGORITHM_MISMATCH SIGNATURE_ALGORITHM_INCONSISTENCY EC_KEY_EXPLICIT_PARAMS",
  ],
  [notAnAuthority, "INVALID_CA KEYUSAGE_NO_CERTSIGN CA_CERT_MISSING_KEY_USAGE"],
  [
    chain,
    "CERT_CHAIN_TOO_LONG PATH_LENGTH_EXCEEDED PATH_LOOP PROXY_PATH_LENGTH_EXCEEDED PROXY_CERTIFICATES_NOT_ALLOWED " +
      "PROXY_SUBJECT_NAME_VIOLATION",
  ],
  [
    constraints,
    "PERMITTED_VIOLATION EXCLUDED_VIOLATION SUBTREE_MINMAX UNSUPPORTED_CONSTRAINT_TYPE " +
      "UNSUPPORTED_CONSTRAINT_SYNTAX UNSUPPORTED_NAME_SYNTAX UNNESTED_RESOURCE",
  ],
  [
    malformed,
    "ERROR_IN_CERT_NOT_BEFORE_FIELD ERROR_IN_CERT_NOT_AFTER_FIELD UNHANDLED_CRITICAL_EXTENSION INVALID_EXTENSION " +
      "UNSUPPORTED_EXTENSION_FEATURE PATHLEN_INVALID_FOR_NON_CA PATHLEN_WITHOUT_KU_KEY_CERT_SIGN " +
      "KU_KEY_CERT_SIGN_INVALID_FOR_NON_CA ISSUER_NAME_EMPTY SUBJECT_NAME_EMPTY MISSING_AUTHORITY_KEY_IDENTIFIER " +
      "MISSING_SUBJECT_KEY_IDENTIFIER EMPTY_SUBJECT_ALT_NAME EMPTY_SUBJECT_SAN_NOT_CRITICAL CA_BCONS_NOT_CRITICAL " +
      "AUTHORITY_KEY_IDENTIFIER_CRITICAL SUBJECT_KEY_IDENTIFIER_CRITICAL EXTENSIONS_REQUIRE_VERSION_3",
  ],
  [
    policy,
    "INVALID_POLICY_EXTENSION NO_EXPLICIT_POLICY SUITE_B_INVALID_VERSION SUITE_B_INVALID_ALGORITHM " +
      "SUITE_B_INVALID_CURVE SUITE_B_INVALID_SIGNATURE_ALGORITHM SUITE_B_LOS_NOT_ALLOWED " +
      "SUITE_B_CANNOT_SIGN_P_384_WITH_P_256",
  ],
  [revoked, "CERT_REVOKED CERT_REJECTED"],
  [
    revocationList,
    "UNABLE_TO_GET_CRL UNABLE_TO_DECRYPT_CRL_SIGNATURE CRL_SIGNATURE_FAILURE CRL_NOT_YET_VALID CRL_HAS_EXPIRED " +
      "ERROR_IN_CRL_LAST_UPDATE_FIELD ERROR_IN_CRL_NEXT_UPDATE_FIELD UNABLE_TO_GET_CRL_ISSUER KEYUSAGE_NO_CRL_SIGN " +
      "UNHANDLED_CRITICAL_CRL_EXTENSION DIFFERENT_CRL_SCOPE CRL_PATH_VALIDATION_ERROR OCSP_VERIFY_NEEDED " +
      "OCSP_VERIFY_FAILED OCSP_CERT_UNKNOWN OCSP_RESP_INVALID OCSP_SIGNATURE_FAILURE OCSP_NOT_YET_VALID " +
      "OCSP_HAS_EXPIRED OCSP_NO_RESPONSE CRL_VERIFY_FAILED",
  ],
  [publicProof, "DANE_NO_MATCH NO_VALID_SCTS"],
  [notChecked, "UNSPECIFIED OUT_OF_MEM APPLICATION_VERIFICATION INVALID_CALL STORE_LOOKUP"],
];

const SENTENCES: ReadonlyMap<string, Sentence> = new Map(
  BY_SENTENCE.flatMap(([sentence, codes]) => codes.split(" ").map((code) => [code, sentence] as const)),
);

/** OpenSSL's reasons for the codes that Node does not name, in lower case. */
const REASONS: ReadonlyMap<string, string> = new Map([
  ["issuer certificate doesn't have a public key", "NO_ISSUER_PUBLIC_KEY"],
  ["subject issuer mismatch", "SUBJECT_ISSUER_MISMATCH"],
  ["authority and subject key identifier mismatch", "AKID_SKID_MISMATCH"],
  ["authority and issuer serial number mismatch", "AKID_ISSUER_SERIAL_MISMATCH"],
  ["key usage does not include certificate signing", "KEYUSAGE_NO_CERTSIGN"],
  ["unable to get crl issuer certificate", "UNABLE_TO_GET_CRL_ISSUER"],
  ["unhandled critical extension", "UNHANDLED_CRITICAL_EXTENSION"],
  ["key usage does not include crl signing", "KEYUSAGE_NO_CRL_SIGN"],
  ["unhandled critical crl extension", "UNHANDLED_CRITICAL_CRL_EXTENSION"],
  ["invalid non-ca certificate (has ca markings)", "INVALID_NON_CA"],
  ["proxy path length constraint exceeded", "PROXY_PATH_LENGTH_EXCEEDED"],
  ["key usage does not include digital signature", "KEYUSAGE_NO_DIGITAL_SIGNATURE"],
  ["proxy certificates not allowed, please set the appropriate flag", "PROXY_CERTIFICATES_NOT_ALLOWED"],
  ["invalid or inconsistent certificate extension", "INVALID_EXTENSION"],
  ["invalid or inconsistent certificate policy extension", "INVALID_POLICY_EXTENSION"],
  ["no explicit policy", "NO_EXPLICIT_POLICY"],
  ["different crl scope", "DIFFERENT_CRL_SCOPE"],
  ["unsupported extension feature", "UNSUPPORTED_EXTENSION_FEATURE"],
  ["rfc 3779 resource not subset of parent's resources", "UNNESTED_RESOURCE"],
  ["permitted subtree violation", "PERMITTED_VIOLATION"],
  ["excluded subtree violation", "EXCLUDED_VIOLATION"],
  ["name constraints minimum and maximum not supported", "SUBTREE_MINMAX"],
  ["application verification failure", "APPLICATION_VERIFICATION"],
  ["unsupported name constraint type", "UNSUPPORTED_CONSTRAINT_TYPE"],
  ["unsupported or invalid name constraint syntax", "UNSUPPORTED_CONSTRAINT_SYNTAX"],
  ["unsupported or invalid name syntax", "UNSUPPORTED_NAME_SYNTAX"],
  ["crl path validation error", "CRL_PATH_VALIDATION_ERROR"],
  ["path loop", "PATH_LOOP"],
  ["suite b: certificate version invalid", "SUITE_B_INVALID_VERSION"],
  ["suite b: invalid public key algorithm", "SUITE_B_INVALID_ALGORITHM"],
  ["suite b: invalid ecc curve", "SUITE_B_INVALID_CURVE"],
  ["suite b: invalid signature algorithm", "SUITE_B_INVALID_SIGNATURE_ALGORITHM"],
  ["suite b: curve not allowed for this los", "SUITE_B_LOS_NOT_ALLOWED"],
  ["suite b: cannot sign p-384 with p-256", "SUITE_B_CANNOT_SIGN_P_384_WITH_P_256"],
  ["email address mismatch", "EMAIL_MISMATCH"],
  ["ip address mismatch", "IP_ADDRESS_MISMATCH"],
  ["no matching dane tlsa records", "DANE_NO_MATCH"],
  ["ee certificate key too weak", "EE_KEY_TOO_SMALL"],
  ["ca certificate key too weak", "CA_KEY_TOO_SMALL"],
  ["ca signature digest algorithm too weak", "CA_MD_TOO_WEAK"],
  ["invalid certificate verification context", "INVALID_CALL"],
  ["issuer certificate lookup error", "STORE_LOOKUP"],
  ["certificate transparency required, but no valid scts found", "NO_VALID_SCTS"],
  ["proxy subject name violation", "PROXY_SUBJECT_NAME_VIOLATION"],
  ["ocsp verification needed", "OCSP_VERIFY_NEEDED"],
  ["ocsp verification failed", "OCSP_VERIFY_FAILED"],
  ["ocsp unknown cert", "OCSP_CERT_UNKNOWN"],
  ["cannot find certificate signature algorithm", "UNSUPPORTED_SIGNATURE_ALGORITHM"],
  ["subject signature algorithm and issuer public key algorithm mismatch", "SIGNATURE_ALGORITHM_MISMATCH"],
  ["cert info signature and signature algorithm mismatch", "SIGNATURE_ALGORITHM_INCONSISTENCY"],
  ["path length invalid for non-ca cert", "PATHLEN_INVALID_FOR_NON_CA"],
  ["path length given without key usage keycertsign", "PATHLEN_WITHOUT_KU_KEY_CERT_SIGN"],
  ["key usage keycertsign invalid for non-ca cert", "KU_KEY_CERT_SIGN_INVALID_FOR_NON_CA"],
  ["issuer name empty", "ISSUER_NAME_EMPTY"],
  ["subject name empty", "SUBJECT_NAME_EMPTY"],
  ["missing authority key identifier", "MISSING_AUTHORITY_KEY_IDENTIFIER"],
  ["missing subject key identifier", "MISSING_SUBJECT_KEY_IDENTIFIER"],
  ["empty subject alternative name extension", "EMPTY_SUBJECT_ALT_NAME"],
  ["subject empty and subject alt name extension not critical", "EMPTY_SUBJECT_SAN_NOT_CRITICAL"],
  ["basic constraints of ca cert not marked critical", "CA_BCONS_NOT_CRITICAL"],
  ["authority key identifier marked critical", "AUTHORITY_KEY_IDENTIFIER_CRITICAL"],
  ["subject key identifier marked critical", "SUBJECT_KEY_IDENTIFIER_CRITICAL"],
  ["ca cert does not include key usage extension", "CA_CERT_MISSING_KEY_USAGE"],
  ["using cert extension requires at least x509v3", "EXTENSIONS_REQUIRE_VERSION_3"],
  ["certificate public key has explicit ecc parameters", "EC_KEY_EXPLICIT_PARAMS"],
  ["raw public key untrusted, no trusted keys configured", "RPK_UNTRUSTED"],
]);

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
  const found = code === "UNSPECIFIED" ? REASONS.get(reason.trim().toLowerCase()) : code;
  const sentence = SENTENCES.get((found ?? code).replace(/^X509_V_ERR_/, ""));
  if (sentence === undefined) return undefined;
  const isOwnWords = code === "UNSPECIFIED" && found === undefined && reason.trim() !== "";
  const message = isOwnWords
    ? `The certificate of ${name} is not accepted: ${cleanText(reason, 200)}. Issue it as docs/certificates.md shows, and reload Caddy.`
    : sentence(address, name);
  const variable = sentence === otherName ? "AI_SERVER_URL" : undefined;
  return new ServerError(message, { link: "TLS", remedy: "none", variable, cause });
}
