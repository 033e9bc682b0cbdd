/** What a model needs of the server's memory, and what there is of it. Plain data; all sizes are MiB. */

/** A device that holds models, as `llama-server --list-devices` reports it. */
export interface DeviceMemory {
  /** As the program calls it: `Vulkan0`, `CUDA1`. */
  readonly name: string;
  /** As its driver calls it. */
  readonly description: string;
  readonly totalMiB: number;
  /** At this moment: what loaded models hold is not in it. */
  readonly freeMiB: number;
}

/** What the server's machine has. */
export interface MachineMemory {
  readonly kind: "memory";
  /** Empty where models run on the processor. */
  readonly devices: readonly DeviceMemory[];
  /** All of the machine's own memory; undefined where it does not report it. */
  readonly hostMiB: number | undefined;
  /** The path of llama-fit-params there; undefined where it is missing. */
  readonly tool: string | undefined;
}

/** What one device holds of a model; rounded down to whole MiB, as the tool prints it. */
export interface DeviceNeed {
  /** As {@link DeviceMemory} names it; undefined for the machine's own memory. */
  readonly name: string | undefined;
  readonly weightsMiB: number;
  readonly contextMiB: number;
  readonly computeMiB: number;
  /** The file of its projector for images; 0 without one. What that computes with is not in it. */
  readonly projectorMiB: number;
}

/** All that one device holds of a model, in MiB. */
export function sumOf({ weightsMiB, contextMiB, computeMiB, projectorMiB }: DeviceNeed): number {
  return weightsMiB + contextMiB + computeMiB + projectorMiB;
}

/** What a model needs with a context size. */
export interface MemoryNeed {
  readonly kind: "need";
  /** The context size: tokens for all slots together. */
  readonly tokens: number;
  readonly devices: readonly DeviceNeed[];
  /** What the model was trained for, in tokens; undefined where the tool does not report it. */
  readonly trained: number | undefined;
  /** `at least`: something is not counted; `at most`: the slots share a cache, and only a bound is known. */
  readonly bound: "exact" | "at least" | "at most";
  /** Sentences: what is not counted, and whose figures these are where that is in doubt. */
  readonly notes: readonly string[];
}

/** Why a figure is not known: one sentence, with how to get it. */
export interface Unknown {
  readonly kind: "unknown";
  readonly reason: string;
  /** A clause, where a file of the model is missing on the server's machine, or cannot be read there. */
  readonly lacksFile?: string;
}

/** @param why a clause, with how to find it out */
export function unknown(why: string, lacksFile = false): Unknown {
  const reason = `What fits is not known: ${why}`;
  return { kind: "unknown", reason, ...(lacksFile ? { lacksFile: why } : {}) };
}

/** A flag of the tool without its dashes, and its value; empty for a switch. */
export interface FitFlag {
  readonly name: string;
  readonly value: string;
}

/** What starts a model, as far as its memory depends on it. */
export interface StartedModel {
  readonly kind: "started";
  /** llama-server, as the model's command names it: a path, or a name to be found on the path. */
  readonly program: string;
  /** The path of the model's file, or its repository in the cache, is one of them. No context size, no slots. */
  readonly flags: readonly FitFlag[];
  /** `NAME=value` that choose devices. */
  readonly variables: readonly string[];
  /** `NAME=value` that say where libraries and caches are. */
  readonly places: readonly string[];
  /** The path of its projector for images. */
  readonly projector: string | undefined;
  /** Whether the projector is held by a device, where there is one. */
  readonly isProjectorOffloaded: boolean;
  readonly slots: number;
  /** Whether the slots share one cache. */
  readonly isUnified: boolean;
  /** Whether the command says how the model is divided among several devices. */
  readonly isSplitFixed: boolean;
  /** What is left free on each device, the last one on all others. */
  readonly marginsMiB: readonly number[];
  /** The parts that the tool does not count, as `its draft model`. */
  readonly uncounted: readonly string[];
}

/** What llama.cpp leaves free on each device, unless `--fit-target` says otherwise. */
export const USUAL_MARGIN_MIB = 1024;

/** The slots of a llama-server whose command names none: they share one cache (seen on llama.cpp 0.7.0). */
export const USUAL_SLOTS = 4;
