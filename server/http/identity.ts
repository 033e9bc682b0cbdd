import { createPrivateKey, type KeyObject, X509Certificate } from "node:crypto";
import { readFile, stat } from "node:fs/promises";
import { createSecureContext } from "node:tls";
import type { ServerAddress } from "../../config.ts";
import { codeOf, ServerError } from "../../lib/errors.ts";
import { counted } from "../../lib/figures.ts";

/** What a client shows the server and what it trusts, as PEM text, checked and ready for TLS. */
export interface Identity {
  /** Undefined: Node's own roots are trusted. */
  ca: string | undefined;
  cert: string;
  key: string;
  passphrase: string | undefined;
  /** Last day of the client certificate. */
  validTo: Date;
  /** Sentences to show the user once a session. */
  warnings: string[];
}

type Files = Pick<ServerAddress, "ca" | "clientCert" | "clientKey" | "passphrase">;

const PASSPHRASE = "AI_SERVER_CLIENT_KEY_PASSPHRASE";
const WARN_DAYS = 30;
const DAY_MS = 86_400_000;
const CERTIFICATE =
  /-----BEGIN (?:TRUSTED |X509 )?CERTIFICATE-----[\s\S]+?-----END (?:TRUSTED |X509 )?CERTIFICATE-----/g;

function fault(message: string, cause?: unknown, variable?: string): ServerError {
  return new ServerError(message, { link: "certificates", remedy: "none", variable, cause });
}

/** The three files with their role in a sentence and the variable that names them. */
function roles(files: Files): { path: string; what: string; variable: string }[] {
  const own = [
    { path: files.clientCert, what: "client certificate", variable: "AI_SERVER_CLIENT_CERT" },
    { path: files.clientKey, what: "client key", variable: "AI_SERVER_CLIENT_KEY" },
  ];
  return files.ca === "system" ? own : [...own, { path: files.ca, what: "CA", variable: "AI_SERVER_CA" }];
}

/**
 * Tells whether the files are still those that an identity was made of: changes when one is replaced, edited or
 * removed. Never throws.
 */
export async function stampOf(files: Files): Promise<string> {
  const stamps = await Promise.all(
    roles(files).map(({ path }) =>
      stat(path).then(
        (file) => `${file.ino}:${file.size}:${file.mtimeMs}`,
        (error: unknown) => codeOf(error),
      ),
    ),
  );
  return stamps.join(" ");
}

async function readPem(path: string, what: string, variable: string): Promise<string> {
  try {
    return await readFile(path, "utf8");
  } catch (error) {
    const code = codeOf(error);
    if (code === "ENOENT" || code === "ENOTDIR") {
      throw fault(
        `The ${what} is missing: there is no file ${path}. Put it there, or point to it with /login ai-server or ${variable}.`,
        error,
      );
    }
    if (code === "EISDIR")
      throw fault(`The ${what} cannot be read: ${path} is a folder. Name the file in ${variable}.`, error);
    throw fault(
      `The ${what} cannot be read: ${path} (${code || "unknown reason"}). Check the file's owner and mode.`,
      error,
    );
  }
}

function certificatesIn(pem: string, path: string, what: string): X509Certificate[] {
  const blocks = pem.match(CERTIFICATE) ?? [];
  if (blocks.length === 0) {
    const hint = pem.includes("PRIVATE KEY")
      ? "it contains a private key; the two files may be swapped."
      : "convert it, for example with: openssl pkcs12 -in FILE.p12 -nodes, or openssl x509 -inform DER -in FILE.der.";
    throw fault(`The ${what} ${path} is not a PEM certificate: ${hint}`);
  }
  try {
    return blocks.map((block) => new X509Certificate(block));
  } catch (error) {
    throw fault(
      `The ${what} ${path} is damaged: its PEM text cannot be decoded. Copy the file again.`,
      error,
    );
  }
}

function privateKeyIn(pem: string, path: string, passphrase: string | undefined): KeyObject {
  if (!pem.includes("PRIVATE KEY-----")) {
    throw fault(
      `The client key ${path} is not a PEM private key. Its first line must say BEGIN PRIVATE KEY, or BEGIN EC or RSA PRIVATE KEY.`,
    );
  }
  const encrypted = pem.includes("ENCRYPTED");
  try {
    return createPrivateKey({ key: pem, format: "pem", ...(passphrase === undefined ? {} : { passphrase }) });
  } catch (error) {
    if (encrypted) {
      const sentence =
        passphrase === undefined
          ? `The client key ${path} is encrypted and no passphrase is set. Set ${PASSPHRASE}, or enter it in /login ai-server.`
          : `The passphrase does not open the client key ${path}. Correct ${PASSPHRASE}, or enter it again in /login ai-server.`;
      throw fault(sentence, error, PASSPHRASE);
    }
    throw fault(
      `The client key ${path} is damaged: its PEM text cannot be decoded. Copy the file again.`,
      error,
    );
  }
}

/** By the code with which OpenSSL refuses to use a certificate of one's own: why, and what to make instead. */
const TOO_WEAK: Readonly<Record<string, string>> = {
  ERR_SSL_EE_KEY_TOO_SMALL:
    "its key is too short to be safe. Make a new key of EC P-256, or RSA with 2048 bits",
  ERR_SSL_CA_KEY_TOO_SMALL: "the key of a CA in it is too short to be safe. Make a new CA with EC P-256",
  ERR_SSL_CA_MD_TOO_WEAK:
    "it is signed with a digest that is too weak to be safe, such as SHA-1. Sign it with SHA-256 (openssl x509 -req -sha256 …)",
};

/** OpenSSL refuses here what is too weak, before any connection, and would do so again at each one. */
function checkUsable(own: { cert: string; key: string; passphrase: string | undefined }, path: string): void {
  try {
    createSecureContext({ ...own, minVersion: "TLSv1.2" });
  } catch (error) {
    const code = codeOf(error);
    const why = TOO_WEAK[code];
    throw fault(
      why === undefined
        ? `The client certificate ${path} and its key cannot be used for TLS (${code || "unknown reason"}). Make a new pair, as docs/certificates.md shows.`
        : `The client certificate ${path} cannot be used: ${why}, and issue the certificate again.`,
      error,
    );
  }
}

/** A date as people write it in a certificate's context: `2026-11-20`. */
function day(date: Date): string {
  return date.toISOString().slice(0, 10);
}

function checkDates(
  certificate: X509Certificate,
  what: string,
  path: string,
  renew: string,
  now: number,
): void {
  const from = new Date(certificate.validFrom);
  const to = new Date(certificate.validTo);
  if (now > to.getTime()) {
    throw fault(`The ${what} ${path} expired on ${day(to)} (valid from ${day(from)}). ${renew}`);
  }
  if (now < from.getTime()) {
    throw fault(
      `The ${what} ${path} is valid only from ${day(from)} (until ${day(to)}), and this machine's clock says ${day(new Date(now))}. Check the clock.`,
    );
  }
}

async function keyWarning(path: string): Promise<string[]> {
  if (process.platform === "win32") return [];
  const { mode } = await stat(path);
  if ((mode & 0o077) === 0) return [];
  return [
    `Other users of this machine can read the client key ${path}, which is the only credential. Run: chmod 600 ${path}`,
  ];
}

/**
 * Reads certificate, key and CA and checks all that can be checked before connecting: present, readable, PEM, the
 * key belongs to the certificate, the passphrase opens it, valid today.
 *
 * @param now Unix time in milliseconds
 * @throws {ServerError} of link `certificates`, one sentence each with the fix
 */
export async function loadIdentity(files: Files, now: number): Promise<Identity> {
  // One after the other, so that of several missing files always the same one is named first.
  const texts: string[] = [];
  for (const { path, what, variable } of roles(files)) texts.push(await readPem(path, what, variable));
  const [cert = "", key = "", ca] = texts;

  const [leaf] = certificatesIn(cert, files.clientCert, "client certificate");
  if (leaf === undefined) throw fault(`The client certificate ${files.clientCert} is empty.`);
  const privateKey = privateKeyIn(key, files.clientKey, files.passphrase);
  if (!leaf.checkPrivateKey(privateKey)) {
    throw fault(
      `The client key ${files.clientKey} does not belong to the client certificate ${files.clientCert}. Use the pair that was made together, or make a new one with /ai-server-devices enrol.`,
    );
  }
  checkUsable({ cert, key, passphrase: files.passphrase }, files.clientCert);
  checkDates(
    leaf,
    "client certificate",
    files.clientCert,
    "Renew it with /ai-server-devices enrol, or issue a new one with the same CA and put it there.",
    now,
  );
  if (ca !== undefined) {
    const authorities = certificatesIn(ca, files.ca, "CA");
    const newest = authorities.toSorted((a, b) => Date.parse(b.validTo) - Date.parse(a.validTo))[0];
    if (newest) checkDates(newest, "CA", files.ca, "Get the server's current CA file.", now);
  }

  const validTo = new Date(leaf.validTo);
  const daysLeft = Math.floor((validTo.getTime() - now) / DAY_MS);
  const warnings = await keyWarning(files.clientKey);
  if (daysLeft < WARN_DAYS) {
    warnings.push(
      `The client certificate ${files.clientCert} expires on ${day(validTo)}, in ${counted(daysLeft, "day")}. Renew it with /ai-server-devices enrol.`,
    );
  }
  return { ca, cert, key, passphrase: files.passphrase, validTo, warnings };
}
