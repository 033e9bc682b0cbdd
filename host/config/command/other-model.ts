/** What to change in a model's command so that it starts another model: which words go, and what takes their place. Pure. */
import { type BoundFlag, boundFlags } from "./model-flags.ts";
import { pathInside } from "./mounts.ts";
import type { ServerCommand } from "./server-arguments.ts";
import { flagsNamed } from "./server-flags.ts";
import type { Word } from "./words.ts";

/** One change of a command line's words. */
export type Step =
  | { readonly kind: "drop"; readonly words: readonly Word[] }
  /** The words become these; `isReference` where llama-swap reads the text, as `${PORT}`. */
  | {
      readonly kind: "swap";
      readonly words: readonly Word[];
      readonly texts: readonly string[];
      readonly isReference?: true;
    }
  | { readonly kind: "add"; readonly after: Word; readonly texts: readonly string[] };

/** The model for which a command is written after the pattern of another. */
export interface OtherModel {
  readonly id: string;
  /** The id of the pattern. */
  readonly from: string;
  readonly file: string;
  readonly mmproj: string | undefined;
  /** The port that is the pattern's own, as its `proxy` has it. */
  readonly port: number | undefined;
}

export interface Rewriting {
  readonly steps: readonly Step[];
  readonly leftOut: readonly BoundFlag[];
  readonly tuned: readonly BoundFlag[];
}

/** A word that no shell, splitter or reader of YAML takes for anything but itself. */
const PLAIN_WORD = /^[\w./+@%:=,-]+$/;

/** A word as llama-swap's splitter reads it back, in quotes where it must be. */
export function quoteWord(word: string): string {
  return PLAIN_WORD.test(word) ? word : `'${word.replaceAll("'", `'"'"'`)}'`;
}

/** The words of a command line after these steps. */
export function wordsAfter(words: readonly Word[], steps: readonly Step[]): string[] {
  return words.flatMap((word) => {
    const own = steps.find((step) => step.kind !== "add" && step.words.includes(word));
    const added = steps.flatMap((step) => (step.kind === "add" && step.after === word ? step.texts : []));
    if (own === undefined || own.kind === "add") return [word.value.text, ...added];
    return own.kind === "swap" && own.words[0] === word ? [...own.texts, ...added] : added;
  });
}

const drop = ({ words }: BoundFlag): Step => ({ kind: "drop", words });

/** Gives a flag another value, in its own spelling. */
function withValue({ words, name, isJoined }: BoundFlag, value: string): Step {
  const [flag, old] = words;
  if (isJoined && flag) return { kind: "swap", words: [flag], texts: [name, value] };
  return old ? { kind: "swap", words: [old], texts: [value] } : { kind: "swap", words, texts: [name, value] };
}

function isShort({ args }: ServerCommand): boolean {
  const texts = args.map((word) => word.value.text);
  return (
    texts.filter((text) => /^-[a-z]/i.test(text)).length >
    texts.filter((text) => /^--[a-z]/i.test(text)).length
  );
}

/** The step that names the file; where llama-server found its model in another way, in that one's place. */
function fileSteps(server: ServerCommand, flags: readonly BoundFlag[], file: string): Step[] | string {
  const files = flags.filter(({ bond }) => bond === "file");
  const sources = flags.filter(({ bond }) => bond === "source");
  const last = files.at(-1);
  if (last) return [withValue(last, file), ...[...files.slice(0, -1), ...sources].map(drop)];
  const [first, ...rest] = sources;
  if (!first) return "names no model file that could be replaced";
  const texts = [isShort(server) ? "-m" : "--model", file];
  return [{ kind: "swap", words: first.words, texts }, ...rest.map(drop)];
}

/** The step that names the projector, in the place of the pattern's, or after the file. */
function projectorSteps(
  flags: readonly BoundFlag[],
  mmproj: string | undefined,
  file: Step | undefined,
): Step[] {
  const old = flags.filter(({ bond }) => bond === "projector");
  if (mmproj === undefined) return old.map(drop);
  const [first] = old.filter(({ words, isJoined }) => words.length > 1 || isJoined);
  if (first) {
    const isFile = /^(-mm|--mmproj)$/.test(first.name);
    const own: Step = isFile
      ? withValue(first, mmproj)
      : { kind: "swap", words: first.words, texts: ["--mmproj", mmproj] };
    return [own, ...old.filter((flag) => flag !== first).map(drop)];
  }
  const after = file?.kind === "swap" ? file.words.at(-1) : undefined;
  return [...(after ? [{ kind: "add" as const, after, texts: ["--mmproj", mmproj] }] : []), ...old.map(drop)];
}

/** A name that the pattern gives itself becomes the id; all others are another model's. */
function aliasStep(flag: BoundFlag, { id, from }: OtherModel): Step | undefined {
  if (flag.value === id) return undefined;
  return flag.value === from && !/^--tags/.test(flag.name) ? withValue(flag, id) : drop(flag);
}

/** The port that only the pattern may have becomes the one that llama-swap gives each model. */
function portSteps(server: ServerCommand, port: number | undefined): Step[] | string {
  if (port === undefined) return [];
  const flags = flagsNamed(server, ["--port"]);
  const own = flags.filter(({ value }) => value.text === String(port));
  if (own.length === 0 || own.length < flags.length || server.place !== undefined)
    return `needs the port ${port} for itself`;
  return own.map(({ words, name }) => ({
    kind: "swap",
    words: words.slice(-1),
    texts: words.length > 1 ? ["${PORT}"] : [name, "${PORT}"],
    isReference: true,
  }));
}

/** Flags that make a llama-server one that serves many models. */
const ROUTER = ["--models-dir", "--models-preset"];

/** Why a command is no pattern for another model, as a clause. */
function strangeness(server: ServerCommand, flags: readonly BoundFlag[], id: string): string | undefined {
  const { program, name } = server;
  const isLike = program.kind === "unknown" && flags.some(({ bond }) => bond === "file");
  if (program.kind !== "llama-server" && !isLike) return `starts "${name}", which is not llama-server`;
  if (flagsNamed(server, ROUTER).length > 0) return "is a router for many models itself";
  if (server.place === "another machine") return "runs on another machine";
  const isNamed = server.place === "a container" && namesContainer(server, id);
  return isNamed ? "starts a container with a name of its own" : undefined;
}

/** Whether a container gets a name that does not come from the model's id, so that two models would want the same one. */
function namesContainer({ words }: ServerCommand, id: string): boolean {
  return words.some(({ value }, at) => {
    if (!/^--name(=|$)/.test(value.text)) return false;
    const name = value.text.includes("=") ? value : words[at + 1]?.value;
    return name?.traces.some(({ scalar }) => String(scalar.value) === id) !== true;
  });
}

/**
 * Finds what to change in a command.
 *
 * @param server the pattern's command, with the new id where it has `${MODEL_ID}`
 * @returns a clause that says why this command is no pattern, as "starts …"
 */
export function rewritingFor(server: ServerCommand, model: OtherModel): Rewriting | string {
  const flags = boundFlags(server.args);
  const strange = strangeness(server, flags, model.id);
  if (strange !== undefined) return strange;
  const file = pathInside(server, model.file);
  const mmproj = model.mmproj === undefined ? undefined : pathInside(server, model.mmproj);
  if (file === undefined) return `runs in a container that does not see ${model.file}`;
  if (mmproj === undefined && model.mmproj !== undefined)
    return `runs in a container that does not see ${model.mmproj}`;
  const naming = fileSteps(server, flags, file);
  const ports = portSteps(server, model.port);
  if (typeof naming === "string") return naming;
  if (typeof ports === "string") return ports;
  const projector = projectorSteps(flags, mmproj, naming[0]);
  // Only what is known to be llama-server gets an argument that was not there.
  if (server.program.kind !== "llama-server" && projector.some(({ kind }) => kind === "add"))
    return "has no projector, and cannot be given one";
  const bound = (bond: BoundFlag["bond"]): BoundFlag[] => flags.filter((flag) => flag.bond === bond);
  const aliases = bound("alias").flatMap((flag) => aliasStep(flag, model) ?? []);
  const steps = [...naming, ...projector, ...aliases, ...bound("own").map(drop), ...ports];
  return { steps, leftOut: bound("own"), tuned: bound("tuned") };
}
