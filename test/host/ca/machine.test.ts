import { execFileSync } from "node:child_process";
import { createPublicKey, generateKeyPairSync, KeyObject, X509Certificate } from "node:crypto";
import {
  chmodSync,
  existsSync,
  mkdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { afterEach, describe, expect, test } from "vitest";
import { laptopKey, phoneKey, signingRequest } from "../../../devices/keys.ts";
import type { DeviceList } from "../../../host/ca/devices.ts";
import type { CaMachine } from "../../../host/ca/machine.ts";
import { makeAuthority } from "../../../sim/certificates.ts";
import { CA_SHELLS, CaHost, requestFor, serialIn } from "../../support/ca-host.ts";
import { processesOf } from "../../support/kill.ts";
import type { Mode } from "../../support/local-host.ts";
import { eventually } from "../../support/processes.ts";

const MODES: readonly Mode[] = ["direct", "wrapper"];
const modeOf = (path: string): string => (statSync(path).mode & 0o777).toString(8);
/** Counts how often Caddy was made to read the list. */
const counting = (host: CaHost): string => `printf r >>'${join(host.root, "reloads")}'`;
const reloads = (host: CaHost): number =>
  existsSync(join(host.root, "reloads")) ? statSync(join(host.root, "reloads")).size : 0;

const hosts: CaHost[] = [];
function caHost(options?: ConstructorParameters<typeof CaHost>[0]): CaHost {
  const host = new CaHost(options);
  hosts.push(host);
  return host;
}
async function listOf(machine: CaMachine): Promise<DeviceList> {
  const found = await machine.list();
  if ("missingIn" in found) throw new Error("There is no CA");
  return found;
}
afterEach(() => Promise.all(hosts.splice(0).map((host) => host.remove())));

describe.each(CA_SHELLS)("ai-server-ca in %s", (shell) => {
  test.each(MODES)("signs, lists, revokes and puts back, by %s", async (mode) => {
    const host = caHost({ shell });
    const machine = host.machine(mode, { reload: counting(host) });
    const key = await laptopKey();
    const signed = await machine.sign("laptop", signingRequest("laptop", key), {});
    const certificate = new X509Certificate(signed.certificate);
    expect(certificate.subject).toBe("CN=laptop");
    expect(certificate.ca).toBe(false);
    expect(certificate.keyUsage).toEqual(["1.3.6.1.5.5.7.3.2"]);
    expect(certificate.publicKey.equals(createPublicKey(key))).toBe(true);
    const days = (Date.parse(certificate.validTo) - Date.now()) / 86_400_000;
    expect(days).toBeGreaterThan(824.9);
    expect(days).toBeLessThanOrEqual(825);
    expect(host.verify(signed.certificate)).toBe("OK");
    expect(signed.authority).toBe(readFileSync(host.path("root-ca.pem"), "utf8"));
    expect(signed.serial).toBe(serialIn(signed.certificate));
    expect(signed.serial).toMatch(/^4[0-9a-f]{31}$/);

    const [entry = ""] = host.names("devices");
    expect(entry).toBe(`laptop.${signed.serial}`);
    expect(host.names("devices", entry)).toEqual(["cert.pem", "leaf.caddy"]);
    // Caddy, another user, reads the list.
    for (const path of [["devices"], ["devices", entry]]) expect(modeOf(host.path(...path))).toBe("755");
    expect(modeOf(host.path("devices", entry, "cert.pem"))).toBe("644");
    const der = certificate.raw.toString("base64");
    expect(readFileSync(host.path("devices", entry, "leaf.caddy"), "utf8")).toBe(
      `trusted_leaf_cert ${der}\n`,
    );

    const listed = await listOf(machine);
    expect(listed).toMatchObject({ authority: signed.authority, folder: host.folder, key: "open" });
    expect(listed.devices).toEqual([
      {
        name: "laptop",
        serial: signed.serial,
        issued: new Date(certificate.validFrom),
        expires: new Date(certificate.validTo),
        revoked: undefined,
        seen: undefined,
      },
    ]);
    expect(reloads(host)).toBe(1);
    expect(await machine.revoke(signed.serial)).toBe(true);
    expect([host.admitted, host.revoked, reloads(host)]).toEqual([[], ["laptop"], 2]);
    const [gone] = (await listOf(machine)).devices;
    expect(gone).toMatchObject({ name: "laptop", serial: signed.serial });
    expect(Math.abs(Number(gone?.revoked) - Date.now())).toBeLessThan(60_000);
    await expect(machine.revoke(signed.serial)).rejects.toMatchObject({ code: "already-revoked" });
    await machine.putBack(signed.serial);
    expect([host.names("devices"), host.revoked, reloads(host)]).toEqual([[entry], [], 3]);
    expect(host.leftovers).toEqual([]);
  });
});

describe("signing", () => {
  test("keys of phones, and never two serial numbers that are the same", async () => {
    const host = caHost();
    const machine = host.machine();
    const { certificate } = await machine.sign("phone", signingRequest("phone", await phoneKey()), {});
    expect(host.verify(certificate)).toBe("OK");
    const { serial } = await machine.sign("tablet", await requestFor("tablet"), {});
    expect(serial).not.toBe(serialIn(certificate));
  });

  test("a name stands for one device, but a renewal may have that of the certificate it replaces", async () => {
    const host = caHost();
    const machine = host.machine();
    const first = await machine.sign("laptop", await requestFor("laptop"), {});
    await expect(machine.sign("laptop", await requestFor("laptop"), {})).rejects.toMatchObject({
      code: "name-taken",
      message: expect.stringMatching(/There is a device of this name .*Nothing was signed\./),
    });
    const second = await machine.sign("laptop", await requestFor("laptop"), { replaces: first.serial });
    expect(host.admitted).toEqual(["laptop", "laptop"]);
    await expect(
      machine.sign("other", await requestFor("other"), { replaces: first.serial }),
    ).rejects.toMatchObject({ code: "other-name" });
    await machine.revoke(first.serial);
    expect(host.names("devices")).toEqual([`laptop.${second.serial}`]);
    await expect(
      machine.sign("laptop", await requestFor("laptop"), { replaces: first.serial }),
    ).rejects.toMatchObject({ code: "unknown-device" });
    // Of a name that begins the same.
    await machine.sign("lap", await requestFor("lap"), {});
  });

  /** A request by openssl, with whatever a hostile one asks for. */
  function opensslRequest(host: CaHost, args: readonly string[], config = ""): string {
    const file = join(host.root, "request.cnf");
    writeFileSync(
      file,
      `[req]\ndistinguished_name=dn\nprompt=no\nreq_extensions=ext\n[dn]\nCN=phone\n[ext]\n${config || "nsComment=none"}\n`,
    );
    const out = join(host.root, "request.pem");
    const fixed = ["req", "-new", "-nodes", "-config", file, "-keyout", "/dev/null", "-out", out];
    execFileSync("openssl", [...fixed, ...args], { stdio: "pipe" });
    return readFileSync(out, "utf8");
  }
  const EC = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"];

  test("a request gets none of the extensions that it asks for", async () => {
    const host = caHost();
    const config = [
      "basicConstraints=critical,CA:TRUE",
      "keyUsage=critical,keyCertSign",
      "extendedKeyUsage=serverAuth",
      "subjectAltName=DNS:ai.example.org",
    ].join("\n");
    const { certificate } = await host.machine().sign("phone", opensslRequest(host, EC, config), {});
    const made = new X509Certificate(certificate);
    expect([made.ca, made.keyUsage, made.subjectAltName]).toEqual([false, ["1.3.6.1.5.5.7.3.2"], undefined]);
  });

  test.each([
    ["another name", ["-subj", "/CN=laptop"]],
    ["more than a name", ["-subj", "/O=admins/CN=phone"]],
    ["a name in two parts", ["-subj", "/CN=phone/CN=laptop"]],
  ])("a request for %s is refused", async (_, args) => {
    const host = caHost();
    await expect(
      host.machine().sign("phone", opensslRequest(host, [...EC, ...args]), {}),
    ).rejects.toMatchObject({
      code: "bad-csr",
    });
    expect([host.names("devices"), host.leftovers]).toEqual([[], []]);
  });

  test.each([
    ["RSA with 1024 bits", ["-newkey", "rsa:1024"]],
    ["another curve", ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:secp192k1"]],
  ])("a key of %s is refused, also where the request says that it is another", async (_, args) => {
    const host = caHost();
    const lie = "nsComment=Public-Key: (256 bit) ASN1 OID: prime256v1";
    await expect(host.machine().sign("phone", opensslRequest(host, args, lie), {})).rejects.toMatchObject({
      code: "weak-key",
    });
  });

  test.each([
    ["a request whose signature is another's", (text: string) => swapped(text)],
    ["a certificate", () => "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"],
    ["nothing", () => ""],
    [
      "a private key",
      () =>
        generateKeyPairSync("ec", { namedCurve: "P-256" })
          .privateKey.export({ type: "pkcs8", format: "pem" })
          .toString(),
    ],
  ])("%s is refused", async (_, made) => {
    const host = caHost();
    await expect(host.machine().sign("phone", made(await requestFor("phone")), {})).rejects.toMatchObject({
      code: "bad-csr",
    });
    expect([host.names("devices"), host.leftovers]).toEqual([[], []]);
  });

  /** With one bit of the signature turned. */
  function swapped(text: string): string {
    const body = Buffer.from(text.replace(/-----.*-----|\n/g, ""), "base64");
    body[body.length - 3] = (body[body.length - 3] ?? 0) ^ 1;
    return `-----BEGIN CERTIFICATE REQUEST-----\n${body.toString("base64").replace(/.{64}/g, "$&\n")}\n-----END CERTIFICATE REQUEST-----\n`;
  }

  test("a key with a passphrase: asked for, wrong, right, and never in a command line", async () => {
    const host = caHost();
    const passphrase = 'it\'s a $(touch ran) \\ "secret" ';
    writeFileSync(join(host.root, "pass"), passphrase);
    execFileSync(
      "openssl",
      [
        "pkcs8",
        "-topk8",
        "-in",
        host.path("ca-key.pem"),
        "-out",
        host.path("enc.pem"),
        "-passout",
        `file:${join(host.root, "pass")}`,
      ],
      { stdio: "pipe" },
    );
    renameSync(host.path("enc.pem"), host.path("ca-key.pem"));
    host.own(host.path("ca-key.pem"));
    const log = join(host.root, "called");
    host.tool("openssl", `printf '%s ' "$@" >>'${log}'; exec /usr/bin/openssl "$@"`);
    const machine = host.machine();
    expect((await host.list()).key).toBe("encrypted");
    const request = await requestFor("phone");
    await expect(machine.sign("phone", request, {})).rejects.toMatchObject({ code: "passphrase-needed" });
    await expect(machine.sign("phone", request, { passphrase: "wrong" })).rejects.toMatchObject({
      code: "passphrase-wrong",
      message: expect.stringMatching(/does not open the CA's key.*Nothing was signed\./),
    });
    expect([host.names("devices"), host.leftovers]).toEqual([[], []]);
    const { certificate } = await machine.sign("phone", request, { passphrase });
    expect(host.verify(certificate)).toBe("OK");
    expect(readFileSync(log, "utf8")).not.toMatch(/secret|wrong/);
    expect(existsSync(join(host.root, "ran"))).toBe(false);
  });

  test("a CA without its key, with another's, and one that may not be read", async () => {
    const host = caHost();
    const other = caHost({ has: false });
    await other.machine().create("ai.example.org");
    const sign = async () => host.machine().sign("phone", await requestFor("phone"), {});
    writeFileSync(host.path("ca-key.pem"), readFileSync(other.path("ca-key.pem")));
    await expect(sign()).rejects.toMatchObject({ code: "other-key" });
    chmodSync(host.path("ca-key.pem"), 0o000);
    expect((await host.list()).key).toBe("unreadable");
    await expect(sign()).rejects.toMatchObject({ code: "ca-unreadable" });
    rmSync(host.path("ca-key.pem"));
    expect((await host.list()).key).toBe("missing");
    await expect(sign()).rejects.toMatchObject({
      code: "no-key",
      message: expect.stringMatching(/Set AI_SERVER_CA_HOST and AI_SERVER_CA_DIR/),
    });
    chmodSync(host.folder, 0o555);
    await expect(sign()).rejects.toMatchObject({ code: "no-key" });
    chmodSync(host.folder, 0o755);
    expect([host.names("devices"), host.leftovers]).toEqual([[], []]);
  });

  test("a CA that another program made, without the identifier of its key, signs too", async () => {
    const host = caHost();
    const { cert, keys } = await makeAuthority("Another program's CA");
    writeFileSync(host.path("root-ca.pem"), cert);
    writeFileSync(
      host.path("ca-key.pem"),
      KeyObject.from(keys.privateKey).export({ type: "pkcs8", format: "pem" }),
    );
    const { certificate } = await host.machine().sign("phone", await requestFor("phone"), {});
    expect(host.verify(certificate)).toBe("OK");
  });

  test("a folder that may not be written to", async () => {
    const host = caHost();
    chmodSync(host.folder, 0o555);
    await expect(host.machine().sign("phone", await requestFor("phone"), {})).rejects.toMatchObject({
      code: "ca-write-failed",
    });
    chmodSync(host.folder, 0o755);
  });
});

describe("Caddy's part", () => {
  test("a reload that fails leaves nothing signed and nothing revoked, and says why", async () => {
    const host = caHost();
    const { serial } = await host.machine().sign("phone", await requestFor("phone"), {});
    const words = `Error: sending configuration to instance: caddy responded with error: HTTP 400: {"error":"loading config: no such \\"module\\""}`;
    writeFileSync(join(host.root, "words"), `{"level":"info"}\n${words}\n`);
    const failing = host.machine("direct", { reload: `cat '${join(host.root, "words")}' >&2; exit 1` });
    const why =
      /did not read the list of devices: loading config: no such .*module.*It runs on as before\. Nothing was changed\.$/;
    await expect(failing.sign("laptop", await requestFor("laptop"), {})).rejects.toMatchObject({
      code: "reload-failed",
      message: expect.stringMatching(why),
    });
    await expect(failing.revoke(serial)).rejects.toMatchObject({ message: expect.stringMatching(why) });
    expect([host.admitted, host.revoked, host.leftovers]).toEqual([["phone"], [], []]);
    // What was revoked rightly can be put back only if Caddy reads it.
    await host.machine().revoke(serial);
    await expect(failing.putBack(serial)).rejects.toMatchObject({ code: "reload-failed" });
  });

  test("without a Caddy on the machine, signing needs none, and revoking says that none reads it", async () => {
    const host = caHost();
    // No process of this machine is seen as a Caddy.
    const machine = host.machine("direct", { reload: "" });
    host.tool("tr", `case $1 in '\\000') exit 1 ;; esac; exec /usr/bin/tr "$@"`);
    const { serial } = await machine.sign("phone", await requestFor("phone"), {});
    expect(await machine.revoke(serial)).toBe(false);
    await expect(machine.reload()).rejects.toMatchObject({
      code: "no-caddy",
      message: expect.stringMatching(/Set AI_SERVER_CADDY_RELOAD/),
    });
  });

  test("a list that Caddy has not read is seen", async () => {
    const host = caHost();
    const { serial } = await host.machine().sign("phone", await requestFor("phone"), {});
    expect((await host.list()).caddy.isPending).toBe(false);
    // As a step that is killed between the two leaves it.
    mkdirSync(host.path("revoked"), { recursive: true });
    renameSync(host.path(`devices/phone.${serial}`), host.path(`revoked/20260101T000000Z.phone.${serial}`));
    expect((await host.list()).caddy.isPending).toBe(true);
    await host.machine().reload();
    expect((await host.list()).caddy.isPending).toBe(false);
  });

  test("a device can be put back for ten minutes", async () => {
    const host = caHost();
    const { serial } = await host.machine().sign("phone", await requestFor("phone"), {});
    await host.machine().revoke(serial);
    const [entry = ""] = host.names("revoked");
    execFileSync("touch", ["-d", "11 minutes ago", host.path("revoked", entry)]);
    await expect(host.machine().putBack(serial)).rejects.toMatchObject({ code: "too-late" });
    expect(host.admitted).toEqual([]);
  });

  test("a certificate that was put on the list by hand is listed and revoked too", async () => {
    const host = caHost();
    const machine = host.machine();
    const { certificate, serial } = await machine.sign("phone", await requestFor("phone"), {});
    await machine.revoke(serial);
    rmSync(host.path("revoked"), { recursive: true });
    writeFileSync(host.path("devices/old.pem"), certificate);
    host.own(host.path("devices/old.pem"));
    writeFileSync(host.path("devices/notes.txt"), "mine");
    expect((await host.list()).devices).toMatchObject([{ name: "old", serial, revoked: undefined }]);
    await machine.revoke(serial);
    expect(host.names("devices")).toEqual(["notes.txt"]);
    expect((await host.list()).devices).toMatchObject([{ name: "old", serial, revoked: expect.any(Date) }]);
    await machine.putBack(serial);
    expect((await host.list()).devices).toMatchObject([{ name: "old", serial, revoked: undefined }]);
  });
});

describe("a client that gives up", () => {
  test.each(["sign", "revoke"] as const)("while Caddy reads the list: %s is done to its end", async (act) => {
    const host = caHost();
    const { serial } = await host.machine().sign("phone", await requestFor("phone"), {});
    const [reached, released] = [join(host.root, "reached"), join(host.root, "released")];
    const reload = `: >'${reached}'; while [ ! -e '${released}' ]; do sleep 0.02; done`;
    const machine = host.machine("direct", { reload });
    const gone = new AbortController();
    const request = await requestFor("laptop");
    const asked =
      act === "sign" ? machine.sign("laptop", request, {}, gone.signal) : machine.revoke(serial, gone.signal);
    await eventually("Caddy reads the list", () => existsSync(reached) || undefined);
    gone.abort(new Error("enough"));
    await expect(asked).rejects.toThrow("enough");
    writeFileSync(released, "");
    await expect.poll(() => processesOf(host)).toEqual([]);
    expect(host.admitted).toEqual(act === "sign" ? ["laptop", "phone"] : []);
    expect((await host.list()).caddy.isPending).toBe(false);
    expect(host.leftovers).toEqual([]);
  });

  test("before anything is on the list: nothing is signed", async () => {
    const host = caHost();
    const reached = join(host.root, "reached");
    host.tool("openssl", `: >'${reached}'; sleep 0.3; exec /usr/bin/openssl "$@"`);
    const gone = new AbortController();
    const asked = host.machine().sign("laptop", await requestFor("laptop"), {}, gone.signal);
    await eventually("it has begun", () => existsSync(reached) || undefined);
    gone.abort(new Error("enough"));
    await expect(asked).rejects.toThrow("enough");
    await expect.poll(() => processesOf(host)).toEqual([]);
    expect([host.names("devices"), host.leftovers]).toEqual([[], []]);
  });
});

describe("two at once", () => {
  test.each(MODES)(
    "do not collide: of many with one name one is signed, of others all, by %s",
    async (mode) => {
      const host = caHost();
      const sign = async (name: string) =>
        host.machine(mode, { reload: counting(host) }).sign(name, await requestFor(name), {});
      const results = await Promise.allSettled(["phone", "phone", "phone", "tablet", "laptop"].map(sign));
      expect(results.filter(({ status }) => status === "fulfilled")).toHaveLength(3);
      for (const result of results)
        if (result.status === "rejected") expect(result.reason).toMatchObject({ code: "name-taken" });
      expect(host.admitted).toEqual(["laptop", "phone", "tablet"]);
      expect(reloads(host)).toBe(3);
      expect(host.leftovers).toEqual([]);
    },
  );

  test("of two that revoke the same device one does it", async () => {
    const host = caHost();
    const { serial } = await host.machine().sign("phone", await requestFor("phone"), {});
    const results = await Promise.allSettled([1, 2, 3].map(() => host.machine().revoke(serial)));
    expect(results.map(({ status }) => status).sort()).toEqual(["fulfilled", "rejected", "rejected"]);
    expect([host.admitted, host.revoked]).toEqual([[], ["phone"]]);
  });

  test("the same where there is no flock", async () => {
    const host = caHost();
    host.tool("flock", "exit 69");
    const sign = async (name: string) => host.machine().sign(name, await requestFor(name), {});
    const results = await Promise.allSettled(["phone", "phone", "tablet"].map(sign));
    expect(results.filter(({ status }) => status === "fulfilled")).toHaveLength(2);
    expect(host.admitted).toEqual(["phone", "tablet"]);
    expect(host.leftovers).toEqual([]);
  });
});

describe("making a CA", () => {
  test.each(CA_SHELLS)("a folder that does not exist becomes one, whole, in %s", async (shell) => {
    const host = caHost({ has: false, shell });
    const machine = host.machine();
    expect(await machine.list()).toEqual({ missingIn: host.folder });
    const { folder, authority } = await machine.create("ai.example.org");
    expect(folder).toBe(host.folder);
    expect(host.names()).toEqual([
      "ca-key.pem",
      "devices",
      "revoked",
      "root-ca.pem",
      "server-key.pem",
      "server.pem",
    ]);
    for (const name of ["ca-key.pem", "server-key.pem"]) expect(modeOf(host.path(name))).toBe("600");
    const ca = new X509Certificate(authority);
    expect(ca.ca).toBe(true);
    const server = new X509Certificate(readFileSync(host.path("server.pem")));
    expect(server.subjectAltName).toBe("DNS:ai.example.org");
    expect(server.keyUsage).toEqual(["1.3.6.1.5.5.7.3.1"]);
    expect(server.verify(ca.publicKey)).toBe(true);
    const { certificate } = await machine.sign("phone", await requestFor("phone"), {});
    expect(host.verify(certificate)).toBe("OK");
    await expect(machine.create("ai.example.org")).rejects.toMatchObject({ code: "exists" });
    expect(readFileSync(host.path("root-ca.pem"), "utf8")).toBe(authority);
    expect(host.names("..").filter((name) => /tmp|lock/.test(name))).toEqual([]);
  });

  test("an address is an address in the server's certificate", async () => {
    const host = caHost({ has: false });
    await host.machine().create("192.168.2.2");
    expect(new X509Certificate(readFileSync(host.path("server.pem"))).subjectAltName).toBe(
      "IP Address:192.168.2.2",
    );
  });

  test("a folder with other files is left alone, an empty one is taken", async () => {
    const host = caHost({ has: false });
    mkdirSync(host.folder);
    host.own(host.folder);
    writeFileSync(host.path("notes.txt"), "mine");
    await expect(host.machine().list()).rejects.toMatchObject({ code: "not-a-ca" });
    await expect(host.machine().create("ai.example.org")).rejects.toMatchObject({ code: "not-a-ca" });
    expect(host.names()).toEqual(["notes.txt"]);
    rmSync(host.path("notes.txt"));
    await host.machine().create("ai.example.org");
    expect(host.names()).toContain("root-ca.pem");
  });

  test("of two at once one makes it", async () => {
    const host = caHost({ has: false });
    const results = await Promise.allSettled([1, 2, 3].map(() => host.machine().create("ai.example.org")));
    expect(results.filter(({ status }) => status === "fulfilled")).toHaveLength(1);
    expect(host.names()).toHaveLength(6);
  });

  test("a key that is tied to ai-server-ca makes none", async () => {
    const host = caHost({ has: false });
    await expect(host.machine("wrapper").create("ai.example.org")).rejects.toMatchObject({
      code: "not-allowed",
    });
    expect(existsSync(host.folder)).toBe(false);
  });
});
