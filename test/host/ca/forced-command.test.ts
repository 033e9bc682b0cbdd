import { randomBytes } from "node:crypto";
import { existsSync, readFileSync, rmSync, symlinkSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { readAnswer, requestText } from "../../../host/ssh/protocol.ts";
import { CaHost, requestFor } from "../../support/ca-host.ts";

// What a thief can do with a key that runs ai-server-ca alone.

let host: CaHost;
let serial: string;
beforeEach(async () => {
  host = new CaHost();
  ({ serial } = await host.machine().sign("phone", await requestFor("phone"), {}));
});
afterEach(() => host.remove());

const NONCE = randomBytes(16).toString("hex");
const EMPTY = `ai-server-1 ${NONCE}\n.\n`;

function asked(commandLine: string, input = EMPTY, env: Record<string, string> = {}): string {
  const { stdout } = host.forced(commandLine, input, env);
  const { answer } = readAnswer(stdout, NONCE);
  return answer === undefined ? "no answer" : (answer.error ?? "done");
}

function expectUntouched(): void {
  expect(host.names("devices")).toEqual([`phone.${serial}`]);
  expect([host.revoked, host.leftovers]).toEqual([[], []]);
  for (const folder of [host.root, host.folder, "/tmp"]) expect(existsSync(join(folder, "ran"))).toBe(false);
  expect(readFileSync(host.path("ca-key.pem"), "utf8")).toMatch(/^-----BEGIN PRIVATE KEY-----/);
}

/** As the extension sends it. */
function signRequest(name: string, request: string): string {
  const ca = { folder: "", reloadCommand: undefined };
  return requestText(NONCE, { verb: ["sign"], name, content: Buffer.from(request), ca }, undefined);
}

test.each([
  "",
  "sh",
  "sh -s",
  "bash -c 'touch ran'",
  "list x",
  "list; touch ran",
  "list\ntouch ran",
  "list && touch ran",
  "`touch ran`",
  "$(touch ran)",
  "list $(touch ran)",
  "reload now",
  "reload; touch ran",
  "create",
  "restart",
  "read",
  "write",
  "logs",
  "revoke",
  "revoke *",
  "revoke .",
  "revoke ..",
  "revoke ../ca-key.pem",
  "revoke /etc/passwd",
  "revoke -f",
  "revoke phone",
  "revoke 0 back back",
  "revoke ff back",
  "revoke ff now",
  "revoke aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
  "sign",
  "sign ../x",
  "sign ff ff",
  "LIST",
  "* *",
  `list${" ".repeat(300)}`,
  "x".repeat(100_000),
])("of %j nothing is carried out", (commandLine) => {
  expect(asked(commandLine)).toMatch(/^(not-allowed|bad-request|unknown-device)$/);
  expectUntouched();
});

test("the verbs are carried out, and a word of theirs is never looked for as a name of files", () => {
  expect([asked("list"), asked("  reload  ")]).toEqual(["done", "done"]);
  expect(asked("revoke ?")).toBe("bad-request");
  expectUntouched();
  expect(asked(`revoke ${serial}`)).toBe("done");
  expect(host.names("devices")).toEqual([]);
});

test.each([
  "../phone",
  "a/b",
  "..",
  ".",
  "-rf",
  "$(touch ran)",
  "`touch ran`",
  "a;touch ran",
  "a b",
  "a\nb",
  "",
  "Phone",
  "größe",
  "a.b",
  "*",
  "x".repeat(41),
  "\u001b[2J",
])("a name %j is refused", async (name) => {
  const request = await requestFor(name === "" ? "x" : name);
  expect(asked("sign", signRequest(name, request))).toBe("bad-request");
  expectUntouched();
});

test.each([
  ["the folder", `path ${Buffer.from("/tmp").toString("base64")}`],
  ["a reload command", `restart ${Buffer.from("touch ran").toString("base64")}`],
  ["a verb", "verb create"],
  ["a unit", "unit eA=="],
  ["a token", "token eA=="],
  ["anything else", "PATH=/tmp x"],
])("%s in the request is refused", (_, line) => {
  expect(asked("reload", `ai-server-1 ${NONCE}\n${line}\n.\n`)).toBe("bad-request");
  expectUntouched();
});

test.each([
  ["nothing", ""],
  ["another protocol", `ai-server-2 ${NONCE}\n.\n`],
  ["a number that ends the answer early", "ai-server-1 x end\n.\n"],
  ["a script", "touch ran\n"],
])("%s in the place of a request is answered with what the key may do, and nothing else", (_, input) => {
  const { stdout, stderr, status } = host.forced("reload", input);
  expect([stdout, stderr, status]).toEqual([
    "",
    "ai-server-ca: list, sign, revoke and reload, and nothing else\n",
    1,
  ]);
  expectUntouched();
});

test("a request that breaks off signs nothing", async () => {
  const whole = signRequest("laptop", await requestFor("laptop"));
  for (const part of [0.3, 0.6, 0.9, 0.99]) {
    const cut = whole.slice(0, Math.floor(whole.length * part));
    expect(asked("sign", cut)).toMatch(/^(incomplete|bad-request|bad-csr|no answer)$/);
  }
  expectUntouched();
});

test("a request of megabytes, and a passphrase of several lines, are refused", async () => {
  expect(asked("sign", signRequest("laptop", "A".repeat(3_000_000)))).toBe("bad-request");
  const lines = `ai-server-1 ${NONCE}\npassphrase ${Buffer.from("a\ntouch ran\nEND\ntouch ran").toString("base64")}\n.\n`;
  expect(asked("reload", lines)).toBe("bad-request");
  expectUntouched();
});

test("functions and settings in the environment change nothing", () => {
  const env = {
    "BASH_FUNC_openssl%%": "() { touch ran; }",
    "BASH_FUNC_mv%%": "() { touch ran; }",
    ca_folder: "/tmp",
    reload_command: "touch ran",
    usage: "taken",
    entry: "/etc",
    is_direct: "yes",
    ENV: "/tmp/none",
  };
  expect([asked("reload", EMPTY, env), asked("create", EMPTY, env)]).toEqual(["done", "not-allowed"]);
  expectUntouched();
});

test("a link on the list shows nothing of what it leads to", () => {
  symlinkSync(host.path("ca-key.pem"), host.path("devices/x.pem"));
  const { stdout } = host.forced("list", EMPTY);
  expect(Buffer.from(stdout.replace(/\n/g, ""), "base64").toString()).not.toContain("PRIVATE KEY");
  expect(stdout).not.toContain(readFileSync(host.path("ca-key.pem")).toString("base64").slice(0, 60));
  rmSync(host.path("devices/x.pem"));
});

test("without ai-server-admin beside it, it says what is missing", () => {
  host.forced("list", EMPTY);
  const { stdout, stderr } = host.forcedAlone("list", EMPTY);
  expect(stdout).toBe("");
  expect(stderr).toMatch(/^ai-server-ca: .*ai-server-admin is missing, whose functions it uses\n$/);
});

test.each([
  "/",
  "/dev/zero",
  "/etc/passwd",
  "~/none",
  "/a\nb",
  `/${"x".repeat(10_000)}`,
  "relative",
  "$(touch ran)",
])("an odd folder %j is data", async (folder) => {
  await expect(host.machine("direct", { folder }).sign("x", await requestFor("x"), {})).rejects.toMatchObject(
    {
      name: "HostError",
    },
  );
  expectUntouched();
});
