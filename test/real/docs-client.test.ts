import { cp, readFile, symlink } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { readConfig } from "../../config.ts";
import { docsBlock, withOwn } from "../support/docs.ts";
import { DocsPlace } from "../support/docs-place.ts";
import { freePort } from "../support/network.ts";
import { EXTENSION, makeWorkplace, NEWEST_PI, piCommand, piProblem, REPOSITORY } from "../support/pi.ts";
import { eventually, run } from "../support/processes.ts";
import { missingProgram, realSuite } from "../support/programs.ts";
import { Sshd } from "../support/sshd.ts";
import { type StandIn, startStandIn } from "../support/stand-in.ts";
import { processesWith } from "../support/terminal.ts";

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

realSuite(missingProgram("ssh", "sshd"), "the documented tunnel, through a real sshd", () => {
  let place: DocsPlace;
  let standIn: StandIn;
  let sshd: Sshd;
  let port: number;

  beforeAll(async () => {
    place = new DocsPlace();
    [standIn, sshd, port] = await Promise.all([startStandIn({ tls: "none" }), Sshd.start(), freePort()]);
    const options = `-F '${sshd.clientConfig("shell")}' -o StrictHostKeyChecking=no`;
    place.tool("ssh", `exec /usr/bin/env PATH='${process.env.PATH}' ssh ${options} "$@"`);
  });
  afterAll(async () => {
    // ssh has gone to the background.
    for (const pid of processesWith(`HOME=${place.home}`)) process.kill(pid, "SIGKILL");
    await sshd.stop();
    await standIn.stop();
    place.remove();
  });

  test("leads pi to a server that has neither Caddy nor certificates", async () => {
    const tunnel = withOwn(docsBlock("client.md", "tunnel"), {
      "8080:localhost:8080": `${port}:localhost:${new URL(standIn.url).port}`,
      "ai-server@192.168.2.3": `${sshd.user}@127.0.0.1`,
    });
    await place.runOk(tunnel);
    expect((await place.run(tunnel)).stderr).toContain("Address already in use");

    const workplace = await makeWorkplace();
    try {
      const line = withOwn(docsBlock("client.md", "tunnel-url"), { "localhost:8080": `localhost:${port}` });
      const { stdout } = await place.runOk(`${line}printf %s "$AI_SERVER_URL"`);
      const { command, args, cwd, env } = await piCommand({
        version: NEWEST_PI,
        args: ["-e", EXTENSION, "--model", "ai-server/small", "-p", "sim: say Hello."],
        agentDir: workplace.agentDir,
        env: { AI_SERVER_URL: stdout },
        offline: false,
      });
      const answer = () => run(command, args, { cwd, env, input: "", timeoutMs: 60_000 });
      expect(await answer()).toMatchObject({ code: 0, stdout: "Hello.\n" });
      expect(standIn.chats()).toHaveLength(1);

      for (const pid of processesWith(`HOME=${place.home}`)) process.kill(pid, "SIGKILL");
      await eventually(
        "the tunnel is gone",
        () => processesWith(`HOME=${place.home}`).length === 0 || undefined,
      );
      expect((await answer()).stderr).toMatch(/refused/);
    } finally {
      await workplace.remove();
    }
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
