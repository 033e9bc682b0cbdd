/** The answers of the verbs `devices` and `fit` as data. Pure. */
import { type AnswerLine, valueFor } from "../ssh/protocol.ts";
import type { DeviceMemory, DeviceNeed, MachineMemory } from "./fit.ts";

const MIB = 1024 ** 2;

/** What the tool says of one context size. */
interface Printed {
  readonly tokens: number;
  readonly devices: readonly DeviceNeed[];
}

export interface FitAnswer {
  readonly printed: readonly Printed[];
  /** In tokens. */
  readonly trained: number | undefined;
  readonly projectorMiB: number;
  /** Flags that this version of the tool does not take. */
  readonly leftOut: readonly string[];
  /** The paths of both programs; undefined where there is none. */
  readonly server: string | undefined;
  readonly tool: string | undefined;
  /** Whether both are in one folder, and so most likely of one version. */
  readonly isBeside: boolean;
}

function pathIn(lines: readonly AnswerLine[], key: string): string | undefined {
  const encoded = valueFor(lines, key);
  return encoded === undefined ? undefined : Buffer.from(encoded, "base64").toString("utf8");
}

function numberIn(lines: readonly AnswerLine[], key: string): number | undefined {
  const value = valueFor(lines, key) ?? "";
  return /^\d{1,15}$/.test(value) ? Number(value) : undefined;
}

/** Four bytes of the model's file, the lowest first. */
function trainedIn(lines: readonly AnswerLine[]): number | undefined {
  const bytes = valueFor(lines, "trained") ?? "";
  return /^[0-9a-f]{8}$/.test(bytes) ? Buffer.from(bytes, "hex").readUInt32LE() || undefined : undefined;
}

/** @returns undefined where a size has no line for the machine's own memory: then the tool's output is not understood */
export function readFit(lines: readonly AnswerLine[]): FitAnswer | undefined {
  const printed = lines.flatMap(({ key, value }, at): Printed[] => {
    if (key !== "need" || !/^\d{1,10}$/.test(value)) return [];
    return [{ tokens: Number(value), devices: needsIn(lines[at + 1]?.text ?? "") }];
  });
  if (printed.length === 0 || printed.some(({ devices }) => !devices.some(isHost))) return undefined;
  return {
    printed,
    trained: trainedIn(lines),
    projectorMiB: Math.ceil((numberIn(lines, "projector") ?? 0) / MIB),
    leftOut: lines.flatMap(({ key, value }) => (key === "left-out" ? [value] : [])),
    server: pathIn(lines, "server"),
    tool: pathIn(lines, "tool"),
    isBeside: valueFor(lines, "beside") !== undefined,
  };
}

function isHost({ name }: DeviceNeed): boolean {
  return name === undefined;
}

/** Lines `NAME model context compute`, the last one for `Host` (`tools/fit-params` in llama.cpp). */
function needsIn(text: string): DeviceNeed[] {
  return text.split("\n").flatMap((line) => {
    const [, name = "", model, context, compute] =
      /^(\S{1,60}) (\d{1,9}) (\d{1,9}) (\d{1,9}) *$/.exec(line) ?? [];
    if (name === "") return [];
    return [
      {
        name: /^host$/i.test(name) ? undefined : name,
        weightsMiB: Number(model),
        contextMiB: Number(context),
        computeMiB: Number(compute),
        projectorMiB: 0,
      },
    ];
  });
}

/** Lines `  NAME: description (TOTAL MiB, FREE MiB free)`, as `llama-server --list-devices` prints them. */
export function readDevices(lines: readonly AnswerLine[]): MachineMemory {
  const said = lines.find(({ key }) => key === "devices")?.text ?? "";
  const devices = said.split("\n").flatMap((line): DeviceMemory[] => {
    const [, name = "", description = "", total, free] =
      /^ *(\S{1,60}): (.{0,200}) \((\d{1,9}) MiB, (\d{1,9}) MiB free\)\s*$/.exec(line) ?? [];
    return name === "" ? [] : [{ name, description, totalMiB: Number(total), freeMiB: Number(free) }];
  });
  const bytes = numberIn(lines, "memory");
  return {
    kind: "memory",
    devices,
    hostMiB: bytes === undefined ? undefined : Math.floor(bytes / MIB),
    tool: pathIn(lines, "tool"),
  };
}
