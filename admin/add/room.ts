/** Whether a model's weights have room on the server's devices: a first look, from sizes alone. Pure. */

import type { Host } from "../host-access.ts";

export type Room = "fits" | "tight" | "too large";

/** The server's memory, in MiB. */
export interface Memory {
  readonly devices: readonly { readonly name: string; readonly totalMiB: number }[];
  /** Of the machine itself, where models run on its processor; undefined where it is not known. */
  readonly hostMiB: number | undefined;
}

const MIB = 1024 ** 2;
/** What llama.cpp leaves free on each device (`--fit-target`). */
const MARGIN_MIB = 1024;
/** From this part of the memory on, little is left for a context. */
const TIGHT = 0.85;

/** What the server's machine has. @returns undefined where it does not say. @throws the signal's reason */
export async function memoryOf(_host: Host, _signal: AbortSignal): Promise<Memory | undefined> {
  return undefined;
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
    return ["Its weights are larger than the memory of the server's devices: what does not fit runs slowly."];
  return room === "tight" ? ["Its weights leave little memory for a context."] : [];
}
