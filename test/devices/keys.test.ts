// The certificate library registers its parts through decorator metadata, so this import comes before it.
import "reflect-metadata";
import { createPrivateKey } from "node:crypto";
import { Pkcs10CertificateRequest } from "@peculiar/x509";
import { expect, test } from "vitest";
import { keyPem, laptopKey, phoneKey, signingRequest } from "../../devices/keys.ts";
import { filePassword } from "../../devices/pkcs12.ts";

test.each([
  ["a laptop", laptopKey, { name: "ECDSA", namedCurve: "P-256" }],
  ["a phone", phoneKey, { name: "RSASSA-PKCS1-v1_5", modulusLength: 2048 }],
] as const)(
  "the request of %s is signed by its key, and holds its name and nothing else",
  async (_, make, algorithm) => {
    const key = await make();
    const request = new Pkcs10CertificateRequest(signingRequest("annas-tablet", key));
    expect(await request.verify()).toBe(true);
    expect(request.subject).toBe("CN=annas-tablet");
    expect([request.attributes, request.extensions]).toEqual([[], []]);
    expect(request.publicKey.algorithm).toMatchObject(algorithm);
    expect(request.signatureAlgorithm).toMatchObject({ hash: { name: "SHA-256" } });
  },
);

test("a key is PEM that node and Caddy read, encrypted where there is a passphrase", async () => {
  const key = await laptopKey();
  expect(createPrivateKey(keyPem(key)).equals(key)).toBe(true);
  const locked = keyPem(key, "secret words");
  expect(locked).toMatch(/^-----BEGIN ENCRYPTED PRIVATE KEY-----/);
  expect(createPrivateKey({ key: locked, passphrase: "secret words" }).equals(key)).toBe(true);
  expect(() => createPrivateKey({ key: locked, passphrase: "others" })).toThrow();
});

test("a password has 24 characters that a phone types without shift, and never comes twice", () => {
  const passwords = Array.from({ length: 500 }, filePassword);
  for (const password of passwords) expect(password).toMatch(/^[a-km-np-z2-9]{24}$/);
  expect(new Set(passwords).size).toBe(500);
  expect(new Set(passwords.join("")).size).toBeGreaterThan(30);
});
