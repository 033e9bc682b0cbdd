import { existsSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import { hostileWords, LONGEST, NOT_CLEAN } from "../support/admin-hostile.ts";
import { Dialogs, noticesIn, yes } from "../support/admin-rpc.ts";
import { type AdminPlace, AdminServer, CONFIG, makeAdminPlace, SECRETS } from "../support/admin-server.ts";
import { NEWEST_PI, piProblem, runPi } from "../support/pi.ts";
import { realSuite } from "../support/programs.ts";
import { RpcPi } from "../support/rpc.ts";

/** Those that read an argument. */
const COMMANDS = ["status", "load", "unload", "remove", "ctx", "preset", "rollback", "logs"];
const BACKUP = "20260102T030405Z";
const ESCAPES = "\u001b]52;c;cHduZWQ=\u0007\u001b[2J\u001b[31m";

/** A config with an id and a command line that hold what a terminal would obey, and secrets. */
const EVIL_ID = "evil\u001b]0;taken\u0007\u001b[31mred";
const EVIL = `${CONFIG}  "evil\\e]0;taken\\a\\e[31mred":
    cmd: llama-server --port \${PORT} -m /models/red.gguf --ctx-size 4096
  evil:
    cmd: "llama-server --port \${PORT} --load 0.2 -m '/models/\\e[2Jevil.gguf' --api-key ${SECRETS[0]} --ctx-size 4096"
  broken:
    cmd: llama-server --port \${PORT} --load 9 --fail-after 0.2 -m "/models/HF_TOKEN=${SECRETS[1]}"
`;

let server: AdminServer;
beforeAll(async () => {
  server = await AdminServer.start();
});
afterAll(() => server.stop());

realSuite(await piProblem(NEWEST_PI), `hostile input to the administration, pi ${NEWEST_PI}`, () => {
  const dialogs = new Dialogs();
  let place: AdminPlace;
  let pi: RpcPi;
  let canary: string;

  beforeAll(async () => {
    await server.reset();
    place = await makeAdminPlace(NEWEST_PI, server);
    canary = join(place.folder, "canary");
    pi = await RpcPi.start(place.options([]), dialogs.answer);
  });
  afterAll(async () => {
    await pi.close();
    await place.remove();
  });
  beforeEach(() => {
    dialogs.expect();
    return server.reset();
  });

  function expectClean(texts: readonly string[], longest = LONGEST): void {
    expect(texts).not.toEqual([]);
    for (const text of texts) {
      expect(text).not.toMatch(NOT_CLEAN);
      expect(text).not.toMatch(/\n +at |\[object |\bundefined\b/);
      expect(text.length).toBeLessThan(longest);
      for (const secret of SECRETS) expect(text).not.toContain(secret);
    }
  }

  /** Puts the server into a known state, so that any change is seen. */
  async function prepare(): Promise<() => Promise<void>> {
    writeFileSync(`${server.host.path}.bak-${BACKUP}`, CONFIG.replace("65536", "32768"));
    await server.load("steady");
    const asked = server.sim.requests.length;
    return async () => {
      expect(existsSync(canary)).toBe(false);
      expect(server.host.text).toBe(CONFIG);
      expect(server.host.backups).toEqual([`config.yaml.bak-${BACKUP}`]);
      expect(server.host.leftovers).toEqual([]);
      expect(server.restarts).toBe(0);
      expect([...(await server.running())]).toEqual([["steady", "ready"]]);
      const changing = server.sim.requests
        .slice(asked)
        .filter(({ method, path }) => method !== "GET" || path.startsWith("/upstream/"))
        // The facts of the model that is loaded.
        .filter(({ path }) => !path.startsWith("/upstream/steady/"));
      expect(changing).toEqual([]);
    };
  }

  test("over RPC: as an id, a size and a time stamp, bare and quoted", async () => {
    const expectUntouched = await prepare();
    const words = hostileWords(canary);
    const lines = COMMANDS.flatMap((name) => words.map((word) => `/ai-server-${name} ${word}`));
    for (const word of words) lines.push(`/ai-server-ctx steady ${word}`, `/ai-server-load "${word}"`);
    lines.push(...words.slice(0, 2).map((word) => `/ai-server-refresh ${word}`));
    for (const line of lines) {
      const notices = noticesIn(await pi.command(line, 10_000));
      expect(notices, line.slice(0, 100)).toHaveLength(1);
      expectClean(notices);
    }
    expect(dialogs.asked).toEqual([]);
    // It takes no argument, so it asks, and no answer comes.
    expect(noticesIn(await pi.command(`/ai-server-restart ${words[0]}`))).toEqual(["Nothing was restarted."]);
    await expectUntouched();
  });

  test("in print mode the same: a sentence each on standard error, and nothing is run", async () => {
    const expectUntouched = await prepare();
    const lines = hostileWords(canary).flatMap((word) => [
      ...["unload", "logs"].map((name) => `/ai-server-${name} ${word}`),
      `/ai-server-ctx steady ${word}`,
      `/ai-server-rollback ${word}`,
    ]);
    const { code, stdout, stderr } = await runPi(place.options(["-p", ...lines]));
    expect(code).toBe(1);
    expect(stdout).toBe("");
    const answers = stderr.split("\n").filter((line) => line !== "" && !line.endsWith("…"));
    expect(answers).toHaveLength(lines.length);
    expectClean(answers);
    await expectUntouched();
  });

  test("ids and command lines with terminal sequences and secrets are shown without them", async () => {
    await server.reset(EVIL);
    const status = noticesIn(await pi.command("/ai-server-status"));
    expectClean(status, 5000);
    expect(status.join()).toMatch(/^evil +unloaded/m);
    for (const id of ["evil", EVIL_ID]) {
      for (const name of ["load", "status", "ctx", "logs", "unload"]) {
        const notices = noticesIn(await pi.command(`/ai-server-${name} ${id}`));
        expectClean(notices, 5000);
        expect(notices.join()).toMatch(/evil|red\.gguf/);
      }
    }
    const failed = noticesIn(await pi.command("/ai-server-load broken"));
    expectClean(failed, 5000);
    expect(failed.join()).toMatch(/out of memory/);
    dialogs.expect(yes);
    expectClean(noticesIn(await pi.command("/ai-server-ctx evil 8k")), 5000);
    expectClean([dialogs.question()], 5000);
    expect(server.host.text).toBe(EVIL.replace('--ctx-size 4096"', '--ctx-size 8192"'));
    expectClean(noticesIn(await pi.command("/ai-server-preset")), 5000);
  });

  test("a journal with terminal sequences and secrets is shown without them", async () => {
    server.journal = [
      `${ESCAPES}one`,
      `two\u0008\u0008\u0008\rthree --api-key ${SECRETS[0]}`,
      `Authorization: Bearer ${SECRETS[0]} HF_TOKEN=${SECRETS[1]}`,
      "last \u202eline",
    ];
    const notices = noticesIn(await pi.command("/ai-server-logs"));
    expectClean(notices, 5000);
    expect(notices.join()).toMatch(/one\n[\s\S]*three --api-key ••••\n[\s\S]*last line/);
    const { stdout } = await runPi(place.options(["-p", "/ai-server-logs"]));
    expectClean([stdout], 5000);
    expect(stdout).toMatch(/^one\n/);
  });

  test("a unit that fails with terminal sequences and secrets in its words", async () => {
    const words = `Job failed: ${ESCAPES}llama-swap --api-key ${SECRETS[0]} HF_TOKEN=${SECRETS[1]}`;
    writeFileSync(join(server.host.tools, "words"), words);
    await server.load("steady");
    const restore = server.breakUnit(`cat '${join(server.host.tools, "words")}' >&2; exit 1`);
    try {
      expectClean(noticesIn(await pi.command("/ai-server-status --ssh")), 5000);
      dialogs.expect(yes);
      const failed = noticesIn(await pi.command("/ai-server-restart"));
      expectClean(failed, 5000);
      expect(failed.join()).toMatch(/Job failed/);
    } finally {
      restore();
    }
    expect([...(await server.running())]).toEqual([["steady", "ready"]]);
  });

  test("the same while a config is being changed: the old one is back", async () => {
    const words = `Job failed: ${ESCAPES}llama-swap --api-key ${SECRETS[0]} HF_TOKEN=${SECRETS[1]}`;
    writeFileSync(join(server.host.tools, "words"), words);
    const restore = server.breakUnit(`cat '${join(server.host.tools, "words")}' >&2; exit 1`);
    try {
      dialogs.expect(yes);
      const notices = noticesIn(await pi.command("/ai-server-ctx steady 32k"));
      expectClean(notices, 5000);
      expect(notices.join()).toMatch(/The previous config is restored/);
    } finally {
      restore();
    }
    expect(server.host.text).toBe(CONFIG);
  });
});
