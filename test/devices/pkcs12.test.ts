import { execFileSync } from "node:child_process";
import { createPrivateKey, X509Certificate } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { keyPem, laptopKey, phoneKey, signingRequest } from "../../devices/keys.ts";
import { filePassword, pkcs12 } from "../../devices/pkcs12.ts";
import { CaHost } from "../support/ca-host.ts";
import { missingProgram, realSuite } from "../support/programs.ts";

realSuite(missingProgram("openssl"), "a PKCS#12 file, read by openssl", () => {
  const host = new CaHost();
  const folder = mkdtempSync(join(tmpdir(), "p12-"));
  const password = filePassword();
  afterAll(async () => {
    rmSync(folder, { recursive: true });
    await host.remove();
  });

  const openssl = (...args: string[]): string =>
    execFileSync("openssl", args, { cwd: folder, encoding: "utf8", stdio: ["ignore", "pipe", "pipe"] });
  const read = (...args: string[]): string =>
    openssl("pkcs12", "-in", "device.p12", "-passin", `pass:${password}`, ...args);

  describe.each([
    ["RSA", phoneKey],
    ["EC", laptopKey],
  ] as const)("with a key of %s", (_, make) => {
    let key: Awaited<ReturnType<typeof make>>;
    let signed: { certificate: string; authority: string };
    beforeAll(async () => {
      key = await make();
      const name = `device-${key.asymmetricKeyType}`;
      signed = await host.machine().sign(name, signingRequest(name, key), {});
      writeFileSync(join(folder, "device.p12"), pkcs12("annas-tablet", key, signed, password));
    });

    test("holds the very certificate that the CA signed, the CA and the key", () => {
      const raw = (pem: string): string => new X509Certificate(pem).raw.toString("hex");
      expect(raw(read("-nokeys", "-clcerts"))).toBe(raw(signed.certificate));
      expect(raw(read("-nokeys", "-cacerts"))).toBe(raw(signed.authority));
      expect(createPrivateKey(read("-nocerts", "-nodes")).equals(key)).toBe(true);
      expect(read("-nokeys", "-clcerts")).toMatch(/friendlyName: annas-tablet\n/);
    });

    test("is encrypted as older stores take it, key and certificates", () => {
      const info = execFileSync(
        "sh",
        ["-c", `openssl pkcs12 -info -noout -in device.p12 -passin pass:${password} 2>&1`],
        {
          cwd: folder,
          encoding: "utf8",
        },
      );
      expect(info.match(/pbeWithSHA1And3-KeyTripleDES-CBC/g)).toHaveLength(2);
      expect(info).toContain("MAC: sha1");
      const bytes = readFileSync(join(folder, "device.p12"));
      expect(bytes.includes("annas-tablet")).toBe(false);
      const inside = createPrivateKey(keyPem(key)).export({ type: "pkcs8", format: "der" });
      expect(bytes.includes(inside.subarray(-32))).toBe(false);
    });

    test("does not open without its password", () => {
      expect(() => openssl("pkcs12", "-in", "device.p12", "-noout", "-passin", "pass:wrong")).toThrow(
        /invalid password/,
      );
    });
  });
});
