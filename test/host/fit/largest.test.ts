import { expect, test } from "vitest";
import { type MachineMemory, type MemoryNeed, type StartedModel, unknown } from "../../../host/fit/fit.ts";
import { type Largest, largestContext } from "../../../host/fit/largest.ts";
import { placesOf, verdictOf } from "../../../host/fit/room.ts";
import { plainModel } from "../../support/fit-row.ts";
import { seeded } from "../../support/random.ts";

const MODEL = plainModel("llama-server", "/m/a.gguf");

/** A model of 1000 MiB whose context takes this much for 1024 tokens, and a device of that size. */
function place(perThousand: (thousands: number) => number, deviceMiB: number, trained: number | undefined) {
  const asked: number[][] = [];
  const memory = {
    needs: async (_model: StartedModel, sizes: readonly number[]): Promise<MemoryNeed[]> => {
      asked.push([...sizes]);
      return sizes.map((tokens) => {
        const own = { weightsMiB: 1000, contextMiB: Math.floor(perThousand(tokens / 1024)), computeMiB: 100 };
        const devices = [{ name: "CUDA0", ...own, projectorMiB: 0 }];
        return { kind: "need", tokens, devices, trained, bound: "exact", notes: [] };
      });
    },
  };
  const machine: MachineMemory = {
    kind: "memory",
    devices: [{ name: "CUDA0", description: "", totalMiB: deviceMiB, freeMiB: deviceMiB }],
    hostMiB: 0,
    tool: "/t",
  };
  const search = (model: StartedModel = MODEL, known?: number): Promise<Largest> =>
    largestContext({
      memory,
      model,
      trained: known,
      verdictOf: (need) => verdictOf(need, placesOf(need, machine, [], model), model),
      signal: undefined,
    });
  return { asked, search };
}

function shown(largest: Largest): string {
  if (largest.kind === "unknown") return largest.reason;
  if (largest.kind === "none") return `none: ${largest.need.tokens}`;
  return `${largest.need.tokens}${largest.isTrained ? " trained" : ""}`;
}

test("all that the model was trained for, where that fits", async () => {
  const { asked, search } = place((thousands) => thousands * 10, 10_000, 131_072);
  expect(shown(await search())).toBe("131072 trained");
  expect(asked).toEqual([[4096], [131_072]]);
});

test("the largest multiple of 256 that fits, found in a few questions", async () => {
  const { asked, search } = place((thousands) => thousands * 64, 10_000, 262_144);
  // 10000 - 1024 of margin - 1100 leaves 7876 MiB, and 123.06 thousands take that.
  expect(shown(await search())).toBe(String(123 * 1024));
  expect(asked.length).toBeLessThanOrEqual(4);
});

test("also where the need rises late and all at once", async () => {
  const { asked, search } = place((thousands) => Math.max(0, thousands - 200) * 1000, 5000, 262_144);
  // 2876 MiB are left for the context.
  expect(shown(await search())).toBe(String(202.75 * 1024));
  expect(asked.length).toBeLessThanOrEqual(16);
});

test("divided among slots it is a multiple for each, and each may have what it was trained for", async () => {
  const three = { ...MODEL, slots: 3, isUnified: false };
  const { search } = place((thousands) => thousands, 100_000, 32_768);
  expect(shown(await search(three))).toBe(`${3 * 32_768} trained`);
  const tight = place((thousands) => thousands * 64, 6000, 32_768);
  const largest = await tight.search(three);
  expect(largest.kind === "largest" && largest.need.tokens % 768).toBe(0);
});

test("none, where not even the smallest fits", async () => {
  const { search } = place((thousands) => thousands * 64, 2200, 262_144);
  expect(shown(await search())).toBe("none: 4096");
});

test("not known, where nothing says what it was trained for, or the tool fails on the way", async () => {
  const { search } = place((thousands) => thousands, 10_000, undefined);
  expect(shown(await search())).toMatch(/no source gives the context size that the model was trained for/);
  expect(shown(await search(MODEL, 8192))).toBe("8192 trained");
  let calls = 0;
  const memory = {
    needs: async () => (calls++ < 0 ? [] : unknown("llama-fit-params took longer than 20 s.")),
  };
  const search2 = { memory, model: MODEL, trained: 8192, signal: undefined };
  const verdict = { verdictOf: () => ({ kind: "fits" }) as const };
  expect(shown(await largestContext({ ...search2, ...verdict }))).toMatch(/longer than 20 s/);
});

test("whatever the need grows like, the one found fits and the next does not", async () => {
  const random = seeded(7);
  for (let turn = 0; turn < 200; turn += 1) {
    const [slope, bend, jump] = [random() * 100, random() * 0.5, random() * 500];
    const grows = (thousands: number): number =>
      slope * thousands + bend * thousands ** 2 + (thousands > 60 ? jump : 0);
    const deviceMiB = 2300 + random() * 20_000;
    const { asked, search } = place(grows, deviceMiB, 262_144);
    const largest = await search();
    if (largest.kind !== "largest" || largest.isTrained) continue;
    const { tokens } = largest.need;
    expect(tokens % 256).toBe(0);
    expect(1100 + Math.floor(grows(tokens / 1024)) + 1024).toBeLessThanOrEqual(deviceMiB);
    expect(1100 + Math.floor(grows((tokens + 256) / 1024)) + 1024).toBeGreaterThan(deviceMiB);
    expect(asked.length).toBeLessThanOrEqual(14);
  }
});
