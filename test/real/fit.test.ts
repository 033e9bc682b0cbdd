import { chmodSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { startOfCommand } from "../../host/config/command/model-start.ts";
import { type MemoryNeed, type StartedModel, sumOf } from "../../host/fit/fit.ts";
import type { ServerMemory } from "../../host/fit/server-memory.ts";
import { startedModel } from "../../host/fit/started.ts";
import { saying } from "../support/command-user.ts";
import { fitRow, plainModel } from "../support/fit-row.ts";
import { fitToolProblem, llamaPlaces, startLlamaServer, TINY_MODEL } from "../support/llama-server.ts";
import { LocalHost } from "../support/local-host.ts";
import { attentionModel, windowModel } from "../support/memory-model.ts";
import { missingProgram, realSuite } from "../support/programs.ts";
import { RouterPlace } from "../support/router-place.ts";
import { type Login, Sshd, SshHost } from "../support/sshd.ts";
import { TRAINED_CONTEXT } from "../support/tiny-model.ts";

const SIZES = [4096, 8192, 16_384, 32_768];

/** The sum of what a llama-server says it has allocated of one part, in MiB. */
function allocated(log: string, part: "model" | "KV" | "compute"): number {
  const sizes = [...log.matchAll(new RegExp(`${part} buffer size = +([\\d.]+) MiB`, "g"))];
  expect(sizes).not.toHaveLength(0);
  return sizes.reduce((sum, [, size]) => sum + Number(size), 0);
}

realSuite(fitToolProblem(), "llama-fit-params against a real llama-server of the same version", () => {
  const folder = mkdtempSync(join(tmpdir(), "fit-test-"));
  const attention = join(folder, "attention.gguf");
  const window = join(folder, "window.gguf");
  let host: LocalHost;
  let memory: ServerMemory;
  let programs: Awaited<ReturnType<typeof llamaPlaces>>;
  beforeAll(async () => {
    programs = await llamaPlaces();
    host = new LocalHost("models: {}\n");
    memory = host.memory();
    chmodSync(folder, 0o755);
    writeFileSync(attention, attentionModel());
    writeFileSync(window, windowModel());
  });
  afterAll(() => {
    host.remove();
    rmSync(folder, { recursive: true });
  });

  /** The model of a command, as a config has it. */
  function modelOf(file: string, args: readonly string[]): StartedModel {
    const command = [...programs.places, programs.program, "-m", file, ...args].join(" ");
    const start = startOfCommand(command, []);
    const model = start && startedModel(start);
    if (model?.kind !== "started") throw new Error(model?.reason ?? "Nothing is started");
    return model;
  }

  async function needOf(file: string, tokens: number, args: readonly string[]): Promise<MemoryNeed> {
    const need = await memory.need(modelOf(file, args), tokens);
    if (need.kind === "unknown") throw new Error(need.reason);
    return need;
  }

  async function logOf(file: string, tokens: number, args: readonly string[]): Promise<string> {
    const size = ["-c", String(tokens)];
    const server = await startLlamaServer({
      args: ["-m", file, "-lv", "4", "--no-warmup", ...size, ...args],
    });
    await server.stop();
    return server.log();
  }

  /** Of the sum and of each part: within two of a hundred, or 8 MiB. */
  function expectSame(need: MemoryNeed, log: string): void {
    const sum = (part: "weightsMiB" | "contextMiB" | "computeMiB"): number =>
      need.devices.reduce((all, device) => all + device[part], 0);
    const parts = [
      [sum("weightsMiB"), allocated(log, "model")],
      [sum("contextMiB"), allocated(log, "KV")],
      [sum("computeMiB"), allocated(log, "compute")],
    ] as const;
    const whole = [0, 1].map((at) => parts.reduce((all, part) => all + (part[at] ?? 0), 0));
    for (const [said = 0, real = 0] of [...parts, whole]) {
      expect(Math.abs(said - real)).toBeLessThanOrEqual(Math.max(8, 0.02 * real));
    }
  }

  describe.each([
    ["the tiny model", () => TINY_MODEL, 30],
    ["a model of 45 MiB", () => attention, 150],
  ])("%s", (_name, file, leastGrowth) => {
    test.each(["f16", "q8_0"])("with a cache of %s, at four sizes", async (type) => {
      const args = ["--cache-type-k", type, "--cache-type-v", type];
      const sums: number[] = [];
      for (const tokens of SIZES) {
        const need = await needOf(file(), tokens, args);
        expect(need).toMatchObject({ bound: "exact", notes: [], trained: TRAINED_CONTEXT });
        expectSame(need, await logOf(file(), tokens, args));
        sums.push(need.devices.reduce((all, device) => all + sumOf(device), 0));
      }
      // Or the comparison would compare nothing.
      const growth = (sums.at(-1) ?? 0) - (sums[0] ?? 0);
      expect(growth).toBeGreaterThan(type === "f16" ? leastGrowth : leastGrowth / 2);
    });
  });

  test.each([
    ["slots with a share each", ["-np", "4"]],
    ["slots that share one cache", ["-np", "3", "--kv-unified"]],
    ["slots of an odd share", ["-np", "3"]],
    ["no layers on a device, without flash attention", ["-ngl", "0", "-fa", "off"]],
    ["small batches, and a cache on the host", ["-b", "256", "-ub", "128", "-nkvo"]],
  ])("%s", async (_what, args) => {
    const need = await needOf(attention, 20_000, args);
    expect(need.bound).toBe("exact");
    expectSame(need, await logOf(attention, 20_000, args));
  });

  test("of slots that share windows of one cache, the figure is a bound", async () => {
    const need = await needOf(window, 32_768, ["-np", "8", "-kvu"]);
    const log = await logOf(window, 32_768, ["-np", "8", "-kvu"]);
    expect(need.bound).toBe("at most");
    const real = allocated(log, "model") + allocated(log, "KV") + allocated(log, "compute");
    const said = need.devices.reduce((all, device) => all + sumOf(device), 0);
    expect(said).toBeGreaterThanOrEqual(Math.floor(real));
    expect(said).toBeLessThan(2 * real);
    // Each slot with a cache of its own is another matter.
    expectSame(await needOf(window, 32_768, ["-np", "8"]), await logOf(window, 32_768, ["-np", "8"]));
  });

  test("a file that is no model, and one that is not there", async () => {
    const broken = join(folder, "broken.gguf");
    writeFileSync(broken, "GGUF");
    const needOf = (file: string) =>
      memory.need({ ...plainModel(programs.program, file), places: programs.places }, 4096);
    expect(await needOf(broken)).toEqual({
      kind: "unknown",
      reason: expect.stringMatching(/llama-fit-params failed on this machine: .*fail/),
    });
    const missing = join(folder, "missing.gguf");
    expect(await needOf(missing)).toMatchObject({
      lacksFile: `its file ${missing} is missing on this machine, or cannot be read.`,
    });
  });

  test("a repository that is not in the cache is not downloaded", async () => {
    const model = modelOf(attention, ["-hf", "maker/nothing-GGUF:Q4_K_M"]);
    const flags = model.flags.filter(({ name }) => name !== "model");
    const need = await memory.need({ ...model, flags }, 4096);
    expect(need).toMatchObject({ kind: "unknown", reason: expect.stringMatching(/llama-fit-params failed/) });
  });
});

realSuite(fitToolProblem(), "what fits, on a real router", () => {
  const PRESET = `[small]\nmodel = ${TINY_MODEL}\nctx-size = 2048\n\n[other]\nmodel = ${TINY_MODEL}\nc = 1024\n`;
  let place: RouterPlace;
  beforeAll(async () => {
    const { places } = await llamaPlaces();
    const backend = places.find((entry) => entry.startsWith("GGML_BACKEND_PATH="))?.replace(/^.*?=/, "");
    place = await RouterPlace.start(PRESET, undefined, { GGML_BACKEND_PATH: backend ?? "" });
    place.unitHasProcess();
  });
  afterAll(() => place.stop());

  test("the need of a model is that of the router's own command for it, and max is what it was trained for", async () => {
    await place.begin(PRESET, ["other"]);
    const shown = await place.type("/ai-server-ctx small");
    expect(shown.told[0]?.split("\n").slice(2)).toEqual([
      expect.stringMatching(
        /^Needs \d MiB in the machine's own memory \(context \d, compute \d\) of \S+ GiB\.$/,
      ),
      "Largest that fits: 32768 tokens (32k), all that it was trained for.",
    ]);
    const user = saying(true);
    await place.type("/ai-server-ctx small max", user);
    expect(user.questions[0]?.text).toMatch(
      /^It is 2048 tokens \(2k\) now\.\nNeeds 37 MiB in the machine's own memory \(context 4, compute 33\) of /,
    );
    expect(user.told[0]).toMatch(/^small: the context size is now 32768 tokens/);
    expect(place.text).toBe(PRESET.replace("2048", "32768"));
  });
});

realSuite(missingProgram("ssh", "sshd"), "what fits, over a real sshd", () => {
  let sshd: Sshd;
  beforeAll(async () => {
    sshd = await Sshd.start();
  });
  afterAll(() => sshd.stop());

  const hostBy = (login: Login) => (text: string) => {
    const host = new SshHost(sshd, login, text);
    return Object.assign(host, { machine: host.machine.bind(host), memory: host.memory.bind(host) });
  };
  describe("shell", () => fitRow(hostBy("shell"), false));
  describe("wrapper", () => fitRow(hostBy("wrapper"), true));
  realSuite(fitToolProblem(), "with the real tool", () => {
    test.each(["shell", "wrapper"] as const)("%s", async (login) => {
      const { program, places } = await llamaPlaces();
      const host = new SshHost(sshd, login, "models: {}\n");
      try {
        // A restricted key names no libraries; its owner puts them before the tool.
        const [exports, folder] = [
          places.map((place) => `export '${place}'`).join("; "),
          join(program, ".."),
        ];
        for (const name of ["llama-server", "llama-fit-params"]) {
          host.tool(name, `${exports}; exec ${join(folder, name)} "$@"`);
        }
        const model =
          login === "shell"
            ? { ...plainModel(program, TINY_MODEL), places }
            : plainModel("llama-server", TINY_MODEL);
        const need = await host.memory().need(model, 32_768);
        expect(need).toMatchObject({
          bound: "exact",
          trained: TRAINED_CONTEXT,
          devices: [{ name: undefined, contextMiB: 4, computeMiB: 33 }],
        });
        expect(await host.memory().devices()).toMatchObject({ kind: "memory", devices: [] });
      } finally {
        await host.remove();
      }
    });
  });
});
