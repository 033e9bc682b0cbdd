import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { chmodSync, mkdtempSync, renameSync, rmSync, symlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { httpProbe } from "../../admin/change.ts";
import { readConfig } from "../../config.ts";
import { planAddition, planRemoval } from "../../host/config/config-file.ts";
import type { ChangeOutcome, Edit, StepName } from "../../host/outcome.ts";
import type { ServerProbe } from "../../host/probe.ts";
import type { ChangeHost } from "../../host/service.ts";
import { type HostFile, RemoteMachine } from "../../host/ssh/machine.ts";
import { ModelServer } from "../../server/model-server.ts";
import { FAKE_DEEDS, FakeServer, fakePlan } from "../support/fake-server.ts";
import { checkFile, KILL_SEED, killedClient, PROGRAMS, prepareKill, prepareUnit } from "../support/kill.ts";
import { FILE } from "../support/local-host.ts";
import { freePort } from "../support/network.ts";
import { missingProgram, realSuite } from "../support/programs.ts";
import { seeded } from "../support/random.ts";
import { Sshd, SshHost } from "../support/sshd.ts";
import { Supervisor } from "../support/supervisor.ts";
import { changeAt, type Hooks } from "../support/whole-change.ts";

const CONFIG = `# two models, one at a time
models:
  "org/Model:Q8":
    cmd: llama-server --port \${PORT} --load 1 -m /m/one.gguf --ctx-size 4096
  other:
    cmd: llama-server --port \${PORT} --load 1 -m /m/other.gguf --ctx-size 2048
`;
const MODEL = "org/Model:Q8";
const LIMITS = { restartTimeoutMs: 10_000, loadTimeoutMs: 10_000, pollMs: 50, reloadTimeoutMs: 500 };

const toSize =
  (size: number, more = "") =>
  (file: HostFile): Edit => ({
    file,
    text: resized(file.text, size, more),
    model: { id: MODEL, contextSize: size },
  });

const adding =
  (more = "") =>
  (file: HostFile): Edit => {
    const model = { id: "new", from: "other", file: "/m/new.gguf", context: 1024 };
    const { text, setting } = planAddition(file.text, "yaml", model);
    const { tokens = 0, slots } = setting;
    const added = { id: "new", contextSize: tokens, slots, isAdded: true };
    return { file, text: text.replace(/(new\.gguf.*)/, (line) => line + more), model: added };
  };

const removing =
  (id: string) =>
  (file: HostFile): Edit => ({ file, text: planRemoval(file.text, "yaml", id).text, removed: { id } });

const resized = (text: string, size: number, more = ""): string =>
  text.replace(/(one\.gguf --ctx-size )\d+.*/, (_all, before: string) => `${before}${size}${more}`);

realSuite(missingProgram("ssh", "sshd"), "a change over a real sshd", () => {
  let sshd: Sshd;
  beforeAll(async () => {
    sshd = await Sshd.start();
  });
  afterAll(() => sshd.stop());

  describe.each(["shell", "wrapper"] as const)("with the stand-in, by %s", (login) => {
    let host: SshHost;
    let supervisor: Supervisor;
    let server: ModelServer;
    let probe: ServerProbe;
    let requests: string;

    beforeEach(async () => {
      host = new SshHost(sshd, login, CONFIG);
      requests = mkdtempSync(join(tmpdir(), "supervisor-"));
      chmodSync(requests, 0o777);
      supervisor = new Supervisor(host.folder, await freePort(), requests);
      for (const [name, script] of Object.entries(supervisor.programs())) host.tool(name, script);
      await supervisor.start();
      server = new ModelServer(readConfig({ AI_SERVER_URL: supervisor.url }, {}, "/nowhere"));
      const backend = await server.backend(AbortSignal.timeout(5000));
      probe = httpProbe(server, { onLoading: () => {}, onLoaded: () => {} }, backend);
    });
    afterEach(async () => {
      await server.close();
      await supervisor.stop();
      await host.remove();
      rmSync(requests, { recursive: true, force: true });
    });

    function ends(restartTimeoutMs = LIMITS.restartTimeoutMs): ChangeHost {
      return { machine: host.machine(), probe, limits: { ...LIMITS, restartTimeoutMs } };
    }

    async function loadedNow(): Promise<string[]> {
      return (await probe.running(AbortSignal.timeout(5000))).map(({ id }) => id);
    }

    function change(plan: (file: HostFile) => Edit, hooks: Hooks = {}): Promise<ChangeOutcome> {
      return changeAt(ends(), plan, hooks);
    }

    test("the server has the new context, over one connection, and loads what it had loaded", async () => {
      await probe.load("other", AbortSignal.timeout(5000));
      const before = sshd.logins;
      expect(await change(toSize(8192))).toMatchObject({
        kind: "changed",
        context: { kind: "as asked", tokens: 8192 },
        notes: [],
      });
      expect(sshd.logins - before).toBe(1);
      expect(supervisor.restarts).toBe(1);
      const running = await probe.running(AbortSignal.timeout(5000));
      expect(running.map(({ id }) => id)).toEqual(["other"]);
      expect(host.text).toBe(resized(CONFIG, 8192));
      expect(host.backups).toHaveLength(1);
      expect(host.leftovers).toEqual([]);
    });

    test("a config that the server refuses: the old one is back, and its own words are the reason", async () => {
      await probe.load(MODEL, AbortSignal.timeout(5000));
      const broken = (file: HostFile): Edit => ({
        file,
        text: `${file.text}models: [}\n`,
        model: { id: MODEL },
      });
      const began = Date.now();
      expect(await changeAt(ends(1500), broken)).toMatchObject({
        kind: "rolled back",
        failed: "answer",
        log: expect.arrayContaining([expect.stringMatching(/failed to load config/)]),
        file: "old",
        isHealthy: true,
        notes: [],
      });
      expect(Date.now() - began).toBeLessThan(15_000);
      expect(host.text).toBe(CONFIG);
      const [model] = await probe.running(AbortSignal.timeout(5000));
      expect(model?.commandLine).toContain("--ctx-size 4096");
    });

    test("a model comes in, after the pattern of another, and goes again", async () => {
      await probe.load("other", AbortSignal.timeout(5000));
      expect(await change(adding())).toMatchObject({
        kind: "changed",
        context: { kind: "as asked", tokens: 1024 },
        notes: [],
      });
      expect(host.text).toBe(
        `${CONFIG}  new:\n    cmd: llama-server --port \${PORT} --load 1 -m /m/new.gguf --ctx-size 1024\n`,
      );
      expect(await loadedNow()).toEqual(["other"]);
      expect(await change(removing("other"))).toMatchObject({ kind: "changed", notes: [] });
      expect(await change(removing("new"))).toMatchObject({ kind: "changed", notes: [] });
      expect([host.text, await loadedNow()]).toEqual([CONFIG.replace(/ {2}other:\n.*\n/, ""), []]);
      expect(await probe.lists("other", AbortSignal.timeout(5000))).toBe(false);
      expect([supervisor.restarts, host.leftovers]).toEqual([3, []]);
    });

    test("a new model that does not load goes again, and what was loaded is loaded again", async () => {
      await probe.load("other", AbortSignal.timeout(5000));
      expect(await change(adding(" --fail-after 1"))).toMatchObject({
        kind: "rolled back",
        failed: "load",
        file: "old",
        isHealthy: true,
        notes: [],
      });
      expect([host.text, await loadedNow()]).toEqual([CONFIG, ["other"]]);
    });

    test("the stand-in killed at any step: the file is whole, and the next try works", async () => {
      const random = seeded(KILL_SEED + login.length);
      const steps: StepName[] = ["write", "restart", "load", "verify"];
      for (const step of steps) {
        const old = host.text;
        const size = 4096 + 256 * Math.ceil(random() * 1000);
        const outcome = await change(toSize(size), {
          report: (progress) => {
            if (progress.step !== step || progress.state !== "begun" || progress.isGoingBack) return;
            setTimeout(() => void supervisor.kill(), random() * 60);
          },
        });
        const now = resized(CONFIG, size);
        expect([old, now]).toContain(host.text);
        expect(host.text, JSON.stringify(outcome)).toBe(outcome.kind === "changed" ? now : old);
        expect(await change(toSize(size + 256))).toMatchObject({ kind: "changed" });
        expect(host.leftovers).toEqual([]);
      }
    });

    // The rest uses the same verbs again, in other orders.
    if (login === "wrapper") return;

    test("a model that no longer loads: the old one is back", async () => {
      expect(await change(toSize(8192, " --load 60 --fail-after 1"))).toMatchObject({
        kind: "rolled back",
        failed: "load",
        // The reason quotes the end of the log, so the outcome does not repeat it.
        reason: expect.stringMatching(/exited prematurely[\s\S]*out of memory/),
        log: [],
        file: "old",
        isHealthy: true,
      });
      expect(host.text).toBe(CONFIG);
    });

    test("a server that never comes back is said to be down, with the old file in place", async () => {
      host.tool("systemctl", `case $2 in restart) exit 0 ;; *) echo LoadState=loaded ;; esac`);
      const outcome = await changeAt(ends(500), toSize(8192), {
        report: ({ step, state }) => {
          if (step === "write" && state === "done") void supervisor.kill();
        },
      });
      expect(outcome).toMatchObject({
        kind: "rolled back",
        failed: "answer",
        file: "old",
        isHealthy: false,
        trouble: expect.stringMatching(/did not answer again within 1 s/),
      });
      expect(host.text).toBe(CONFIG);
    });

    test("a linked file is changed where it lies", async () => {
      const real = mkdtempSync(join(sshd.home, "dotfiles-"));
      sshd.own(real);
      renameSync(host.path, join(real, FILE));
      symlinkSync(join(real, FILE), host.path);
      expect(await change(toSize(8192))).toMatchObject({ kind: "changed" });
      expect(host.text).toBe(resized(CONFIG, 8192));
      expect(host.backups).toEqual([]);
      rmSync(real, { recursive: true });
    });
  });

  const KILLS = 32;
  const WHO = ["ssh", "connection", "shell", "client"] as const;
  const DEEDS = ["size", "add", "remove"] as const;

  test(`${KILLS} kills of ${WHO.join(", ")} over ssh (seed ${KILL_SEED})`, { timeout: 300_000 }, async () => {
    const random = seeded(KILL_SEED);
    const kinds = new Map<string, number>();
    for (let index = 0; index < KILLS; index++) {
      const who = WHO[index % WHO.length] ?? "ssh";
      const login = Math.floor(index / WHO.length) % 2 === 0 ? "shell" : "wrapper";
      const step: StepName =
        (["read", "write", "write", "restart"] as const)[Math.floor(random() * 4)] ?? "write";
      const delayMs = random() * 150;
      // The client as a process of its own makes one change only.
      const deed = FAKE_DEEDS[who === "client" ? "size" : (DEEDS[index % DEEDS.length] ?? "size")];
      const host = new SshHost(sshd, login, deed.old);
      try {
        prepareUnit(host);
        const kill = { who, step, delayMs, at: 1 + Math.floor(random() * 55) };
        const outcome = await hit(host, kill, deed);
        for (const name of PROGRAMS) rmSync(join(host.tools, name), { force: true });
        // Waits for a script that may still be at its work.
        await host.machine().read();
        checkFile(host, deed.old, [deed.old, deed.now()], outcome);
        const end = `${who} ${outcome?.kind ?? "gone"} ${host.text === deed.old ? "old" : "new"}`;
        kinds.set(end, (kinds.get(end) ?? 0) + 1);
        const ends = { machine: host.machine(), probe: fake(host), limits: LIMITS };
        const next = await changeAt(ends, fakePlan(4096));
        expect(next, JSON.stringify(next)).toMatchObject({ kind: "changed" });
        expect(host.leftovers).toEqual([]);
      } catch (error) {
        throw new Error(`kill ${index}: ${who} by ${login} in ${step} after ${delayMs} ms`, { cause: error });
      } finally {
        await host.remove();
      }
    }
    process.stdout.write(`killed ${KILLS} over ssh: ${JSON.stringify([...kinds].sort())}\n`);
  });

  function fake(host: SshHost): FakeServer {
    return new FakeServer(host.path, join(host.tools, "restarts"));
  }

  /** One change with one kill in it; undefined where no client is left to report how it ended. */
  async function hit(
    host: SshHost,
    kill: { who: (typeof WHO)[number]; step: StepName; delayMs: number; at: number },
    deed: (typeof FAKE_DEEDS)[(typeof DEEDS)[number]],
  ): Promise<ChangeOutcome | undefined> {
    if (kill.who === "client") {
      const job = {
        settings: host.settings(),
        restarts: join(host.tools, "restarts"),
        sshConfig: sshd.clientConfig(host.login),
      };
      sshd.installWrapper(job.settings);
      await killedClient(job, kill.step, kill.delayMs);
      return undefined;
    }
    if (kill.who === "shell") prepareKill(host, { at: kill.at, who: "all", when: "before" });
    let last: ChildProcess | undefined;
    const watched = ((program: string, args: string[], options: object) => {
      last = spawn(program, args, options);
      return last;
    }) as typeof spawn;
    const shell = host.shell({}, watched);
    const killIn = (step: StepName): void => {
      if (step !== kill.step || kill.who === "shell") return;
      setTimeout(() => (kill.who === "ssh" ? last?.kill("SIGKILL") : killMaster(host, last)), kill.delayMs);
    };
    const report: Hooks["report"] = ({ step, state }) => {
      if (state === "begun") killIn(step);
    };
    killIn("read");
    const ends = { machine: new RemoteMachine(shell, 5000), probe: fake(host), limits: LIMITS };
    return changeAt(ends, deed.plan(), { report }).catch((error: unknown) => {
      expect(error).toMatchObject({ name: "HostError" });
      expect(host.text).toBe(deed.old);
      return undefined;
    });
  }

  /** Kills the process that holds the shared connection, as a network that goes away would. */
  function killMaster(host: SshHost, last: ChildProcess | undefined): void {
    const socket = last?.spawnargs.find((arg) => arg.startsWith("-oControlPath="));
    if (socket === undefined) return;
    try {
      const args = ["-F", sshd.clientConfig(host.login), "-Ocheck", socket, "127.0.0.1"];
      const said = execFileSync("sh", ["-c", 'exec ssh "$@" 2>&1', "sh", ...args], { encoding: "utf8" });
      process.kill(Number(/pid=(\d+)/.exec(said)?.[1]), "SIGKILL");
    } catch {
      // The connection is not there yet, or not any more.
    }
  }
});
