// The certificate library registers its parts through decorator metadata, so this import comes before it.
import "reflect-metadata";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { TlsOptions } from "node:tls";
import {
  BasicConstraintsExtension,
  ExtendedKeyUsage,
  ExtendedKeyUsageExtension,
  Extension,
  KeyUsageFlags,
  KeyUsagesExtension,
  SubjectAlternativeNameExtension,
} from "@peculiar/x509";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { loadIdentity } from "../../../server/http/identity.ts";
import { transportFault } from "../../../server/http/transport-faults.ts";
import { issue, makeAuthority, writePemFiles } from "../../../sim/certificates.ts";
import { remedyOf } from "../../../stream/pi-rules.ts";
import { certificateOf, RSA_1024, RSA_SHA1, type Signer, signer } from "../../support/certificates.ts";
import { clientOf, faultOf, firstFault, httpsServer, kept } from "../../support/wire.ts";

interface VerifyCode {
  name: string;
  code: string;
  reason: string;
}

/** Every verify code of OpenSSL 3.5, as Node 24 reports it. */
const VERIFY_CODES: VerifyCode[] = JSON.parse(
  readFileSync(new URL("../../fixtures/openssl-verify-codes.json", import.meta.url), "utf8"),
);

/** What the sentence of each code says. */
const SAYING: readonly (readonly [words: string, codes: string])[] = [
  ["not accepted: unspecified", "UNSPECIFIED"],
  [
    "is not signed by the CA in",
    "UNABLE_TO_GET_ISSUER_CERT DEPTH_ZERO_SELF_SIGNED_CERT SELF_SIGNED_CERT_IN_CHAIN " +
      "UNABLE_TO_GET_ISSUER_CERT_LOCALLY UNABLE_TO_VERIFY_LEAF_SIGNATURE CERT_UNTRUSTED " +
      "SUBJECT_ISSUER_MISMATCH AKID_SKID_MISMATCH AKID_ISSUER_SERIAL_MISMATCH RPK_UNTRUSTED",
  ],
  [
    "has been revoked could not be checked",
    "UNABLE_TO_GET_CRL UNABLE_TO_DECRYPT_CRL_SIGNATURE CRL_SIGNATURE_FAILURE CRL_NOT_YET_VALID " +
      "CRL_HAS_EXPIRED ERROR_IN_CRL_LAST_UPDATE_FIELD ERROR_IN_CRL_NEXT_UPDATE_FIELD " +
      "UNABLE_TO_GET_CRL_ISSUER KEYUSAGE_NO_CRL_SIGN UNHANDLED_CRITICAL_CRL_EXTENSION " +
      "DIFFERENT_CRL_SCOPE CRL_PATH_VALIDATION_ERROR OCSP_VERIFY_NEEDED OCSP_VERIFY_FAILED " +
      "OCSP_CERT_UNKNOWN",
  ],
  ["The signature of the certificate", "UNABLE_TO_DECRYPT_CERT_SIGNATURE CERT_SIGNATURE_FAILURE"],
  [
    "a kind that this machine cannot check",
    "UNABLE_TO_DECODE_ISSUER_PUBLIC_KEY NO_ISSUER_PUBLIC_KEY UNSUPPORTED_SIGNATURE_ALGORITHM " +
      "SIGNATURE_ALGORITHM_MISMATCH SIGNATURE_ALGORITHM_INCONSISTENCY EC_KEY_EXPLICIT_PARAMS",
  ],
  ["is not valid yet", "CERT_NOT_YET_VALID"],
  ["has expired", "CERT_HAS_EXPIRED"],
  [
    "is malformed",
    "ERROR_IN_CERT_NOT_BEFORE_FIELD ERROR_IN_CERT_NOT_AFTER_FIELD UNHANDLED_CRITICAL_EXTENSION " +
      "INVALID_EXTENSION UNSUPPORTED_EXTENSION_FEATURE PATHLEN_INVALID_FOR_NON_CA " +
      "PATHLEN_WITHOUT_KU_KEY_CERT_SIGN KU_KEY_CERT_SIGN_INVALID_FOR_NON_CA ISSUER_NAME_EMPTY " +
      "SUBJECT_NAME_EMPTY MISSING_AUTHORITY_KEY_IDENTIFIER MISSING_SUBJECT_KEY_IDENTIFIER " +
      "EMPTY_SUBJECT_ALT_NAME EMPTY_SUBJECT_SAN_NOT_CRITICAL CA_BCONS_NOT_CRITICAL " +
      "AUTHORITY_KEY_IDENTIFIER_CRITICAL SUBJECT_KEY_IDENTIFIER_CRITICAL EXTENSIONS_REQUIRE_VERSION_3",
  ],
  ["could not be checked on this machine", "OUT_OF_MEM APPLICATION_VERIFICATION INVALID_CALL STORE_LOOKUP"],
  [
    "There are more certificates",
    "CERT_CHAIN_TOO_LONG PATH_LENGTH_EXCEEDED PROXY_PATH_LENGTH_EXCEEDED " +
      "PROXY_CERTIFICATES_NOT_ALLOWED PATH_LOOP PROXY_SUBJECT_NAME_VIOLATION",
  ],
  ["has been revoked or rejected", "CERT_REVOKED CERT_REJECTED"],
  ["may not be used for a server", "INVALID_PURPOSE INVALID_NON_CA KEYUSAGE_NO_DIGITAL_SIGNATURE"],
  ["may not sign certificates", "KEYUSAGE_NO_CERTSIGN INVALID_CA CA_CERT_MISSING_KEY_USAGE"],
  [
    "does not meet a certificate policy",
    "INVALID_POLICY_EXTENSION NO_EXPLICIT_POLICY SUITE_B_INVALID_VERSION SUITE_B_INVALID_ALGORITHM " +
      "SUITE_B_INVALID_CURVE SUITE_B_INVALID_SIGNATURE_ALGORITHM SUITE_B_LOS_NOT_ALLOWED " +
      "SUITE_B_CANNOT_SIGN_P_384_WITH_P_256",
  ],
  [
    "may not sign for this name",
    "UNNESTED_RESOURCE PERMITTED_VIOLATION EXCLUDED_VIOLATION SUBTREE_MINMAX " +
      "UNSUPPORTED_CONSTRAINT_TYPE UNSUPPORTED_CONSTRAINT_SYNTAX UNSUPPORTED_NAME_SYNTAX",
  ],
  ["is not for ai.example", "HOSTNAME_MISMATCH EMAIL_MISMATCH IP_ADDRESS_MISMATCH"],
  ["lacks a proof", "DANE_NO_MATCH NO_VALID_SCTS"],
  ["The key in the server certificate", "EE_KEY_TOO_SMALL"],
  ["The key of the CA", "CA_KEY_TOO_SMALL"],
  ["a digest that is too weak", "CA_MD_TOO_WEAK"],
];
const SAYS = new Map(SAYING.flatMap(([words, codes]) => codes.split(" ").map((code) => [code, words])));

const AT = clientOf("https://ai.example:8443", "/certs");
const coded = (code: string, message: string): Error => Object.assign(new Error(message), { code });

describe("a verify code of OpenSSL", () => {
  test.each(VERIFY_CODES)(
    "$name is a fault of TLS with its sentence, and is not tried again",
    ({ name, code, reason }) => {
      const fault = transportFault(new TypeError("fetch failed", { cause: coded(code, reason) }), AT);
      expect(fault).toMatchObject({ link: "TLS", remedy: "none" });
      expect(fault.message).toContain(SAYS.get(name));
      expect(fault.message).toMatch(/ai\.example/);
      expect(fault.message).not.toMatch(/connection error|UNSPECIFIED|8443/);
      // What is wrong, and what to do.
      expect(fault.message.split(/\. (?=[A-Z])/).length).toBeGreaterThan(1);
      expect(remedyOf(fault.message)).toBe("none");
    },
  );

  test("that Node comes to name later has the same sentence", () => {
    for (const { name, code, reason } of VERIFY_CODES) {
      const now = transportFault(coded(code, reason), AT).message;
      expect(transportFault(coded(name, reason), AT).message).toBe(now);
    }
  });

  test("of a later OpenSSL is quoted", () => {
    expect(transportFault(coded("UNSPECIFIED", "stars are not aligned"), AT)).toMatchObject({
      link: "TLS",
      remedy: "none",
      message:
        "The certificate of ai.example is not accepted: stars are not aligned. Issue it as docs/certificates.md shows, and reload Caddy.",
    });
  });
});

let folder = "";
let root: Signer;
const sanExtension = new SubjectAlternativeNameExtension([{ type: "ip", value: "127.0.0.1" }]);
const forServers = new ExtendedKeyUsageExtension([ExtendedKeyUsage.serverAuth]);
const isAuthority = (pathLength?: number): BasicConstraintsExtension =>
  new BasicConstraintsExtension(true, pathLength, true);
const signs = new KeyUsagesExtension(KeyUsageFlags.keyCertSign, true);

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "certificate-faults-test-"));
  root = await signer("Root");
  const [{ cert }, clients] = await Promise.all([
    certificateOf(root, root, [isAuthority(), signs]),
    makeAuthority("Clients"),
  ]);
  const client = await issue(clients, { commonName: "client", usage: "client" });
  writePemFiles(folder, { "root-ca.pem": cert, "client.pem": client.cert, "client-key.pem": client.key });
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const faultWith = async (
  pair: { cert: string; key: string },
  options: TlsOptions = {},
): Promise<string[]> => {
  const { url } = await kept(httpsServer({ ...options, ...pair }, (_, response) => response.end("{}")));
  return firstFault(url, folder, {}, 10_000);
};

const chainOf = async (...extensions: Extension[][]): Promise<{ cert: string; key: string }> => {
  let authority = root;
  let chain = "";
  for (const [at, own] of extensions.entries()) {
    const next = await signer(`CA ${at}`);
    chain = (await certificateOf(next, authority, own)).cert + chain;
    authority = next;
  }
  const leaf = await certificateOf(await signer("leaf"), authority, [sanExtension, forServers]);
  return { ...leaf, cert: leaf.cert + chain };
};

const PURPOSE =
  "The certificate that 127.0.0.1 shows may not be used for a server: it is for another purpose, such as a client's with clientAuth alone, or the certificate that signed it is not a CA's. Issue the server's with extendedKeyUsage=serverAuth and reload Caddy.";

describe("a server shows a certificate", () => {
  test.each([
    ["for clients alone", [new ExtendedKeyUsageExtension([ExtendedKeyUsage.clientAuth])]],
    ["for mail", [new ExtendedKeyUsageExtension([ExtendedKeyUsage.emailProtection])]],
    ["that may only sign revocation lists", [new KeyUsagesExtension(KeyUsageFlags.cRLSign, true)]],
  ])("%s", async (_, extensions) => {
    const leaf = await certificateOf(await signer("leaf"), root, [sanExtension, ...extensions]);
    expect(await faultWith(leaf)).toEqual(["TLS", "none", PURPOSE]);
  });

  test("whose key is RSA with 1024 bits", async () => {
    const leaf = await certificateOf(await signer("leaf", RSA_1024), root, [sanExtension, forServers]);
    expect(await faultWith(leaf, { ciphers: "DEFAULT@SECLEVEL=0" })).toEqual([
      "TLS",
      "none",
      "The key in the server certificate of 127.0.0.1 is too short to be safe, such as RSA with 1024 bits. Make a new key of EC P-256, or RSA with 2048 bits or more, issue the certificate for it and reload Caddy.",
    ]);
  });

  test("that is signed with SHA-1", async () => {
    const weak = await signer("Weak root", RSA_SHA1);
    const { cert } = await certificateOf(weak, weak, [isAuthority(), signs]);
    writePemFiles(folder, { "weak-ca.pem": cert });
    const leaf = await certificateOf(await signer("leaf"), weak, [sanExtension, forServers]);
    const { url } = await kept(
      httpsServer({ ...leaf, ciphers: "DEFAULT@SECLEVEL=0" }, (_, response) => response.end("{}")),
    );
    expect(await firstFault(url, folder, { AI_SERVER_CA: "weak-ca.pem" }, 10_000)).toEqual([
      "TLS",
      "none",
      "The certificate of 127.0.0.1 is signed with a digest that is too weak to be safe, such as SHA-1 or MD5. Sign it again with SHA-256 (openssl x509 -req -sha256 …) and reload Caddy.",
    ]);
  });

  test("with more CAs above it than the first one allows", async () => {
    const pair = await chainOf([isAuthority(0), signs], [isAuthority(), signs]);
    expect((await faultWith(pair))[2]).toMatch(/^There are more certificates between that of 127\.0\.0\.1/);
  });

  test("of a CA that may not sign", async () => {
    const usage = new KeyUsagesExtension(KeyUsageFlags.digitalSignature, true);
    expect((await faultWith(await chainOf([isAuthority(), usage])))[2]).toMatch(
      /^The certificate that signed that of 127\.0\.0\.1 may not sign certificates/,
    );
  });

  test("that another server's certificate has signed", async () => {
    expect(await faultWith(await chainOf([forServers]))).toEqual(["TLS", "none", PURPOSE]);
  });

  test("with a critical extension that no client knows", async () => {
    const unknown = new Extension("1.2.3.4", true, new Uint8Array([5, 0]));
    const leaf = await certificateOf(await signer("leaf"), root, [sanExtension, forServers, unknown]);
    expect((await faultWith(leaf))[2]).toMatch(/^The certificate of 127\.0\.0\.1, or its CA's, is malformed/);
  });

  test("whose signature does not match", async () => {
    const liar = { ...(await signer("Root")), name: "Root" };
    const leaf = await certificateOf(await signer("leaf"), liar, [sanExtension, forServers]);
    expect((await faultWith(leaf))[2]).toMatch(
      /^The signature of the certificate of 127\.0\.0\.1 does not match/,
    );
  });
});

describe("a server takes only", () => {
  test.each([["aNULL"], ["eNULL"], ["aNULL:eNULL"], ["ADH-AES256-GCM-SHA384"], ["NULL-SHA256"], ["PSK"]])(
    "the ciphers %s",
    async (ciphers) => {
      const leaf = await certificateOf(await signer("leaf"), root, [sanExtension, forServers]);
      const options = { ciphers: `${ciphers}:@SECLEVEL=0`, maxVersion: "TLSv1.2" } as const;
      const [link, remedy, sentence] = await faultWith(leaf, options);
      expect([link, remedy]).toEqual(["TLS", "none"]);
      expect(sentence).toMatch(/^127\.0\.0\.1 ended the handshake: it shares no cipher, key or signature/);
    },
  );

  test("TLS 1.1", async () => {
    const leaf = await certificateOf(await signer("leaf"), root, [sanExtension, forServers]);
    const options = { minVersion: "TLSv1", maxVersion: "TLSv1.1", ciphers: "DEFAULT@SECLEVEL=0" } as const;
    expect((await faultWith(leaf, options))[2]).toMatch(
      /^127\.0\.0\.1 speaks only versions of TLS before 1\.2/,
    );
  });
});

describe("a fault of the handshake", () => {
  test.each([
    "ERR_SSL_WRONG_CIPHER_RETURNED",
    "ERR_SSL_DH_KEY_TOO_SMALL",
    "ERR_SSL_WRONG_SIGNATURE_TYPE",
    "ERR_SSL_UNSAFE_LEGACY_RENEGOTIATION_DISABLED",
    "ERR_SSL_UNEXPECTED_MESSAGE",
    "ERR_OSSL_EVP_UNSUPPORTED",
    "ERR_CRYPTO_OPERATION_FAILED",
    "EPROTO",
  ])("%s is no fault of the network", (code) => {
    const fault = transportFault(coded(code, "it failed"), AT);
    expect(fault).toMatchObject({ link: "TLS", remedy: "none" });
    expect(remedyOf(fault.message)).toBe("none");
    expect(fault.message.split(/\. (?=[A-Z])/).length).toBeGreaterThan(1);
  });

  test("is read from the words of a write that met the server's alert", () => {
    const said =
      "write EPROTO 80AC46:error:0A00045C:SSL routines:ssl3_read_bytes:tlsv13 alert certificate required:rec_layer_s3.c:916:";
    expect(transportFault(coded("EPROTO", said), AT).message).toMatch(
      /^The server demands a client certificate/,
    );
  });
});

describe("a client certificate of one's own", () => {
  test("whose key is RSA with 1024 bits is reported before any connection", async () => {
    const pair = await certificateOf(await signer("client", RSA_1024), root, [
      new ExtendedKeyUsageExtension([ExtendedKeyUsage.clientAuth]),
    ]);
    writePemFiles(folder, { "weak.pem": pair.cert, "weak-key.pem": pair.key });
    const files = clientOf("https://ai.example", folder, {
      AI_SERVER_CLIENT_CERT: "weak.pem",
      AI_SERVER_CLIENT_KEY: "weak-key.pem",
    });
    expect(await faultOf(loadIdentity(files, Date.now()))).toMatchObject({
      link: "certificates",
      remedy: "none",
      message: `The client certificate ${folder}/weak.pem cannot be used: its key is too short to be safe. Make a new key of EC P-256, or RSA with 2048 bits, and issue the certificate again.`,
    });
  });
});
