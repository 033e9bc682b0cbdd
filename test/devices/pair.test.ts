import {
  chmodSync,
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { keyPem, laptopKey } from "../../devices/keys.ts";
import { backedUpPair, certificateInUse, discard, stage, takeOver, writeNew } from "../../devices/pair.ts";
import { serialOf } from "../../host/ca/devices.ts";
import { loadIdentity } from "../../server/http/identity.ts";
import { issue, makeAuthority } from "../../sim/certificates.ts";

const STAMP = "20261130T120000Z";
let folder: string;
let files: { ca: string; clientCert: string; clientKey: string };
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "pair-"));
  files = {
    ca: join(folder, "certs", "root-ca.pem"),
    clientCert: join(folder, "certs", "client.pem"),
    clientKey: join(folder, "certs", "client-key.pem"),
  };
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

async function newPair() {
  const authority = await makeAuthority("CA");
  const { cert, key } = await issue(authority, { commonName: "laptop", usage: "client" });
  return { certificate: cert, key, authority: authority.cert };
}
const names = (): string[] => readdirSync(join(folder, "certs")).sort();
const mode = (path: string): string => (statSync(path).mode & 0o777).toString(8);

test("on a new laptop the folder is made, and all three files are put there for their owner alone", async () => {
  const pem = await newPair();
  const staged = await stage(files, pem);
  expect(existsSync(files.clientCert)).toBe(false);
  // As it is tried before.
  await loadIdentity({ ...staged.files, passphrase: undefined }, Date.now());
  expect(await takeOver(files, staged, STAMP)).toEqual({ backups: [] });
  expect(names()).toEqual(["client-key.pem", "client.pem", "root-ca.pem"]);
  expect(readFileSync(files.clientKey, "utf8")).toBe(pem.key);
  for (const path of Object.values(files)) expect(mode(path)).toBe("600");
  expect(mode(join(folder, "certs"))).toBe("700");
  expect((await loadIdentity({ ...files, passphrase: undefined }, Date.now())).warnings).toEqual([]);
});

test("old files stay as backups, the CA's own is kept, and the backup is found by its serial number", async () => {
  const first = await newPair();
  await takeOver(files, await stage(files, first), STAMP);
  chmodSync(files.clientKey, 0o644);
  const old = await certificateInUse(files);
  const second = await newPair();
  const { backups } = await takeOver(files, await stage(files, second), "20261201T120000Z");
  expect(backups).toEqual([
    `${files.clientKey}.bak-20261201T120000Z`,
    `${files.clientCert}.bak-20261201T120000Z`,
  ]);
  expect(readFileSync(backups[1] ?? "", "utf8")).toBe(first.certificate);
  expect(mode(backups[0] ?? "")).toBe("600");
  expect(readFileSync(files.clientCert, "utf8")).toBe(second.certificate);
  // A server's CA is not replaced by that of its clients.
  expect(readFileSync(files.ca, "utf8")).toBe(first.authority);
  const found = await backedUpPair(files, old === undefined ? "" : serialOf(old), serialOf);
  expect(found).toEqual({ ca: files.ca, clientCert: backups[1], clientKey: backups[0] });
  expect(await backedUpPair(files, "ff", serialOf)).toBeUndefined();
});

test("with the system's CAs none is written", async () => {
  const staged = await stage({ ...files, ca: "system" }, await newPair());
  await takeOver({ ...files, ca: "system" }, staged, STAMP);
  expect(names()).toEqual(["client-key.pem", "client.pem"]);
});

test("what was not taken over leaves nothing, and an old run's leftovers go", async () => {
  await takeOver(files, await stage(files, await newPair()), STAMP);
  const before = names();
  await discard(await stage(files, await newPair()));
  expect(names()).toEqual(before);
  const left = await stage(files, await newPair());
  const hours = Date.now() / 1000 - 7200;
  utimesSync(left.folder, hours, hours);
  const running = await stage(files, await newPair());
  expect(existsSync(left.folder)).toBe(false);
  // That of another pi, which is at work, stays.
  await discard(await stage(files, await newPair()));
  expect(existsSync(running.folder)).toBe(true);
});

test("cut off between the two files, the next run still puts a whole pair in their place", async () => {
  await takeOver(files, await stage(files, await newPair()), STAMP);
  // As it is right after the first rename.
  writeFileSync(files.clientKey, keyPem(await laptopKey()));
  await expect(loadIdentity({ ...files, passphrase: undefined }, Date.now())).rejects.toThrow(
    /does not belong to the client certificate/,
  );
  await takeOver(files, await stage(files, await newPair()), "20261201T120000Z");
  await loadIdentity({ ...files, passphrase: undefined }, Date.now());
});

test("a backup is never overwritten, and a file that exists is not either", async () => {
  await takeOver(files, await stage(files, await newPair()), STAMP);
  const kept = readFileSync(files.clientCert, "utf8");
  writeFileSync(`${files.clientKey}.bak-${STAMP}`, "older");
  await expect(takeOver(files, await stage(files, await newPair()), STAMP)).rejects.toThrow(
    /could not be put into its place, .* \(EEXIST\)\. The files there are as they were\./,
  );
  expect([
    readFileSync(files.clientCert, "utf8"),
    readFileSync(`${files.clientKey}.bak-${STAMP}`, "utf8"),
  ]).toEqual([kept, "older"]);
  await expect(writeNew(files.clientCert, "x")).rejects.toMatchObject({ code: "EEXIST" });
});

test("if the second file cannot be put in its place, the first one is back", async () => {
  await takeOver(files, await stage(files, await newPair()), STAMP);
  const before = [files.clientKey, files.clientCert].map((path) => readFileSync(path, "utf8"));
  const staged = await stage(files, await newPair());
  rmSync(staged.files.clientCert);
  await expect(takeOver(files, staged, "20261201T120000Z")).rejects.toThrow(/ENOENT.*as they were/);
  expect([files.clientKey, files.clientCert].map((path) => readFileSync(path, "utf8"))).toEqual(before);
  await loadIdentity({ ...files, passphrase: undefined }, Date.now());
});

test("a place that cannot be written is named", async () => {
  writeFileSync(join(folder, "certs"), "a file");
  await expect(stage(files, await newPair())).rejects.toThrow(
    /cannot be written in .*certs \(EEXIST|ENOTDIR\)/,
  );
});
