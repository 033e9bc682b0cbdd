import { describe, expect, test } from "vitest";
import { type FitPlace, fittingOf, programsIn } from "../../admin/fit.ts";
import { type MemoryNeed, type StartedModel, sumOf } from "../../host/fit/fit.ts";
import type { HostFile, UnitStatus } from "../../host/ssh/machine.ts";

function file(name: string, text: string): HostFile {
  return { name, text, hash: "", mode: "" };
}

const PRESET = file("models.ini", "[a]\nmodel = /m/a.gguf\nc = 4096\n[b]\nmodel = /m/b.gguf\nc = 8192\n");

/** A device of 20,000 MiB with 1000 free; each model needs its tokens in MiB. */
function place(more: Partial<FitPlace>): FitPlace & { asked: [string, number][] } {
  const asked: [string, number][] = [];
  const needs = async (model: StartedModel, sizes: readonly number[]): Promise<MemoryNeed[]> =>
    sizes.map((tokens) => {
      asked.push([model.program, tokens]);
      const own = { weightsMiB: 0, contextMiB: tokens, computeMiB: 0, projectorMiB: 0 };
      return {
        kind: "need",
        tokens,
        devices: [{ name: "CUDA0", ...own }],
        trained: 16_384,
        bound: "exact",
        notes: [],
      };
    });
  const devices = [{ name: "CUDA0", description: "", totalMiB: 20_000, freeMiB: 1000 }];
  const memory = {
    needs,
    need: async (model: StartedModel, tokens: number) => (await needs(model, [tokens]))[0],
    devices: async () => ({ kind: "memory", devices, hostMiB: 1000, tool: "/t" }) as const,
  } as unknown as FitPlace["memory"];
  return {
    memory,
    files: [PRESET],
    loaded: [],
    unit: async () => undefined,
    signal: undefined,
    ...more,
    asked,
  };
}

async function fitting(given: FitPlace, id = "a") {
  const found = await fittingOf(given, { id, file: given.files[0] ?? PRESET, trained: undefined });
  if (found.kind === "unknown") throw new Error(found.reason);
  return found;
}

const unit =
  (...words: string[]) =>
  async () =>
    ({ commandLine: words }) as unknown as UnitStatus;

describe("which models make room for another one", () => {
  const loaded = ["a", "b", "c"].map((id) => ({
    id,
    state: "ready",
    commandLine: `llama-server -m /m/${id}.gguf -c 2048`,
  }));
  const freed = async (given: Partial<FitPlace>): Promise<string[]> => {
    const { unloaded } = await fitting(place(given));
    return unloaded.map(({ id, need }) => `${id}: ${need?.devices.map(sumOf) ?? "not known"}`);
  };

  test("on llama-swap all that are loaded", async () => {
    const files = [file("config.yaml", "models:\n  a: { cmd: llama-server -m /m/a.gguf }\n")];
    expect(await freed({ files, loaded })).toEqual(["a: 2048", "b: 2048", "c: 2048"]);
  });

  test.each([
    ["holds one at a time", ["--models-max", "1"], ["a: 2048", "b: 2048", "c: 2048"]],
    ["has room for all", ["--models-max", "3"], ["a: 2048"]],
    ["has no limit", ["--models-max", "0"], ["a: 2048"]],
    ["has room for four by itself", [], ["a: 2048"]],
    ["has to unload one of them", ["--models-max", "2"], ["a: 2048", "b: not known", "c: not known"]],
  ])("on a router that %s", async (_what, flags, expected) => {
    expect(await freed({ loaded, unit: unit("llama-server", ...flags) })).toEqual(expected);
  });

  test("what a loaded model holds is not known where nothing says its size, or it is another server", async () => {
    const files = [
      file("config.yaml", "models:\n  a: { cmd: llama-server -m /m/a.gguf }\n  v: { cmd: vllm serve x }\n"),
    ];
    const strange = [
      { id: "a", state: "ready", commandLine: "llama-server -m /m/a.gguf" },
      { id: "v", state: "ready", commandLine: "vllm serve x" },
      { id: "gone", state: "ready" },
    ];
    expect(await freed({ files, loaded: strange })).toEqual([
      "a: not known",
      "v: not known",
      "gone: not known",
    ]);
  });
});

test("a router's model is started as the router itself says, else as the preset and its unit have it", async () => {
  const said = place({ startLine: async (id) => `/opt/llama-server --port 1 -m /m/${id}.gguf` });
  await (await fitting(said)).needs(4096);
  const silent = place({ startLine: async () => undefined, unit: unit("/usr/bin/llama-server", "--jinja") });
  await (await fitting(silent)).needs(4096);
  expect([said.asked, silent.asked]).toEqual([
    [["/opt/llama-server", 4096]],
    [["/usr/bin/llama-server", 4096]],
  ]);
});

test("a file that is not understood says why in one sentence", async () => {
  const broken = file("config.yaml", "models:\n  a: { cmd: 'llama-server \"' }\n");
  expect(await fittingOf(place({ files: [broken] }), { id: "a", file: broken, trained: undefined })).toEqual({
    kind: "unknown",
    reason: expect.stringMatching(
      /^What fits is not known: The configuration at line 2.* a quote is left open/,
    ),
  });
});

test("the programs are those of the first model that llama-server runs", () => {
  const yaml = file(
    "a.yaml",
    "models:\n  v: { cmd: vllm serve x }\n  b: { cmd: /b/llama-server -m /m/b.gguf }\n",
  );
  const broken = file("b.yaml", "models: [");
  expect(programsIn([broken, yaml], undefined)?.program).toBe("/b/llama-server");
  expect(programsIn([PRESET], ["/usr/bin/llama-server"])?.program).toBe("/usr/bin/llama-server");
  expect(programsIn([broken], undefined)).toBeUndefined();
});
