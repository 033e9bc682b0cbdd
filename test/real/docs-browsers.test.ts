import { existsSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { docsBlock, withOwn } from "../support/docs.ts";
import { DocsPlace } from "../support/docs-place.ts";
import { missingProgram, realSuite } from "../support/programs.ts";

const PASSWORD = "secret";

/** Lines of the page, with the password as an option where a terminal would ask for it. */
function lines(name: string): string {
  return docsBlock("browsers.md", name)
    .replace("-out client.p12", `-out client.p12 -passout pass:${PASSWORD}`)
    .replace("-i client.p12", `-i client.p12 -W ${PASSWORD}`);
}

realSuite(
  missingProgram("openssl", "certutil", "pk12util"),
  "the browsers' lines, with NSS's own tools",
  () => {
    let place: DocsPlace;
    beforeEach(async () => {
      place = new DocsPlace();
      for (const name of ["authority", "client", "sign"]) {
        await place.runOk(docsBlock("certificates.md", name));
      }
      await place.runOk(lines("pkcs12"));
    });
    afterEach(() => place.remove());

    const list = "certutil -d sql:$HOME/.pki/nssdb -L";
    const ours = /^my laptop +u,u,u *$/m;

    test("bring certificate and key into the store", async () => {
      await place.runOk(lines("nss-create"));
      const { stdout } = await place.runOk(lines("nss-import"));
      expect(stdout).toContain("PKCS12 IMPORT SUCCESSFUL");
      expect(stdout).toMatch(ours);
      expect((await place.runOk("certutil -d sql:$HOME/.pki/nssdb -K")).stdout).toContain("my laptop");
    });

    test("mark the CA for servers, which it is not by itself", async () => {
      await place.runOk(lines("nss-create") + lines("nss-import"));
      expect((await place.runOk(list)).stdout).toMatch(/^AI server CA +,, *$/m);
      await place.runOk(lines("nss-trust"));
      expect((await place.runOk(list)).stdout).toMatch(/^AI server CA +C,, *$/m);
    });

    test("take both out again", async () => {
      await place.runOk(lines("nss-create") + lines("nss-import"));
      await place.runOk(lines("nss-delete"));
      expect((await place.runOk(list)).stdout).not.toContain("my laptop");
      expect((await place.run("certutil -d sql:$HOME/.pki/nssdb -K")).stdout).not.toContain("my laptop");
    });

    test("do the same in the store of a Flatpak", async () => {
      const { stdout } = await place.runOk(lines("nss-flatpak"));
      expect(stdout).toMatch(ours);
      expect(existsSync(join(place.home, ".var/app/com.brave.Browser/.pki/nssdb/cert9.db"))).toBe(true);
    });

    test("are refused with a wrong password", async () => {
      await place.runOk(lines("nss-create"));
      const wrong = lines("nss-import").replace(`-W ${PASSWORD}`, "-W wrong");
      expect((await place.run(wrong)).code).not.toBe(0);
    });

    test("are taken by this NSS in OpenSSL's default form as well, as the page says of its versions", async () => {
      await place.runOk(withOwn(lines("pkcs12"), { " -legacy": "" }) + lines("nss-create"));
      expect((await place.runOk(lines("nss-import"))).stdout).toMatch(ours);
    });

    test("leave no file with the key behind", async () => {
      await place.runOk(lines("delete-pkcs12"));
      expect(existsSync(join(place.home, "client.p12"))).toBe(false);
    });

    test("have a policy that names the CA which signed the client's certificate", async () => {
      const policy = JSON.parse(docsBlock("browsers.md", "policy")) as Record<string, string[]>;
      expect(Object.keys(policy)).toEqual(["AutoSelectCertificateForUrls"]);
      const entries = (policy.AutoSelectCertificateForUrls ?? []).map((entry): unknown => JSON.parse(entry));
      expect(entries).toEqual([
        { pattern: "https://ai.example.org", filter: { ISSUER: { CN: "AI server CA" } } },
      ]);
      const { stdout } = await place.runOk("openssl x509 -in client.pem -noout -issuer -nameopt multiline");
      expect(stdout).toMatch(/commonName += AI server CA$/m);
    });
  },
);
