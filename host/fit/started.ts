/** Takes from what starts a model the part that its memory depends on. Pure. */
import type { ModelStart } from "../config/command/model-start.ts";
import { shown } from "../config/refusals.ts";
import { VARIABLE } from "../config/yaml/document.ts";
import {
  type FitFlag,
  type StartedModel,
  type Unknown,
  USUAL_MARGIN_MIB,
  USUAL_SLOTS,
  unknown,
} from "./fit.ts";
import type { FlagKind } from "./flags.ts";
import * as known from "./flags.ts";

const DEVICE_VARIABLE =
  /^(CUDA_DEVICE_ORDER|CUDA_VISIBLE_DEVICES|HIP_VISIBLE_DEVICES|HSA_OVERRIDE_GFX_VERSION|ONEAPI_DEVICE_SELECTOR|ROCR_VISIBLE_DEVICES|ZE_AFFINITY_MASK|GGML_(CUDA|HIP|VK)_[A-Z0-9_]+)=[\w.,:-]*$/;
const PLACE_VARIABLE =
  /^(AMD_VULKAN_ICD|DYLD_LIBRARY_PATH|GGML_BACKEND_PATH|HF_HOME|HF_HUB_CACHE|LD_LIBRARY_PATH|LLAMA_CACHE|VK_DRIVER_FILES|VK_ICD_FILENAMES)=./;

const IS_ON = /^(1|true|on|enabled)$/i;
const IS_OFF = /^(0|false|off|disabled)$/i;

interface Given {
  readonly kind: FlagKind;
  /** Empty for a switch. */
  readonly value: string;
}

/**
 * What starts a model, for the tool.
 *
 * @returns the reason where its memory is not the tool's to know
 */
export function startedModel(start: ModelStart): StartedModel | Unknown {
  const problem = problemOf(start);
  if (problem !== undefined) return unknown(problem);
  const last = (kind: FlagKind): string | undefined => given(start, [kind]).at(-1)?.value;
  const flags = passedFlags(start);
  if (!flags.some(({ name }) => name === "model" || name === "hf-repo")) {
    return unknown(`its command names no model file on the server.`);
  }
  // The values are not quoted: a file's address may hold a secret.
  const values = [
    { name: "the program", value: start.path },
    ...flags.map(({ name, value }) => ({ name: `--${name}`, value })),
    { name: "--mmproj", value: last(known.PROJECTOR) ?? "" },
  ];
  const unresolved = values.find(({ value }) => isUnresolved(value, start.isInScript));
  if (unresolved !== undefined) {
    return unknown(`only the server itself can resolve ${unresolved.name} in the model's command.`);
  }
  const wrong = flags.find((flag) => !isPassable(flag));
  if (wrong !== undefined) {
    const what = wrong.name === "model" ? "a file on the server" : "plain";
    return unknown(`the value of --${wrong.name} in the model's command is not ${what}.`);
  }
  return {
    kind: "started",
    program: fromHome(start.path),
    flags,
    variables: start.environment.filter((entry) => DEVICE_VARIABLE.test(entry)),
    places: start.environment.filter((entry) => PLACE_VARIABLE.test(entry)),
    projector: projectorOf(start),
    isProjectorOffloaded: last(known.NO_PROJECTOR_OFFLOAD) === undefined,
    ...slotsOf(start),
    isSplitFixed: flags.some(
      ({ name, value }) => name === "tensor-split" || (name === "split-mode" && value === "none"),
    ),
    marginsMiB: marginsOf(last(known.MARGIN)),
    uncounted: uncountedOf(start, flags),
  };
}

/** Whether `ai-server-admin` hands a flag on. */
function isPassable({ name, value }: FitFlag): boolean {
  if (value === "") return true;
  if (name === "model") return !/^-|\p{Cc}/u.test(value) && /\.gguf$|\/sha256-[^/]*$/.test(value);
  if (name === "hf-repo") return /^[\w.:][\w.:-]*(\/[\w.:-]+)+$/.test(value);
  if (name === "override-tensor") return !/^-|\p{Cc}/u.test(value);
  return /^(-1|[\w.,:+=][\w.,:+=-]*)$/.test(value);
}

/** Why the tool of llama.cpp cannot know the memory of what is started. */
function problemOf({ path, name, kind, place, flags, environment }: ModelStart): string | undefined {
  if (place !== undefined) {
    return `its llama-server runs ${place === "a container" ? "in" : "on"} ${place}.`;
  }
  const isServer = /^llama(?![a-z]*file)/i.test(name);
  if (kind !== "llama-server" || !isServer) {
    return `it is started by ${shown(name)}, and llama-fit-params knows only llama-server.`;
  }
  const ofIk = flags.find((flag) => known.OF_IK.has(flag.name));
  if (/(^|[-_/.])ik[-_]?llama/i.test(path) || ofIk !== undefined) {
    return `it is started by ik_llama.cpp, which has no llama-fit-params.`;
  }
  const isRemote =
    flags.some((flag) => flag.name === "rpc") || environment.some((entry) => /^LLAMA_ARG_RPC=./.test(entry));
  return isRemote ? `it is divided among several machines (--rpc).` : undefined;
}

/** The places where flags are given, in the order in which the server reads them: variables, then arguments. */
function given({ flags, environment }: ModelStart, kinds: readonly FlagKind[]): Given[] {
  const byVariable = kinds.flatMap((kind): Given[] => {
    const entry = environment.findLast((one) => kind.variables.has(one.slice(0, one.indexOf("="))));
    return entry === undefined ? [] : valued(kind, entry.slice(entry.indexOf("=") + 1));
  });
  const byFlag = flags.flatMap(({ name, value }): Given[] => {
    const kind = kinds.find(({ names }) => names.has(name));
    return kind === undefined ? [] : valued(kind, value);
  });
  return [...byVariable, ...byFlag];
}

function valued(kind: FlagKind, value: string | undefined): Given[] {
  if (kind.takes === "value") return value === undefined ? [] : [{ kind, value }];
  const isWord = value !== undefined && (IS_ON.test(value) || IS_OFF.test(value) || value === "auto");
  if (kind.takes === "choice") return [{ kind, value: isWord ? value : "on" }];
  return isWord && IS_OFF.test(value) ? [] : [{ kind, value: "" }];
}

/** What is handed on: of each flag the last one, and of a switch and its opposite the last one too. */
function passedFlags(start: ModelStart): FitFlag[] {
  const all = given(start, known.PASSED);
  const counting = all.filter(
    ({ kind }, at) =>
      known.REPEATED.has(kind.name) ||
      !all.slice(at + 1).some((later) => later.kind === kind || later.kind.name === kind.opposite),
  );
  return counting.map(({ kind, value }) => ({
    name: kind.name,
    value: kind.name === "model" ? fromHome(value) : value,
  }));
}

/** llama-swap's own variable for the home; the server's user is the one that logs in. */
function fromHome(path: string): string {
  return path.replace(/^\$\{env\.HOME\}(?=\/)/, "~");
}

function isUnresolved(value: string, isInScript: boolean): boolean {
  if (fromHome(value).startsWith("~") && !isInScript) return isUnresolved(fromHome(value).slice(1), false);
  return isInScript ? /[$`]/.test(value) : /\$\{/.test(value) || value.includes(VARIABLE);
}

function projectorOf(start: ModelStart): string | undefined {
  if (given(start, [known.NO_PROJECTOR]).length > 0) return undefined;
  const path = given(start, [known.PROJECTOR]).at(-1)?.value;
  return path === undefined ? undefined : fromHome(path);
}

function slotsOf(start: ModelStart): Pick<StartedModel, "slots" | "isUnified"> {
  const parallel = Number(given(start, [known.PARALLEL]).at(-1)?.value ?? -1);
  const unified = given(start, [known.UNIFIED, known.NOT_UNIFIED]).at(-1)?.kind;
  if (!(parallel > 0)) return { slots: USUAL_SLOTS, isUnified: unified !== known.NOT_UNIFIED };
  return { slots: parallel, isUnified: parallel > 1 && unified === known.UNIFIED };
}

function marginsOf(value = String(USUAL_MARGIN_MIB)): number[] {
  return /^\d{1,9}(,\d{1,9})*$/.test(value) ? value.split(",").map(Number) : [USUAL_MARGIN_MIB];
}

function uncountedOf(start: ModelStart, flags: readonly FitFlag[]): string[] {
  const parts = known.UNCOUNTED.flatMap(([kind, part]) => {
    const value = given(start, [kind]).at(-1)?.value;
    const isPlain = kind.names.has("spec-type") && known.PLAIN_SPECULATION.test(value ?? "");
    return value === undefined || isPlain ? [] : [part];
  });
  // A model of the cache brings its own projector along.
  const isCached = flags.some(({ name }) => name === "hf-repo");
  const hasOwn =
    isCached && projectorOf(start) === undefined && given(start, [known.NO_PROJECTOR]).length === 0;
  const strange = start.flags
    .map(({ name }) => name)
    .filter((name) => !isKnown(name))
    .map((name) => `what ${shown(name.length > 1 ? `--${name}` : `-${name}`)} takes`);
  return [
    ...new Set([...parts, ...(hasOwn ? ["a projector that the repository may have"] : []), ...strange]),
  ];
}

const COUNTED: readonly FlagKind[] = [
  ...known.PASSED,
  known.PARALLEL,
  known.UNIFIED,
  known.NOT_UNIFIED,
  known.PROJECTOR,
  known.NO_PROJECTOR,
  known.NO_PROJECTOR_OFFLOAD,
  known.MARGIN,
  ...known.UNCOUNTED.map(([kind]) => kind),
];

function isKnown(name: string): boolean {
  return known.isHarmless(name) || COUNTED.some(({ names }) => names.has(name));
}
