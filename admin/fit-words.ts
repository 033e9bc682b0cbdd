/** What a model needs of memory, in words. Pure. */
import {
  type DeviceNeed,
  type MachineMemory,
  type MemoryNeed,
  sumOf,
  type Unknown,
} from "../host/fit/fit.ts";
import { GET_IT } from "../host/fit/fit-faults.ts";
import type { Largest } from "../host/fit/largest.ts";
import type { Held, Place } from "../host/fit/room.ts";
import { binarySize, shortTokens } from "../lib/figures.ts";
import { cleanText } from "../lib/text.ts";
import type { Fitting } from "./fit.ts";

const MIB = 1024 ** 2;

/** Below this the machine's own memory is not named beside a device. */
const LEAST_HOST_MIB = 1024;

function sized(mib: number): string {
  return binarySize(mib * MIB);
}

function listed(names: readonly string[]): string {
  return new Intl.ListFormat("en-GB").format(names);
}

/** `weights 30.1, context 9.8, compute 1.4`, in the unit of their sum. */
function partWords(need: DeviceNeed): string {
  const isLarge = sumOf(need) >= 1000;
  const figure = (mib: number): string => (isLarge ? (mib / 1024).toFixed(1) : String(mib));
  const parts = [
    ["weights", need.weightsMiB],
    ["context", need.contextMiB],
    ["compute", need.computeMiB],
    ["projector", need.projectorMiB],
  ] as const;
  return parts
    .filter(([name, mib]) => mib > 0 || name === "context")
    .map(([name, mib]) => `${name} ${figure(mib)}`)
    .join(", ");
}

function nameOf(name: string | undefined): string {
  return name === undefined ? "the machine's own memory" : cleanText(name, 60);
}

/** The places that are worth naming: without devices the machine's own memory, beside them only what counts there. */
function shownDevices({ devices }: MemoryNeed): DeviceNeed[] {
  const held = devices.filter((need) => sumOf(need) > 0);
  const hasDevice = held.some(({ name }) => name !== undefined);
  const shown = held.filter((need) => !hasDevice || need.name !== undefined || sumOf(need) >= LEAST_HOST_MIB);
  return shown.length > 0 ? shown : devices.slice(-1);
}

/** `41.3 GiB on Vulkan0 (weights 30.1, context 9.8, compute 1.4) of 96 GiB` */
function placeWords(need: DeviceNeed, places: readonly Place[]): string {
  const total = places.find(({ name }) => name === need.name)?.totalMiB;
  const size = `${sized(sumOf(need))} ${need.name === undefined ? "in" : "on"} ${nameOf(need.name)} (${partWords(need)})`;
  return total === undefined ? size : `${size} of ${sized(total)}`;
}

const BOUNDS = { exact: "", "at least": "at least ", "at most": "at most " } as const;

/**
 * What a size needs, and what of it is used or free now.
 *
 * @param leave `will be unloaded`, after the names of the models that make room
 */
export function needWords(need: MemoryNeed, fitting: Fitting, leave: string): string {
  return `Needs ${heldWords(need, fitting)}${roomWords(need, fitting, leave)}.`;
}

/** What a size needs of each device, and how much that has in all. */
export function heldWords(need: MemoryNeed, fitting: Fitting): string {
  const places = fitting.placesFor(need);
  return BOUNDS[need.bound] + listed(shownDevices(need).map((device) => placeWords(device, places)));
}

/** On the devices alone: of the machine's own memory all counts as free. */
function roomWords(need: MemoryNeed, { memory, unloaded }: Fitting, leave: string): string {
  const devices = shownDevices(need).flatMap(({ name }) =>
    memory.devices.filter((device) => device.name === name),
  );
  if (devices.length === 0) return "";
  const known = unloaded.filter((held) => held.need !== undefined);
  const strange = unloaded.filter((held) => held.need === undefined);
  const used = devices.reduce((sum, { name, totalMiB, freeMiB }) => {
    const held = known.reduce((all, one) => all + heldOn(one, name), 0);
    return sum + Math.min(held, totalMiB - freeMiB);
  }, 0);
  const free = devices.reduce((sum, { freeMiB }) => sum + freeMiB, 0);
  const names = (all: readonly Held[]): string => listed(all.map(({ id }) => cleanText(id, 100)));
  const parts = [
    ...(used > 0
      ? [`${sized(used)} now used by ${names(known)}, which ${leave}`]
      : [`${sized(free)} now free`]),
    ...(strange.length > 0 ? [`how much ${names(strange)} uses is not known`] : []),
  ];
  return `; ${parts.join("; ")}`;
}

function heldOn({ need }: Held, name: string | undefined): number {
  const own = need?.devices.find((device) => device.name === name);
  return own === undefined ? 0 : sumOf(own);
}

/** `65536 tokens (64k)` */
function tokenWords(tokens: number): string {
  return `${tokens} tokens (${shortTokens(tokens)})`;
}

/**
 * Whether it fits, where it does not or nothing is sure, and which size would.
 *
 * @param largest undefined where it was not looked for
 */
export function verdictWords(need: MemoryNeed, fitting: Fitting, largest?: Largest): string[] {
  const verdict = fitting.verdictOf(need);
  if (verdict.kind === "fits") return need.notes.slice();
  if (verdict.kind === "not known") return ["Whether it fits is not known.", ...need.notes];
  const { missingMiB, names } = verdict;
  const margin = fitting.placesFor(need).find(({ name }) => names.includes(name))?.marginMiB ?? 0;
  const each = names.length > 1 ? " on each" : "";
  const left = margin > 0 ? `, with the ${sized(margin)} that llama.cpp leaves free${each}` : "";
  const where = `${names.includes(undefined) ? "for" : "on"} ${listed(names.map(nameOf))}`;
  const how = need.bound === "at most" ? "may not fit: up to" : "does not fit:";
  const words = `It ${how} ${sized(missingMiB)} too much ${where}${left}.`;
  return [words, ...(largest === undefined ? [] : [wouldFit(largest)]), ...need.notes];
}

function wouldFit(largest: Largest): string {
  if (largest.kind === "unknown") return largest.reason;
  if (largest.kind === "none") return `Not even ${tokenWords(largest.need.tokens)} fit.`;
  return `${tokenWords(largest.need.tokens)} would fit.`;
}

/** The largest size that fits, as a sentence of its own. */
export function largestWords(largest: Largest): string {
  if (largest.kind === "unknown") return largest.reason;
  if (largest.kind === "none") return `No size fits: not even ${tokenWords(largest.need.tokens)}.`;
  const why = largest.isTrained ? ", all that it was trained for" : "";
  return `Largest that fits: ${tokenWords(largest.need.tokens)}${why}.`;
}

/** The tool and the devices, for the status of the server's machine. */
export function toolWords(memory: MachineMemory | Unknown): string[] {
  if (memory.kind === "unknown") return [memory.reason];
  const { tool, devices, hostMiB } = memory;
  const sizes = devices.map(
    ({ name, totalMiB, freeMiB }) => `${nameOf(name)} ${sized(totalMiB)}, ${sized(freeMiB)} free`,
  );
  const held =
    sizes.length > 0 ? sizes : [`no devices${hostMiB === undefined ? "" : `, ${sized(hostMiB)} of memory`}`];
  return [
    tool === undefined
      ? `llama-fit-params: missing (${GET_IT})`
      : `llama-fit-params: ${cleanText(tool, 200)}`,
    `llama.cpp's devices: ${held.join("; ")}`,
  ];
}
