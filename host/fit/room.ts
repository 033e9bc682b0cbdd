/** Whether what a model needs is there once other models are unloaded. Pure; all sizes are MiB. */
import { type MachineMemory, type MemoryNeed, type StartedModel, sumOf } from "./fit.ts";

/** What a loaded model holds, as far as it is known. */
export interface Held {
  readonly id: string;
  /** Undefined where it is not known. */
  readonly need: MemoryNeed | undefined;
}

/** A device, or the machine's own memory, with what a model needs of it. */
export interface Place {
  /** Undefined for the machine's own memory. */
  readonly name: string | undefined;
  readonly needMiB: number;
  readonly totalMiB: number | undefined;
  /** Free for sure once those models are unloaded. */
  readonly freeMiB: number | undefined;
  /** Whether no more than that is free. */
  readonly isFreeExact: boolean;
  /** What llama.cpp leaves free. */
  readonly marginMiB: number;
}

/** By how much it does not fit, and where: with more than one name, on all of these together. */
interface Lack {
  readonly kind: "does not fit";
  readonly missingMiB: number;
  readonly names: readonly (string | undefined)[];
}

export type Verdict = { readonly kind: "fits" } | Lack | { readonly kind: "not known" };

/**
 * What there is for a model on each device that holds a part of it, and of the machine's own memory.
 *
 * @param unloaded the models that are loaded now and unloaded before it is loaded
 */
export function placesOf(
  need: MemoryNeed,
  memory: MachineMemory,
  unloaded: readonly Held[],
  { marginsMiB }: Pick<StartedModel, "marginsMiB">,
): Place[] {
  const margin = (at: number): number => marginsMiB[at] ?? marginsMiB.at(-1) ?? 0;
  const isFreeExact = unloaded.every((held) => held.need?.bound === "exact");
  const devices = need.devices.filter(({ name }) => name !== undefined);
  const places = devices.map((one, at): Place => {
    const device = memory.devices.find(({ name }) => name === one.name);
    // Some drivers report no sizes.
    const { totalMiB = undefined, freeMiB = 0 } = device !== undefined && device.totalMiB > 0 ? device : {};
    const released = unloaded.reduce((sum, held) => sum + heldOn(held, one.name), 0);
    return {
      name: one.name,
      needMiB: sumOf(one),
      totalMiB,
      freeMiB: totalMiB && Math.min(totalMiB, freeMiB + released),
      isFreeExact,
      marginMiB: margin(at),
    };
  });
  // llama.cpp counts all of the machine's own memory as free: what the system keeps there of files gives way.
  const { hostMiB } = memory;
  const own = need.devices.filter(({ name }) => name === undefined);
  return [
    ...places.filter(({ needMiB }) => needMiB > 0),
    ...own.map((one): Place => {
      const size = { totalMiB: hostMiB, freeMiB: hostMiB };
      return { name: undefined, needMiB: sumOf(one), ...size, isFreeExact: true, marginMiB: margin(0) };
    }),
  ];
}

/** For sure: a figure that is too high must not make room. */
function heldOn({ need }: Held, name: string | undefined): number {
  if (need === undefined || need.bound === "at most") return 0;
  const own = need.devices.find((one) => one.name === name);
  return own === undefined ? 0 : sumOf(own);
}

/** Whether it fits with what llama.cpp leaves free. */
export function verdictOf(
  { bound }: Pick<MemoryNeed, "bound">,
  places: readonly Place[],
  { isSplitFixed }: Pick<StartedModel, "isSplitFixed">,
): Verdict {
  const groups = grouped(places, isSplitFixed).map((group) => ({
    names: group.map(({ name }) => name),
    isExact: group.every(({ isFreeExact }) => isFreeExact),
    free: lackIn(group, ({ freeMiB }) => freeMiB),
    total: lackIn(group, ({ totalMiB }) => totalMiB),
  }));
  const lacks = groups.flatMap(({ names, isExact, free, total }): Lack[] => {
    const missingMiB = (isExact ? free : total) ?? 0;
    return missingMiB > 0 ? [{ kind: "does not fit", missingMiB, names }] : [];
  });
  const [worst] = lacks.sort((a, b) => b.missingMiB - a.missingMiB);
  if (worst !== undefined) return worst;
  const isSure = bound !== "at least" && groups.every(({ free }) => free !== undefined && free <= 0);
  return { kind: isSure ? "fits" : "not known" };
}

/** Devices among which llama.cpp divides a model by itself count together: by what is free on each at that moment. */
function grouped(places: readonly Place[], isSplitFixed: boolean): (readonly Place[])[] {
  const devices = places.filter(({ name }) => name !== undefined);
  const own = places.filter(({ name }) => name === undefined);
  const groups = isSplitFixed ? devices.map((one) => [one]) : [devices];
  return [...groups, own].filter((group) => group.length > 0);
}

/** How much is missing in a group of places, negative where there is more; undefined where a size is not known. */
function lackIn(group: readonly Place[], sizeOf: (place: Place) => number | undefined): number | undefined {
  let lack = 0;
  for (const place of group) {
    const size = sizeOf(place);
    if (size === undefined) return undefined;
    lack += place.needMiB + place.marginMiB - size;
  }
  return lack;
}
