// The certificate library registers its parts through decorator metadata, so this import comes before it.
import "reflect-metadata";
import { KeyObject, webcrypto } from "node:crypto";
import { mkdirSync, writeFileSync } from "node:fs";
import { isIP } from "node:net";
import { join } from "node:path";
import {
  BasicConstraintsExtension,
  ExtendedKeyUsage,
  ExtendedKeyUsageExtension,
  KeyUsageFlags,
  KeyUsagesExtension,
  SubjectAlternativeNameExtension,
  type X509Certificate,
  X509CertificateGenerator,
} from "@peculiar/x509";

const ALGORITHM = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" } as const;
const DAY_MS = 86_400_000;

type KeyPair = webcrypto.CryptoKeyPair;

/** A certificate and the private key that belongs to it, both PEM (the key as PKCS#8). */
export interface Certificate {
  cert: string;
  key: string;
}

/** A throwaway certificate authority that `issue` signs with. */
export interface Authority {
  /** The CA's own certificate, PEM. */
  cert: string;
  issuer: X509Certificate;
  keys: KeyPair;
}

export interface CertificateRequest {
  commonName: string;
  /** Subject alternative names: host names and IP addresses, recognised by their form. */
  names?: string[];
  usage: "server" | "client";
  /** Default: yesterday, and in a year. */
  notBefore?: Date;
  notAfter?: Date;
}

function makeKeys(): Promise<KeyPair> {
  return webcrypto.subtle.generateKey(ALGORITHM, true, ["sign", "verify"]);
}

function serialNumber(): string {
  return Buffer.from(webcrypto.getRandomValues(new Uint8Array(16))).toString("hex");
}

/** Makes a self-signed CA (EC P-256, valid for ten years) with `name` as its common name. */
export async function makeAuthority(name: string): Promise<Authority> {
  const keys = await makeKeys();
  const issuer = await X509CertificateGenerator.createSelfSigned({
    serialNumber: serialNumber(),
    name: [{ CN: [name] }],
    notBefore: new Date(Date.now() - DAY_MS),
    notAfter: new Date(Date.now() + 3650 * DAY_MS),
    signingAlgorithm: ALGORITHM,
    keys,
    extensions: [
      new BasicConstraintsExtension(true, undefined, true),
      new KeyUsagesExtension(KeyUsageFlags.keyCertSign | KeyUsageFlags.cRLSign, true),
    ],
  });
  return { cert: `${issuer.toString("pem")}\n`, issuer, keys };
}

/** Issues a certificate of `authority` for a fresh EC P-256 key. */
export async function issue(authority: Authority, request: CertificateRequest): Promise<Certificate> {
  const keys = await makeKeys();
  const names = (request.names ?? []).map((value) => ({
    type: isIP(value) ? ("ip" as const) : ("dns" as const),
    value,
  }));
  const usage = request.usage === "server" ? ExtendedKeyUsage.serverAuth : ExtendedKeyUsage.clientAuth;
  const cert = await X509CertificateGenerator.create({
    serialNumber: serialNumber(),
    subject: [{ CN: [request.commonName] }],
    issuer: authority.issuer.subject,
    notBefore: request.notBefore ?? new Date(Date.now() - DAY_MS),
    notAfter: request.notAfter ?? new Date(Date.now() + 365 * DAY_MS),
    signingAlgorithm: ALGORITHM,
    publicKey: keys.publicKey,
    signingKey: authority.keys.privateKey,
    extensions: [
      new BasicConstraintsExtension(false, undefined, true),
      new KeyUsagesExtension(KeyUsageFlags.digitalSignature, true),
      new ExtendedKeyUsageExtension([usage]),
      ...(names.length > 0 ? [new SubjectAlternativeNameExtension(names)] : []),
    ],
  });
  return {
    cert: `${cert.toString("pem")}\n`,
    key: KeyObject.from(keys.privateKey).export({ type: "pkcs8", format: "pem" }).toString(),
  };
}

/**
 * Writes PEM files into `dir`, which is made if needed. Names that end in `key.pem` get mode 0600, as the
 * extension demands of a private key.
 */
export function writePemFiles(dir: string, files: Record<string, string>): void {
  mkdirSync(dir, { recursive: true });
  for (const [name, pem] of Object.entries(files)) {
    writeFileSync(join(dir, name), pem, { mode: name.endsWith("key.pem") ? 0o600 : 0o644 });
  }
}

/**
 * Makes a whole set for one server on this machine and one client, and writes it to `dir`: `root-ca.pem`,
 * `server.pem`, `server-key.pem` (for localhost, 127.0.0.1 and ::1), `client.pem`, `client-key.pem`.
 */
export async function writeCertificateSet(dir: string): Promise<void> {
  const authority = await makeAuthority("Stand-in CA");
  const [server, client] = await Promise.all([
    issue(authority, { commonName: "localhost", names: ["localhost", "127.0.0.1", "::1"], usage: "server" }),
    issue(authority, { commonName: "stand-in client", usage: "client" }),
  ]);
  writePemFiles(dir, {
    "root-ca.pem": authority.cert,
    "server.pem": server.cert,
    "server-key.pem": server.key,
    "client.pem": client.cert,
    "client-key.pem": client.key,
  });
}
