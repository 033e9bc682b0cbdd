import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import {
  type AdminPlace,
  AdminServer,
  CONFIG,
  MODEL_IDS,
  makeAdminPlace,
  SECRETS,
} from "../support/admin-server.ts";
import { NEWEST_PI, piProblem, runPi } from "../support/pi.ts";
import type { Finished } from "../support/processes.ts";
import { realSuite } from "../support/programs.ts";
import { parseJsonLines } from "../support/rpc.ts";

const BACKUP = "20260102T030405Z";
/** Neither the tool nor the models' files are on this machine. */
const FIT_NOT_KNOWN = expect.stringMatching(/^What fits is not known: /);
const NOBODY_TO_ASK = /^This command asks before it changes anything, and (print|json) mode cannot ask/;

let server: AdminServer;
beforeAll(async () => {
  server = await AdminServer.start();
});
afterAll(() => server.stop());

realSuite(await piProblem(NEWEST_PI), `administration in print and JSON mode, pi ${NEWEST_PI}`, () => {
  let place: AdminPlace;

  beforeAll(async () => {
    place = await makeAdminPlace(NEWEST_PI, server);
  });
  afterAll(() => place.remove());
  beforeEach(() => server.reset());

  /** Runs these commands, one after another, in one pi, which ends as each of them did. */
  async function print(...lines: string[]): Promise<Finished> {
    const finished = await runPi(place.options(["-p", ...lines]));
    expect(finished.code).toBe(errors(finished).length > 0 ? 1 : 0);
    expect(finished.stdout + finished.stderr).not.toMatch(/\n +at |\bundefined\b|\[object /);
    for (const secret of SECRETS) expect(finished.stdout + finished.stderr).not.toContain(secret);
    return finished;
  }

  /** Errors and what is waited for, without the latter. */
  function errors({ stderr }: Finished): string[] {
    return stderr.split("\n").filter((line) => line !== "" && !line.endsWith("…"));
  }

  test("status, context, backups and refresh: the answers and nothing else on standard output", async () => {
    writeFileSync(`${server.host.path}.bak-${BACKUP}`, CONFIG.replace("65536", "32768"));
    const finished = await print(
      "/ai-server-status",
      "/ai-server-status a model with spaces --ssh",
      "/ai-server-ctx org/Größe:Q4",
      '/ai-server-ctx "steady"',
      "/ai-server-rollback",
      "/ai-server-refresh",
    );
    expect(errors(finished)).toEqual([]);
    const { path } = server.host;
    const lines = finished.stdout.split("\n");
    const head = expect.stringMatching(/^https:\/\/127\.0\.0\.1:\d+ · llama-swap 250$/);
    expect(lines).toEqual([
      head,
      expect.stringMatching(/^Model +State +Context +From +Unloads +Vision +Thinking$/),
      ...MODEL_IDS.map((id) => expect.stringMatching(new RegExp(`^${id} +unloaded +\\S+`))),
      head,
      "a model with spaces",
      ...["State +unloaded", "Context +–", "Output +\\d+ tokens \\(default\\)"].map(shaped),
      ...["Vision", "Thinking", "Tools", "Trained", "Size", "Quantised", "Unloads"].map((what) =>
        shaped(`${what} +–`),
      ),
      shaped("Runs on +https://127\\.0\\.0\\.1:\\d+"),
      "",
      "this machine: reachable",
      "stand-in.service: active, running",
      `${path}: -rw-r-----, 5 models`,
      FIT_NOT_KNOWN,
      expect.stringMatching(/^~\/models: .* free · downloads with (hf|curl)$/),
      "org/Größe:Q4",
      `Context size: 32768 tokens (32k), set by --ctx-size in ${path}, line 14.`,
      FIT_NOT_KNOWN,
      "steady",
      `Context size: 65536 tokens (64k), set by --ctx-size in ${path}, line 7.`,
      FIT_NOT_KNOWN,
      expect.stringMatching(
        new RegExp(`^${BACKUP} · 2026-01-0\\d \\d\\d:04:05 · [\\d.]+ \\S+ · \\+1 −1 lines$`),
      ),
      "Nothing changed: 5 models.",
      "",
    ]);
  });

  test("the config, and one model's part of it, without its secrets", async () => {
    const whole = await print("/ai-server-preset");
    expect(errors(whole)).toEqual([]);
    expect(whole.stdout.trimEnd()).toBe(SECRETS.reduce(masked, CONFIG).trimEnd());

    const part = await print("/ai-server-preset steady");
    expect(errors(part)).toEqual([]);
    expect(part.stdout).toMatch(/^ {2}steady:\n {4}cmd: .* # sixty-four\n {4}metadata: .*\n$/);
  });

  test("load and unload of one model, and its log to the last line", async () => {
    const loaded = await print("/ai-server-load org/Größe:Q4");
    expect(loaded.stdout).toMatch(
      /^org\/Größe:Q4 is loaded; it took [\d.]+ s\.\nA request may use 32768 tokens \(32k\)\.\n$/,
    );
    expect(errors(loaded)).toEqual([]);
    expect([...(await server.running())]).toEqual([["org/Größe:Q4", "ready"]]);

    const log = await print("/ai-server-logs org/Größe:Q4");
    expect(errors(log)).toEqual([]);
    expect(log.stdout).toMatch(/main: server is listening - starting the main loop\n/);

    const unloaded = await print("/ai-server-unload org/Größe:Q4", "/ai-server-unload");
    expect(unloaded.stdout).toBe("org/Größe:Q4 is unloaded.\nNo model is loaded.\n");
    expect((await server.running()).size).toBe(0);
  });

  test("a load that fails says why on standard error, and pi ends with exit status 1", async () => {
    const failed = await print("/ai-server-load failing");
    expect(failed.stdout).toBe("");
    expect(failed.stderr).toMatch(/^failing could not be loaded/m);
    expect(failed.stderr).toMatch(/out of memory/);
    expect(failed.code).toBe(1);
  });

  test("the unit's journal to the last line", async () => {
    server.journal = Array.from({ length: 700 }, (_, index) => `line ${index + 1}`);
    const journal = await print("/ai-server-logs");
    expect(errors(journal)).toEqual([]);
    const lines = journal.stdout.trimEnd().split("\n");
    expect(lines.at(-1)).toBe("line 700");
    expect(lines.filter((line) => line.startsWith("line "))).toHaveLength(500);
  });

  test.each(["print", "json"] as const)(
    "in %s mode what has to be asked is refused, and changes nothing",
    async (mode) => {
      writeFileSync(`${server.host.path}.bak-${BACKUP}`, CONFIG.replace("65536", "32768"));
      await server.load("steady");
      const lines = [
        "/ai-server-ctx steady 32k",
        "/ai-server-restart",
        `/ai-server-rollback ${BACKUP}`,
        "/ai-server-unload",
      ];
      const refusal = expect.stringMatching(NOBODY_TO_ASK);
      if (mode === "print") {
        const finished = await print(...lines);
        expect([errors(finished), finished.stdout]).toEqual([lines.map(() => refusal), ""]);
      } else {
        const finished = await runPi(place.options(["--mode", "json", ...lines]));
        expect([finished.code, errors(finished)]).toEqual([1, []]);
        expect(answersIn(finished.stdout)).toEqual(
          ["ctx", "restart", "rollback", "unload"].map((name) => ({
            type: "ai_server_result",
            command: `ai-server-${name}`,
            ok: false,
            level: "error",
            lines: [refusal],
          })),
        );
      }
      expect(server.host.text).toBe(CONFIG);
      expect(server.host.backups).toHaveLength(1);
      expect(server.host.leftovers).toEqual([]);
      expect(server.restarts).toBe(0);
      expect([...(await server.running())]).toEqual([["steady", "ready"]]);
    },
  );

  test("what cannot be read is a sentence on standard error", async () => {
    const finished = await print(
      "/ai-server-load stedy",
      "/ai-server-ctx",
      "/ai-server-ctx steady much",
      "/ai-server-rollback yesterday",
      "/ai-server-logs nothing of the kind",
      "/ai-server-preset 'slow and steady'",
    );
    expect(finished.stdout).toBe("No backups yet: each change of the config makes one.\n");
    expect(errors(finished)).toEqual([
      'No model "stedy". Did you mean "steady"?',
      expect.stringMatching(/^Name a model\. The server has .*steady/),
      '"much" is not a context size. Give a number of tokens (65536, 64k, 1m) or max.',
      expect.stringMatching(/^No model "nothing"\./),
      expect.stringMatching(/^No model "slow and steady"\./),
    ]);
  });

  test("in JSON mode each command puts one object among pi's events, with the models as data", async () => {
    await server.load("steady");
    const { code, stdout, stderr } = await runPi(
      place.options([
        "--mode",
        "json",
        ...["/ai-server-status", "/ai-server-ctx steady", "/ai-server-preset", "/ai-server-logs"],
        ...["/ai-server-logs steady", "/ai-server-unload steady", "/ai-server-rollback", "sim: say Done."],
        ...["/ai-server-last", "/ai-server-refresh"],
      ]),
    );
    expect(code).toBe(0);
    const events = parseJsonLines(stdout);
    expect(events[0]).toMatchObject({ type: "session" });
    expect(events.at(-1)).toMatchObject({ type: "ai_server_result", command: "ai-server-refresh" });
    const answers = answersIn(stdout);
    expect(answers.map(({ command, ok }) => [command, ok])).toEqual(
      ["status", "ctx", "preset", "logs", "logs", "unload", "rollback", "last", "refresh"].map((name) => [
        `ai-server-${name}`,
        true,
      ]),
    );
    const [status, ctx, config, journal, log, unload, rollback, last, refresh] = answers;
    const models = MODEL_IDS.map((id) => ({ id, state: id === "steady" ? "ready" : "unloaded" }));
    expect(status).toMatchObject({ server: { name: "llama-swap" }, models });
    expect(status?.models).toContainEqual(
      expect.objectContaining({ id: "steady", context: 65_536, contextFrom: "live", vision: false }),
    );
    expect(ctx?.lines).toContainEqual(expect.stringMatching(/^Context size: 65536/));
    expect(config).toMatchObject({ title: server.host.path, lines: expect.arrayContaining(["models:"]) });
    expect([journal?.lines, unload?.lines]).toEqual([
      expect.arrayContaining(["started"]),
      ["steady is unloaded."],
    ]);
    expect(log?.lines).toContainEqual(expect.stringMatching(/^main: server is listening/));
    expect(rollback?.lines).toEqual([expect.stringMatching(/^No backups yet/)]);
    expect(last?.turns).toMatchObject([{ model: "steady", tokens: expect.any(Number) }]);
    expect(refresh?.models).toMatchObject(MODEL_IDS.map((id) => ({ id })));
    for (const secret of SECRETS) expect(stdout + stderr).not.toContain(secret);
  });

  test("nothing is left of the runs", async () => {
    const { readdir } = await import("node:fs/promises");
    expect((await readdir(place.tmp)).filter((name) => name.startsWith("pi-ssh-"))).toEqual([]);
    expect(await readdir(join(place.folder))).toEqual(["agent", "home", "tmp"]);
  });
});

interface Answer {
  readonly command?: string;
  readonly ok?: boolean;
  readonly lines?: readonly string[];
  readonly models?: unknown;
  readonly turns?: unknown;
}

/** What the commands put among pi's events. */
function answersIn(stdout: string): Answer[] {
  return parseJsonLines(stdout).filter(({ type }) => type === "ai_server_result") as Answer[];
}

function masked(text: string, secret: string): string {
  return text.replace(secret, "••••");
}

function shaped(row: string): unknown {
  return expect.stringMatching(new RegExp(`^ {2}${row}$`));
}
