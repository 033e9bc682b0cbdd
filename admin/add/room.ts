/** Whether a model's weights have room on the server's devices: a first look, from sizes alone. */

import { formatOf } from "../../host/config/config-file.ts";
import type { MachineMemory } from "../../host/fit/fit.ts";
import { programsIn } from "../fit.ts";
import type { Host } from "../host-access.ts";

/** The server's memory, as far as a first look needs it. */
export type Memory = Pick<MachineMemory, "hostMiB"> & {
  readonly devices: readonly Pick<MachineMemory["devices"][number], "name" | "totalMiB">[];
};

export type Room = "fits" | "tight" | "too large";

const MIB = 1024 ** 2;
/** What llama.cpp leaves free on each device (`--fit-target`). */
const MARGIN_MIB = 1024;
/** From this part of the memory on, little is left for a context. */
const TIGHT = 0.85;

/**
 * What the server's machine has, as the llama-server of its models sees it.
 *
 * @returns undefined where it does not say
 * @throws the signal's reason, and nothing else
 */
export async function memoryOf({ machine, memory }: Host, signal: AbortSignal): Promise<Memory | undefined> {
  const files = await machine.read(signal).catch(() => []);
  // A preset's models are started by the router itself.
  const isRouter = files.some(({ name }) => formatOf(name) === "ini");
  const unit = isRouter ? await machine.status(signal).catch(() => undefined) : undefined;
  signal.throwIfAborted();
  const found = await memory.devices(signal, programsIn(files, unit?.commandLine));
  return found.kind === "memory" ? found : undefined;
}

/** @returns undefined where the memory is not known */
export function roomFor(bytes: number, memory: Memory | undefined): Room | undefined {
  const usable = usableMiB(memory);
  if (usable === undefined) return undefined;
  const needed = bytes / MIB;
  if (needed > usable) return "too large";
  return needed > usable * TIGHT ? "tight" : "fits";
}

/** The memory in which it must fit, as `Vulkan0: 96 GiB`. */
export function memoryWords(memory: Memory | undefined): string[] {
  if (usableMiB(memory) === undefined || memory === undefined) return [];
  const gib = (mib: number): string => `${Math.round(mib / 1024)} GiB`;
  if (memory.devices.length === 0)
    return [`The server has no GPU; its memory is ${gib(memory.hostMiB ?? 0)}.`];
  return [
    `Memory for models: ${memory.devices.map(({ name, totalMiB }) => `${name} ${gib(totalMiB)}`).join(", ")}.`,
  ];
}

function usableMiB(memory: Memory | undefined): number | undefined {
  if (memory === undefined) return undefined;
  const { devices, hostMiB } = memory;
  if (devices.length === 0) return hostMiB && Math.max(0, hostMiB - MARGIN_MIB);
  if (devices.some(({ totalMiB }) => totalMiB <= 0)) return undefined;
  return devices.reduce((sum, { totalMiB }) => sum + Math.max(0, totalMiB - MARGIN_MIB), 0);
}

/** What speaks against a model, as sentences. */
export function roomWords(room: Room | undefined): string[] {
  if (room === "too large")
    return [
      "Its weights are larger than the memory of the server's devices: the part that does not fit runs slowly.",
    ];
  return room === "tight" ? ["Its weights leave little memory for a context."] : [];
}
