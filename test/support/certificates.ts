// The certificate library registers its parts through decorator metadata, so this import comes before it.
import "reflect-metadata";
import { KeyObject, webcrypto } from "node:crypto";
import { type Extension, X509CertificateGenerator } from "@peculiar/x509";
import { issue, makeAuthority, writePemFiles } from "../../sim/certificates.ts";

const HOUR_MS = 3_600_000;

/**
 * Writes a root CA, a server pair for this machine and a client pair, named as a user has them, and beside them
 * what must not work: `expired` is of the same CA and ended an hour ago, `stranger` and `other-ca` of another.
 *
 * A process makes them once: hundreds of tests want a set, and none of them needs keys of its own.
 */
export async function writeCertificates(folder: string): Promise<void> {
  made ??= makeCertificates();
  writePemFiles(folder, await made);
}

let made: ReturnType<typeof makeCertificates> | undefined;

async function makeCertificates(): Promise<Record<string, string>> {
  const [ours, theirs] = await Promise.all([makeAuthority("Test CA"), makeAuthority("Another CA")]);
  const [server, client, expired, stranger] = await Promise.all([
    issue(ours, { commonName: "localhost", names: ["localhost", "127.0.0.1", "::1"], usage: "server" }),
    issue(ours, { commonName: "client", usage: "client" }),
    issue(ours, {
      commonName: "expired client",
      usage: "client",
      notBefore: new Date(Date.now() - 20 * HOUR_MS),
      notAfter: new Date(Date.now() - HOUR_MS),
    }),
    issue(theirs, { commonName: "stranger", usage: "client" }),
  ]);
  const pairs = Object.entries({ server, client, expired, stranger });
  return {
    "root-ca.pem": ours.cert,
    "other-ca.pem": theirs.cert,
    ...Object.fromEntries(pairs.map(([name, { cert }]) => [`${name}.pem`, cert])),
    ...Object.fromEntries(pairs.map(([name, { key }]) => [`${name}-key.pem`, key])),
  };
}

/** A key pair, and how certificates are signed with it. */
export interface Signer {
  readonly name: string;
  readonly keys: webcrypto.CryptoKeyPair;
  readonly algorithm: KeyKind;
}

type KeyKind = typeof EC | typeof RSA_1024 | typeof RSA_SHA1;

const EC = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" } as const;

/** Keys and signatures as no certificate of today has them any more. */
export const RSA_1024 = {
  name: "RSASSA-PKCS1-v1_5",
  modulusLength: 1024,
  publicExponent: new Uint8Array([1, 0, 1]),
  hash: "SHA-256",
} as const;
export const RSA_SHA1 = { ...RSA_1024, modulusLength: 2048, hash: "SHA-1" } as const;

/** @param algorithm of the keys, and of what is signed with them */
export async function signer(name: string, algorithm: KeyKind = EC): Promise<Signer> {
  return { name, algorithm, keys: await webcrypto.subtle.generateKey(algorithm, true, ["sign", "verify"]) };
}

/**
 * A certificate of any kind, also one that no client may accept: valid for a day, with these extensions alone.
 *
 * @param authority signs it; itself where it is its own
 */
export async function certificateOf(
  subject: Signer,
  authority: Signer,
  extensions: Extension[],
): Promise<{ cert: string; key: string }> {
  const made = await X509CertificateGenerator.create({
    serialNumber: Buffer.from(webcrypto.getRandomValues(new Uint8Array(8))).toString("hex"),
    subject: [{ CN: [subject.name] }],
    issuer: [{ CN: [authority.name] }],
    notBefore: new Date(Date.now() - HOUR_MS),
    notAfter: new Date(Date.now() + 24 * HOUR_MS),
    signingAlgorithm: authority.algorithm,
    publicKey: subject.keys.publicKey,
    signingKey: authority.keys.privateKey,
    extensions,
  });
  const key = KeyObject.from(subject.keys.privateKey).export({ type: "pkcs8", format: "pem" }).toString();
  return { cert: `${made.toString("pem")}\n`, key };
}
