import { execFileSync } from "node:child_process";
import { readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { siteLines } from "../../host/ca/caddyfile.ts";
import { readAnswer } from "../../host/ssh/protocol.ts";
import { docsBlock, readPage, withOwn } from "../support/docs.ts";
import { DocsPlace } from "../support/docs-place.ts";
import { REPOSITORY } from "../support/pi.ts";
import { missingProgram, realSuite } from "../support/programs.ts";

const block = (name: string): string => docsBlock("devices.md", name);

/** The value that an `export` line of the page gives its variable, as a shell reads it. */
function exported(name: string): string {
  const lines = `${block(name)}\nset -f; printf '%s' "$AI_SERVER_CADDY_RELOAD$AI_SERVER_CA_HOST"`;
  return execFileSync("sh", ["-e", "-c", lines], { env: { PATH: process.env.PATH ?? "" }, encoding: "utf8" });
}

// Both sites were run in devices.test.ts: there they come from the function that shows them.
test.each([
  ["devices-site", "2.11.2"],
  ["devices-site-2.6", "2.6.2"],
])("the page's %s is what the command shows", (name, version) => {
  const lines = siteLines("ai.example.org", "/srv/ai-server-ca", { version });
  expect(block(name)).toBe(`${lines.join("\n")}\n`);
});

test("the restart and the host are one word for their variables", () => {
  expect(exported("devices-restart")).toBe("sudo -n /usr/bin/systemctl restart caddy");
  expect(exported("ca-host")).toBe("ca");
});

test("the defaults on the page are the code's", async () => {
  const { DEFAULTS } = await import("../../config.ts");
  expect(readPage("devices.md")).toContain(`| \`AI_SERVER_CA_DIR\` | \`${DEFAULTS.AI_SERVER_CA_DIR}\` |`);
});

realSuite(missingProgram("openssl"), "the key for devices alone, set up as documented", () => {
  let place: DocsPlace;
  beforeEach(() => {
    place = new DocsPlace();
    place.folder = REPOSITORY;
    // The other machine is a home of its own.
    place.tool("ssh", `for last; do :; done; HOME='${place.home}/there' exec sh -c "$last"`);
    execFileSync("mkdir", ["-p", join(place.home, "there")]);
  });
  afterEach(() => place.remove());

  test("both programs are put there, and answer to the verbs", async () => {
    await place.runOk(block("ca-install"));
    const there = join(place.home, "there/.local/bin");
    for (const name of ["ai-server-admin", "ai-server-ca"]) {
      expect(statSync(join(there, name)).mode & 0o777).toBe(0o755);
      expect(readFileSync(join(there, name))).toEqual(readFileSync(join(REPOSITORY, "host", name)));
    }
    const nonce = "0123456789abcdef0123456789abcdef";
    const run = (verb: string): string =>
      execFileSync(join(there, "ai-server-ca"), {
        env: { PATH: process.env.PATH, HOME: join(place.home, "there"), SSH_ORIGINAL_COMMAND: verb },
        input: `ai-server-1 ${nonce}\n.\n`,
        encoding: "utf8",
        stdio: ["pipe", "pipe", "pipe"],
      });
    const { answer } = readAnswer(run("list"), nonce);
    expect(answer?.lines.map(({ key, value }) => [key, value])[0]).toEqual(["authority", "none"]);
  });

  test("the values on the page are those of the program", () => {
    const program = readFileSync(join(REPOSITORY, "host/ai-server-ca"), "utf8");
    for (const line of block("ca-values").trimEnd().split("\n")) expect(program).toContain(`\n${line}\n`);
  });

  test("sshd takes the line before the key", () => {
    const key = join(place.home, "key");
    execFileSync("ssh-keygen", ["-q", "-t", "ed25519", "-N", "", "-f", key]);
    const [type = "", value = ""] = readFileSync(`${key}.pub`, "utf8").split(" ");
    const line = withOwn(block("ca-authorized-keys"), { "ssh-ed25519 AAAA…": `${type} ${value}` });
    const file = place.write("authorized_keys", line);
    expect(execFileSync("ssh-keygen", ["-lf", file], { encoding: "utf8" })).toContain("devices (ED25519)");
    expect(line).toMatch(/^restrict,command="\/home\/ai-server\/\.local\/bin\/ai-server-ca" /);
  });
});
