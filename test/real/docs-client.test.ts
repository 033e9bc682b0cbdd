import { cp, readFile, symlink } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { readConfig } from "../../config.ts";
import { docsBlock, withOwn } from "../support/docs.ts";
import { DocsPlace } from "../support/docs-place.ts";
import { NEWEST_PI, piCommand, piProblem, REPOSITORY } from "../support/pi.ts";
import { realSuite } from "../support/programs.ts";
import { type StandIn, startStandIn } from "../support/stand-in.ts";

const block = (name: string): string => docsBlock("client.md", name);
realSuite(await piProblem(NEWEST_PI), `the documented installation, with pi ${NEWEST_PI}`, () => {
  let place: DocsPlace;
  let standIn: StandIn;

  beforeAll(async () => {
    place = new DocsPlace();
    standIn = await startStandIn();
    const agentDir = join(place.home, ".pi/agent");
    const certs = standIn.env.AI_SERVER_CERTS_DIR ?? "";
    await cp(certs, join(agentDir, "certs"), { recursive: true });
    const { command, args, env } = await piCommand({
      version: NEWEST_PI,
      args: [],
      agentDir,
      offline: false,
    });
    const quoted = [command, ...args].map((word) => `'${word}'`).join(" ");
    place.tool("pi", `exec ${quoted} "$@"`);
    Object.assign(place.env, { ...env, PATH: `${place.tools}:${env.PATH}`, HOME: place.home });
    // Its dependencies are there; install.test.ts has npm bring them.
    await symlink(REPOSITORY, join(place.home, "pi-ai-server"));
    await place.runOk(withOwn(block("install"), { "npm install --omit=dev": ":" }));
  });
  afterAll(async () => {
    await standIn.stop();
    place.remove();
  });

  /** Lines of the page behind the one that sets the address. */
  const withUrl = (lines: string): string =>
    withOwn(block("url"), { "https://ai.example.org": standIn.url }) + lines;

  test("is known to pi", async () => {
    const settings = JSON.parse(await readFile(join(place.home, ".pi/agent/settings.json"), "utf8"));
    expect(settings.packages).toHaveLength(1);
    expect((await place.runOk("pi list")).stdout).toContain("pi-ai-server");
  });

  test("lists the server's models", async () => {
    const { stdout, stderr } = await place.runOk(withUrl(block("list")));
    expect(stderr).toBe("");
    for (const id of standIn.modelIds) expect(stdout).toMatch(new RegExp(`^ai-server +${id} `, "m"));
  });

  test("holds a first turn", async () => {
    const lines = withOwn(block("first-turn"), {
      "Qwen_Qwen3.6-35B-A3B-Q8_0": "small",
      "Say hello": "sim: say Hello.",
    });
    expect((await place.runOk(withUrl(lines))).stdout).toBe("Hello.\n");
  });

  test("is taken out again", async () => {
    await place.runOk('cd pi-ai-server; pi remove "$PWD"');
    const settings = JSON.parse(await readFile(join(place.home, ".pi/agent/settings.json"), "utf8"));
    expect(settings.packages ?? []).toEqual([]);
  });
});

test("another server's address and folder are read as they are written", async () => {
  const place = new DocsPlace();
  try {
    const { stdout } = await place.runOk(
      `${block("other-server")}printf '%s\\n' "$AI_SERVER_URL" "$AI_SERVER_CERTS_DIR"`,
    );
    const [AI_SERVER_URL, AI_SERVER_CERTS_DIR] = stdout.split("\n");
    const config = readConfig({ AI_SERVER_URL, AI_SERVER_CERTS_DIR }, {}, join(place.home, ".pi/agent"));
    expect(config.origin).toBe("https://other.example.org");
    expect(config.clientCert).toBe(join(place.home, ".pi/agent/certs-other/client.pem"));
  } finally {
    place.remove();
  }
});
