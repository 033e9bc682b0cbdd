import type { Fitting } from "../../admin/fit.ts";
import { type DeviceNeed, type MachineMemory, type MemoryNeed, unknown } from "../../host/fit/fit.ts";
import { type Held, placesOf, verdictOf } from "../../host/fit/room.ts";

const GIB = 1024;

/** What one device holds, in GiB; without a name the machine's own memory. */
export function part(
  name: string | undefined,
  weights: number,
  context: number,
  compute: number,
): DeviceNeed {
  const [weightsMiB, contextMiB, computeMiB] = [weights, context, compute].map((gib) =>
    Math.round(gib * GIB),
  );
  return {
    name,
    weightsMiB: weightsMiB ?? 0,
    contextMiB: contextMiB ?? 0,
    computeMiB: computeMiB ?? 0,
    projectorMiB: 0,
  };
}

export function need(devices: readonly DeviceNeed[], more: Partial<MemoryNeed> = {}): MemoryNeed {
  return { kind: "need", tokens: 131_072, devices, trained: undefined, bound: "exact", notes: [], ...more };
}

/** @param devices name, GiB in all, GiB free; the machine has 64 GiB of its own */
export function fitting(
  devices: readonly (readonly [string, number, number])[],
  unloaded: readonly Held[] = [],
  isSplitFixed = false,
): Fitting {
  const memory: MachineMemory = {
    kind: "memory",
    devices: devices.map(([name, total, free]) => ({
      name,
      description: "",
      totalMiB: total * GIB,
      freeMiB: free * GIB,
    })),
    hostMiB: 64 * GIB,
    tool: "/t",
  };
  const model = { marginsMiB: [GIB], isSplitFixed };
  const placesFor: Fitting["placesFor"] = (one) => placesOf(one, memory, unloaded, model);
  return {
    kind: "fitting",
    memory,
    unloaded,
    placesFor,
    verdictOf: (one) => verdictOf(one, placesFor(one), model),
    needs: async (tokens) => need([], { tokens }),
    largest: async () => unknown("no model was asked for."),
  };
}

export const QWEN = need([part("Vulkan0", 30.1, 9.8, 1.4), part(undefined, 0.5, 0, 0.2)]);
export const held = (id: string, ...devices: readonly DeviceNeed[]): Held => ({ id, need: need(devices) });
export const MINIMAX = held("MiniMax-M2.7", part("Vulkan0", 50, 1.5, 0.5));
