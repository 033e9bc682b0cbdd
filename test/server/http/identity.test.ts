import { createPrivateKey, X509Certificate } from "node:crypto";
import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { ServerError } from "../../../lib/errors.ts";
import { type Identity, loadIdentity, stampOf } from "../../../server/http/identity.ts";
import {
  type Authority,
  type Certificate,
  issue,
  makeAuthority,
  writePemFiles,
} from "../../../sim/certificates.ts";

const DAY_MS = 86_400_000;
const NOW = Date.now();
/** A day as a sentence has it, counted from today. */
const day = (days: number): string => new Date(NOW + days * DAY_MS).toISOString().slice(0, 10);
const at = (days: number): Date => new Date(NOW + days * DAY_MS);

let authority: Authority;
let good: Certificate;
let other: Certificate;
let dir = "";

beforeAll(async () => {
  authority = await makeAuthority("Test CA");
  good = await issue(authority, { commonName: "good", usage: "client" });
  other = await issue(authority, { commonName: "other", usage: "client" });
});

const folders: string[] = [];
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "identity-test-"));
  folders.push(dir);
  writePemFiles(dir, { "root-ca.pem": authority.cert, "client.pem": good.cert, "client-key.pem": good.key });
});
afterAll(() => {
  for (const folder of folders) rmSync(folder, { recursive: true, force: true });
});

const file = (name: string): string => join(dir, name);
const write = (name: string, content: string | Buffer): void => writeFileSync(file(name), content);

function files(passphrase?: string, ca = file("root-ca.pem")) {
  return { ca, clientCert: file("client.pem"), clientKey: file("client-key.pem"), passphrase };
}

const load = (passphrase?: string, now = NOW): Promise<Identity> => loadIdentity(files(passphrase), now);

/** The sentence with which the files are refused. */
async function refusal(passphrase?: string, now = NOW): Promise<string> {
  const error: unknown = await load(passphrase, now).then(
    () => new Error("accepted"),
    (reason: unknown) => reason,
  );
  if (error instanceof ServerError && error.link === "certificates" && error.remedy === "none") {
    return error.message;
  }
  throw error;
}

function encrypted(key: string, passphrase: string, type: "pkcs8" | "sec1"): string {
  const options = { format: "pem", cipher: "aes-256-cbc", passphrase } as const;
  const object = createPrivateKey(key);
  return String(type === "pkcs8" ? object.export({ ...options, type }) : object.export({ ...options, type }));
}

test("good files make an identity without a warning", async () => {
  expect(await load()).toEqual({
    ca: authority.cert,
    cert: good.cert,
    key: good.key,
    passphrase: undefined,
    validTo: new Date(new X509Certificate(good.cert).validTo),
    warnings: [],
  });
});

test("AI_SERVER_CA=system needs no CA file", async () => {
  rmSync(file("root-ca.pem"));
  expect((await loadIdentity(files(undefined, "system"), NOW)).ca).toBeUndefined();
});

describe("a file that is missing", () => {
  test.each([
    ["client.pem", "client certificate", "AI_SERVER_CLIENT_CERT"],
    ["client-key.pem", "client key", "AI_SERVER_CLIENT_KEY"],
    ["root-ca.pem", "CA", "AI_SERVER_CA"],
  ])("%s", async (name, what, variable) => {
    rmSync(file(name));
    expect(await refusal()).toBe(
      `The ${what} is missing: there is no file ${file(name)}. Put it there, or point to it with /login ai-server or ${variable}.`,
    );
  });

  test("also where a folder on its way is a file", async () => {
    rmSync(file("client.pem"));
    const clientCert = join(file("client-key.pem"), "client.pem");
    await expect(loadIdentity({ ...files(), clientCert }, NOW)).rejects.toThrow(
      `The client certificate is missing: there is no file ${clientCert}.`,
    );
  });
});

describe("a file that cannot be read", () => {
  test.each([
    ["client.pem", "client certificate", "AI_SERVER_CLIENT_CERT"],
    ["client-key.pem", "client key", "AI_SERVER_CLIENT_KEY"],
    ["root-ca.pem", "CA", "AI_SERVER_CA"],
  ])("%s is a folder", async (name, what, variable) => {
    rmSync(file(name));
    mkdirSync(file(name));
    expect(await refusal()).toBe(
      `The ${what} cannot be read: ${file(name)} is a folder. Name the file in ${variable}.`,
    );
  });

  test("has rights that do not let this user in; it is noticed when they are mended", async () => {
    chmodSync(dir, 0o755);
    chmodSync(file("client-key.pem"), 0o000);
    await withoutRootsRights(async () => {
      expect(await refusal()).toBe(
        `The client key cannot be read: ${file("client-key.pem")} (EACCES). Check the file's owner and mode.`,
      );
    });
    chmodSync(file("client-key.pem"), 0o644);
    await withoutRootsRights(async () => expect((await load()).key).toBe(good.key));
  });
});

/** Runs `body` as a user whom the rights of a file bind, which root is not. */
async function withoutRootsRights(body: () => Promise<void>): Promise<void> {
  const { geteuid, seteuid } = process;
  if (geteuid?.() !== 0 || seteuid === undefined) return body();
  seteuid(65_534);
  try {
    await body();
  } finally {
    seteuid(0);
  }
}

describe("a certificate that is not PEM", () => {
  const HINT =
    "convert it, for example with: openssl pkcs12 -in FILE.p12 -nodes, or openssl x509 -inform DER -in FILE.der.";

  test.each([
    ["is empty", Buffer.alloc(0)],
    ["is DER", "der"],
    ["is PKCS#12", Buffer.from("3082 0a5f 0201 03ff fe00 80c3 28".replaceAll(" ", ""), "hex")],
    ["is a page of a web server", Buffer.from("<!doctype html><title>404</title>")],
    ["is only begun", Buffer.from("-----BEGIN CERTIFICATE-----\nMIIB")],
  ])("because it %s", async (_, content) => {
    const bytes = typeof content === "string" ? new X509Certificate(good.cert).raw : content;
    write("client.pem", bytes);
    expect(await refusal()).toBe(
      `The client certificate ${file("client.pem")} is not a PEM certificate: ${HINT}`,
    );
    write("client.pem", good.cert);
    write("root-ca.pem", bytes);
    expect(await refusal()).toBe(`The CA ${file("root-ca.pem")} is not a PEM certificate: ${HINT}`);
  });

  test("because the files are swapped", async () => {
    write("client.pem", good.key);
    write("client-key.pem", good.cert);
    expect(await refusal()).toBe(
      `The client certificate ${file("client.pem")} is not a PEM certificate: it contains a private key; the two files may be swapped.`,
    );
  });

  test("because its text is damaged", async () => {
    write("client.pem", good.cert.replace(/\n.{40}/, `\n${"A".repeat(40)}`));
    expect(await refusal()).toBe(
      `The client certificate ${file("client.pem")} is damaged: its PEM text cannot be decoded. Copy the file again.`,
    );
  });
});

describe("a key", () => {
  test.each([
    ["a certificate", () => good.cert],
    ["empty", () => ""],
    ["a public key", () => "-----BEGIN PUBLIC KEY-----\nMFkw\n-----END PUBLIC KEY-----\n"],
  ])("that is %s is no key", async (_, content) => {
    write("client-key.pem", content());
    expect(await refusal()).toBe(
      `The client key ${file("client-key.pem")} is not a PEM private key. Its first line must say BEGIN PRIVATE KEY, or BEGIN EC or RSA PRIVATE KEY.`,
    );
  });

  test("that is damaged", async () => {
    write("client-key.pem", good.key.replace(/\n.{40}/, `\n${"A".repeat(40)}`));
    expect(await refusal()).toBe(
      `The client key ${file("client-key.pem")} is damaged: its PEM text cannot be decoded. Copy the file again.`,
    );
  });

  test("that belongs to another certificate", async () => {
    write("client-key.pem", other.key);
    expect(await refusal()).toBe(
      `The client key ${file("client-key.pem")} does not belong to the client certificate ${file("client.pem")}. Use the pair that was made together, or make a new one with /ai-server-devices enrol.`,
    );
  });

  describe.each(["pkcs8", "sec1"] as const)("encrypted as %s", (type) => {
    beforeEach(() => write("client-key.pem", encrypted(good.key, "open sesame", type)));

    test("opens with its passphrase, which is handed on", async () => {
      expect(await load("open sesame")).toMatchObject({ passphrase: "open sesame", warnings: [] });
    });

    test("is not opened by another, which is not repeated", async () => {
      expect(await refusal("hunter2")).toBe(
        `The passphrase does not open the client key ${file("client-key.pem")}. Correct AI_SERVER_CLIENT_KEY_PASSPHRASE, or enter it again in /login ai-server.`,
      );
    });

    test("needs one", async () => {
      expect(await refusal()).toBe(
        `The client key ${file("client-key.pem")} is encrypted and no passphrase is set. Set AI_SERVER_CLIENT_KEY_PASSPHRASE, or enter it in /login ai-server.`,
      );
    });
  });

  test("that is not encrypted does not mind a passphrase", async () => {
    await expect(load("needless")).resolves.toMatchObject({ key: good.key });
  });
});

describe("the dates", () => {
  const put = async (notBefore: number, notAfter: number): Promise<void> => {
    const dated = await issue(authority, {
      commonName: "dated",
      usage: "client",
      notBefore: at(notBefore),
      notAfter: at(notAfter),
    });
    writePemFiles(dir, { "client.pem": dated.cert, "client-key.pem": dated.key });
  };

  test("of a certificate that has expired", async () => {
    await put(-10, -1);
    expect(await refusal()).toBe(
      `The client certificate ${file("client.pem")} expired on ${day(-1)} (valid from ${day(-10)}). Renew it with /ai-server-devices enrol, or issue a new one with the same CA and put it there.`,
    );
  });

  test("of one that is not valid yet", async () => {
    await put(2, 300);
    expect(await refusal()).toBe(
      `The client certificate ${file("client.pem")} is valid only from ${day(2)} (until ${day(300)}), and this machine's clock says ${day(0)}. Check the clock.`,
    );
  });

  test("of a CA that has expired", async () => {
    expect(await refusal(undefined, NOW + 4000 * DAY_MS)).toContain("The client certificate ");
    await put(-1, 5000);
    expect(await refusal(undefined, NOW + 4000 * DAY_MS)).toBe(
      `The CA ${file("root-ca.pem")} expired on ${day(3650)} (valid from ${day(-1)}). Get the server's current CA file.`,
    );
  });

  test.each([
    [29.5, 29, "29 days"],
    [1.5, 1, "1 day"],
    [0.5, 0, "0 days"],
  ])("warn %s days before the end", async (left, _, words) => {
    await put(-1, left);
    expect((await load()).warnings).toEqual([
      `The client certificate ${file("client.pem")} expires on ${day(left)}, in ${words}. Renew it with /ai-server-devices enrol.`,
    ]);
  });

  test("do not warn a month before", async () => {
    await put(-1, 30.5);
    expect((await load()).warnings).toEqual([]);
  });
});

test.each([0o644, 0o640, 0o604, 0o660, 0o601])("a key with the mode %o is warned of", async (mode) => {
  chmodSync(file("client-key.pem"), mode);
  const { warnings } = await load();
  expect(warnings).toEqual([
    `Other users of this machine can read the client key ${file("client-key.pem")}, which is the only credential. Run: chmod 600 ${file("client-key.pem")}`,
  ]);
  chmodSync(file("client-key.pem"), 0o400);
  expect((await load()).warnings).toEqual([]);
});

describe("several certificates in one file", () => {
  test("a chain is taken whole, and its first one is the client's", async () => {
    write("client.pem", `subject=client\n${good.cert}\nissuer\n${authority.cert}`);
    expect((await load()).cert).toContain(authority.cert.trim());
    write("client.pem", authority.cert + good.cert);
    expect(await refusal()).toContain("does not belong to the client certificate");
  });

  test("certificate and key in one file serve as both", async () => {
    write("both.pem", good.cert + good.key);
    const both = { ...files(), clientCert: file("both.pem"), clientKey: file("both.pem") };
    await expect(loadIdentity(both, NOW)).resolves.toMatchObject({ key: good.cert + good.key });
  });

  test("a bundle of CAs may hold one that has expired", async () => {
    const expired = await issue(authority, {
      commonName: "old",
      usage: "client",
      notBefore: at(-20),
      notAfter: at(-10),
    });
    write("root-ca.pem", expired.cert + authority.cert);
    expect((await load()).ca).toContain(authority.cert.trim());
    write("root-ca.pem", expired.cert);
    expect(await refusal()).toContain(`The CA ${file("root-ca.pem")} expired on ${day(-10)}`);
  });

  test("Windows line ends do no harm", async () => {
    for (const [name, pem] of [
      ["client.pem", good.cert],
      ["client-key.pem", good.key],
    ] as const) {
      write(name, pem.replaceAll("\n", "\r\n"));
    }
    await expect(load()).resolves.toMatchObject({ warnings: [] });
  });
});

describe("stampOf", () => {
  test("stays while the files stay, and never throws", async () => {
    expect(await stampOf(files())).toBe(await stampOf(files()));
    rmSync(dir, { recursive: true });
    expect(await stampOf(files())).toBe("ENOENT ENOENT ENOENT");
  });

  test.each(["client.pem", "client-key.pem", "root-ca.pem"])("changes with %s", async (name) => {
    const before = await stampOf(files());
    write(name, `${good.cert}\n`);
    const edited = await stampOf(files());
    rmSync(file(name));
    const removed = await stampOf(files());
    expect(new Set([before, edited, removed]).size).toBe(3);
  });
});
