/** What models need of the server's memory, asked of llama.cpp's own programs on the server's machine. */
import { cleanText } from "../../lib/text.ts";
import type { Answer, FitRequest, HostRequest } from "../ssh/protocol.ts";
import type { Shell } from "../ssh/shell.ts";
import { HostError } from "../ssh/ssh-faults.ts";
import { type FitAnswer, readDevices, readFit } from "./answer.ts";
import {
  type DeviceNeed,
  type MachineMemory,
  type MemoryNeed,
  type StartedModel,
  sumOf,
  type Unknown,
  unknown,
} from "./fit.ts";
import { fitProblem } from "./fit-faults.ts";

/** Milliseconds for a verb: the script ends its programs after 20 s. */
const ASK_MS = 25_000;

/** What two figures for the same may differ by and still be one: the tool rounds each of its own down. */
const SAME_MIB = 8;
const SAME_PART = 0.02;

/** What is known of the programs on the server's machine where no model says it. */
type Programs = Pick<StartedModel, "program" | "variables" | "places">;

const USUAL_PROGRAMS: Programs = { program: "llama-server", variables: [], places: [] };

/**
 * The memory of the server's machine, over a `Shell`. Loads nothing. What cannot be found out is `Unknown` with the
 * reason; the methods reject only with the signal's reason.
 */
export class ServerMemory {
  readonly #shell: Pick<Shell, "ask" | "settings">;

  constructor(shell: Pick<Shell, "ask" | "settings">) {
    this.#shell = shell;
  }

  /** The devices and what is free on each. @param programs of a model, which decides what devices it sees */
  async devices(signal?: AbortSignal, programs: Programs = USUAL_PROGRAMS): Promise<MachineMemory | Unknown> {
    const answer = await this.#ask({ verb: ["devices"], fit: this.#request(programs, []) }, programs, signal);
    return "kind" in answer ? answer : readDevices(answer.lines);
  }

  /** What a model needs with a context size. @param tokens for all slots together */
  async need(model: StartedModel, tokens: number, signal?: AbortSignal): Promise<MemoryNeed | Unknown> {
    const needs = await this.needs(model, [tokens], signal);
    return Array.isArray(needs) ? (needs[0] ?? notUnderstood(this.#where)) : needs;
  }

  /** The same for several sizes, at most twelve. */
  async needs(
    model: StartedModel,
    sizes: readonly number[],
    signal?: AbortSignal,
  ): Promise<MemoryNeed[] | Unknown> {
    // The tool divides the cache among slots and the server shares it: one slot shows the cache, all show what each has.
    const isShared = model.isUnified && model.slots > 1;
    const ask = (slots: number): Promise<FitAnswer | Unknown> => this.#fit(model, sizes, slots, signal);
    const both = await Promise.all(isShared ? [ask(1), ask(model.slots)] : [ask(model.slots)]);
    const [one, all = one] = both;
    if (one === undefined || !("printed" in one)) return one ?? notUnderstood(this.#where);
    if (all === undefined || !("printed" in all)) return all ?? notUnderstood(this.#where);
    return one.printed.map(({ tokens, devices }, at) => {
      const joined = largerOf(devices, all.printed[at]?.devices ?? devices);
      return this.#needOf(model, one, tokens, { devices: joined, isBound: !isSame(devices, joined) });
    });
  }

  async #fit(
    model: StartedModel,
    sizes: readonly number[],
    slots: number,
    signal: AbortSignal | undefined,
  ): Promise<FitAnswer | Unknown> {
    const flags = [...model.flags, { name: "parallel", value: String(slots) }];
    const fit = this.#request(model, flags, model.projector);
    const answer = await this.#ask({ verb: ["fit", ...sizes.map(String)], fit }, model, signal);
    if ("kind" in answer) return answer;
    return readFit(answer.lines) ?? notUnderstood(this.#where);
  }

  #needOf(
    model: StartedModel,
    answer: FitAnswer,
    tokens: number,
    { devices, isBound }: { devices: readonly DeviceNeed[]; isBound: boolean },
  ): MemoryNeed {
    const uncounted = [...model.uncounted, ...answer.leftOut.map((flag) => `what --${flag} changes`)];
    const notes = uncounted.length === 0 ? [] : [`Not counted: ${uncounted.join(", ")}.`];
    if (!answer.isBeside && answer.server !== undefined) {
      const [tool, server] = [answer.tool ?? "", answer.server].map((path) => cleanText(path, 200));
      notes.push(`The figures are those of ${tool}, which may be of a different version from ${server}.`);
    }
    return {
      kind: "need",
      tokens,
      devices: withProjector(devices, answer.projectorMiB, model.isProjectorOffloaded),
      trained: answer.trained,
      bound: uncounted.length > 0 ? "at least" : isBound ? "at most" : "exact",
      notes,
    };
  }

  #request(
    { program, variables, places }: Programs,
    flags: FitRequest["flags"],
    projector?: string,
  ): FitRequest {
    return { program, variables, places: this.#isWrapped ? [] : places, flags, projector };
  }

  async #ask(
    request: HostRequest,
    programs: Programs,
    signal: AbortSignal | undefined,
  ): Promise<Answer | Unknown> {
    const [verb] = request.verb;
    const at = { where: this.#where, program: programs.program, isWrapped: this.#isWrapped };
    try {
      const answer = await this.#shell.ask(request, { timeoutMs: ASK_MS, signal });
      const { error, detail } = answer;
      if (error === undefined) return answer;
      return unknown(fitProblem(verb, error, detail, at), error === "no-model" || error === "no-projector");
    } catch (error) {
      signal?.throwIfAborted();
      if (!(error instanceof HostError)) throw error;
      return unknown(error.code === "timeout" ? fitProblem(verb, "fit-slow", "", at) : error.message);
    }
  }

  get #isWrapped(): boolean {
    const { host, mode } = this.#shell.settings;
    return mode === "wrapper" && host !== "local";
  }

  get #where(): string {
    const { host } = this.#shell.settings;
    return host === "local" ? "this machine" : host;
  }
}

function notUnderstood(where: string): Unknown {
  return unknown(`the llama-fit-params on ${where} printed something unexpected.`);
}

function largerOf(one: readonly DeviceNeed[], other: readonly DeviceNeed[]): DeviceNeed[] {
  return one.map((need) => {
    const same = other.find(({ name }) => name === need.name) ?? need;
    return {
      ...need,
      weightsMiB: Math.max(need.weightsMiB, same.weightsMiB),
      contextMiB: Math.max(need.contextMiB, same.contextMiB),
      computeMiB: Math.max(need.computeMiB, same.computeMiB),
    };
  });
}

function isSame(one: readonly DeviceNeed[], other: readonly DeviceNeed[]): boolean {
  return one.every((need, at) => {
    const [smaller, larger] = [sumOf(need), sumOf(other[at] ?? need)];
    return larger - smaller <= Math.max(SAME_MIB, SAME_PART * larger);
  });
}

/** On the first device, as llama-server puts it. */
function withProjector(
  devices: readonly DeviceNeed[],
  projectorMiB: number,
  isOffloaded: boolean,
): readonly DeviceNeed[] {
  if (projectorMiB === 0) return devices;
  const holder = (isOffloaded && devices.find(({ name }) => name !== undefined)) || devices.at(-1);
  return devices.map((need) => (need === holder ? { ...need, projectorMiB } : need));
}
