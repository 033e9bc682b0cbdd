import { describe, expect, test } from "vitest";
import type { DeviceMemory, DeviceNeed, MachineMemory, MemoryNeed } from "../../../host/fit/fit.ts";
import { type Held, placesOf, verdictOf } from "../../../host/fit/room.ts";

const GIB = 1024;

function device(name: string, total: number, free: number): DeviceMemory {
  return { name, description: "", totalMiB: total * GIB, freeMiB: free * GIB };
}

function machine(...devices: readonly DeviceMemory[]): MachineMemory {
  return { kind: "memory", devices, hostMiB: 64 * GIB, tool: "/usr/bin/llama-fit-params" };
}

/** @param gib by device; without a name for the machine's own memory */
function need(gib: Readonly<Record<string, number>>, bound: MemoryNeed["bound"] = "exact"): MemoryNeed {
  const devices = Object.entries(gib).map(
    ([name, size]): DeviceNeed => ({
      name: name === "host" ? undefined : name,
      weightsMiB: (size * GIB) / 2,
      contextMiB: (size * GIB) / 4,
      computeMiB: (size * GIB) / 8,
      projectorMiB: (size * GIB) / 8,
    }),
  );
  return { kind: "need", tokens: 4096, devices, trained: undefined, bound, notes: [] };
}

const USUAL = { marginsMiB: [GIB], isSplitFixed: false };

function verdict(
  wanted: MemoryNeed,
  memory: MachineMemory,
  unloaded: readonly Held[] = [],
  model: { marginsMiB: readonly number[]; isSplitFixed: boolean } = USUAL,
): string {
  const found = verdictOf(wanted, placesOf(wanted, memory, unloaded, model), model);
  if (found.kind !== "does not fit") return found.kind;
  return `${found.missingMiB / GIB} GiB missing on ${found.names.join(", ") || "the host"}`;
}

describe("one device", () => {
  const one = machine(device("Vulkan0", 96, 44));
  const held = (gib: number | undefined, bound?: MemoryNeed["bound"]): Held[] => [
    { id: "other", need: gib === undefined ? undefined : need({ Vulkan0: gib, host: 1 }, bound) },
  ];

  test("what is free counts with the margin that llama.cpp leaves", () => {
    expect(verdict(need({ Vulkan0: 43, host: 1 }), one)).toBe("fits");
    expect(verdict(need({ Vulkan0: 43.5, host: 1 }), one)).toBe("0.5 GiB missing on Vulkan0");
    expect(verdict(need({ Vulkan0: 43.5 }), one, [], { ...USUAL, marginsMiB: [512] })).toBe("fits");
  });

  test("what will be unloaded makes room, and never more than there is", () => {
    expect(verdict(need({ Vulkan0: 90 }), one, held(50))).toBe("fits");
    expect(verdict(need({ Vulkan0: 94 }), one, held(50))).toBe("1 GiB missing on Vulkan0");
    expect(verdict(need({ Vulkan0: 96 }), one, held(80))).toBe("1 GiB missing on Vulkan0");
  });

  test("where it is not known what another model holds, only what is sure is claimed", () => {
    expect(verdict(need({ Vulkan0: 40 }), one, held(undefined))).toBe("fits");
    expect(verdict(need({ Vulkan0: 60 }), one, held(undefined))).toBe("not known");
    expect(verdict(need({ Vulkan0: 96 }), one, held(undefined))).toBe("1 GiB missing on Vulkan0");
    expect(verdict(need({ Vulkan0: 60 }), one, held(30, "at least"))).toBe("fits");
    expect(verdict(need({ Vulkan0: 60 }), one, held(30, "at most"))).toBe("not known");
  });

  test("a need with a part that is not counted may be too much, and is never enough", () => {
    expect(verdict(need({ Vulkan0: 10 }, "at least"), one)).toBe("not known");
    expect(verdict(need({ Vulkan0: 60 }, "at least"), one)).toBe("17 GiB missing on Vulkan0");
    expect(verdict(need({ Vulkan0: 10 }, "at most"), one)).toBe("fits");
  });

  test("a device that reports no size, and one that is not listed, are not known", () => {
    expect(verdict(need({ Vulkan0: 1 }), machine(device("Vulkan0", 0, 0)))).toBe("not known");
    expect(verdict(need({ CUDA3: 1 }), one)).toBe("not known");
  });
});

test("the machine's own memory counts whole, as llama.cpp counts it", () => {
  const none = machine();
  expect(verdict(need({ host: 63 }), none)).toBe("fits");
  expect(verdict(need({ host: 64 }), none)).toBe("1 GiB missing on the host");
  const both = machine(device("CUDA0", 24, 24));
  expect(verdict(need({ CUDA0: 2, host: 70 }), both)).toBe("7 GiB missing on the host");
  expect(verdict(need({ host: 1 }), { ...none, hostMiB: undefined })).toBe("not known");
});

describe("several devices", () => {
  const two = machine(device("CUDA0", 24, 24), device("CUDA1", 12, 12));

  test("among which llama.cpp divides the model count together", () => {
    expect(verdict(need({ CUDA0: 20, CUDA1: 14 }), two)).toBe("fits");
    expect(verdict(need({ CUDA0: 20, CUDA1: 15 }), two)).toBe("1 GiB missing on CUDA0, CUDA1");
  });

  test("count each where the command divides it, each with its own margin", () => {
    const fixed = { marginsMiB: [GIB, 2 * GIB], isSplitFixed: true };
    expect(verdict(need({ CUDA0: 20, CUDA1: 14 }), two, [], fixed)).toBe("4 GiB missing on CUDA1");
    expect(verdict(need({ CUDA0: 23, CUDA1: 10 }), two, [], fixed)).toBe("fits");
  });

  test("one that holds nothing of the model is not asked for its margin", () => {
    const full = machine(device("CUDA0", 24, 24), device("CUDA1", 12, 0));
    expect(verdict(need({ CUDA0: 20, CUDA1: 0 }), full)).toBe("fits");
  });
});
