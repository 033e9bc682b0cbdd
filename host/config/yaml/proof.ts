import { splitWords } from "../../../lib/split-words.ts";
import { isTrainedLength } from "../../../lib/trained-length.ts";
import { contextFlags } from "../command/server-flags.ts";
import { commandText } from "../command/words.ts";
import { CONTEXT_VARIABLE, namesContext, shareOf, tokensOf } from "../context-setting.ts";
import { type Model, macrosFor, readYamlConfig, referenceTo, staysShort, type YamlConfig } from "./config.ts";
import { type Located, locate } from "./context.ts";
import { AS_PLAIN } from "./document.ts";
import { textOfScalar } from "./scalar-source.ts";

type Path = readonly string[];

interface Difference {
  readonly path: Path;
  readonly after: unknown;
}

/**
 * What differs between two parsed values, by path. Keys are compared without their order, except those of
 * macros: each may use only the ones before it.
 */
export function differences(before: unknown, after: unknown, path: Path = []): Difference[] {
  if (before instanceof Map && after instanceof Map) {
    const keys = [...new Set<unknown>([...before.keys(), ...after.keys()])];
    const isOrdered = path.at(-1) === "macros";
    if (isOrdered && [...before.keys()].join("\n") !== [...after.keys()].join("\n")) return [{ path, after }];
    return keys.flatMap((key) =>
      before.has(key) === after.has(key)
        ? differences(before.get(key), after.get(key), [...path, String(key)])
        : [{ path: [...path, String(key)], after: after.get(key) }],
    );
  }
  if (Array.isArray(before) && Array.isArray(after) && before.length === after.length) {
    return before.flatMap((item: unknown, index) =>
      differences(item, after[index], [...path, String(index)]),
    );
  }
  return Object.is(before, after) || sameDate(before, after) ? [] : [{ path, after }];
}

function sameDate(before: unknown, after: unknown): boolean {
  return before instanceof Date && after instanceof Date && before.getTime() === after.getTime();
}

function isDeclared(path: Path): boolean {
  const [first, second] = path;
  if (first === "capabilities") return second === "context" && path.length === 2;
  return first === "metadata" && path.length > 1 && namesContext(path.at(-1) ?? "");
}

/** Whether something at this path of the file may differ when the model's context size does. */
function mayDiffer(path: Path, id: string): boolean {
  const [top, model, ...rest] = path;
  if (top !== "models" || model !== id) return false;
  if (rest.length === 1) return rest[0] === "cmd";
  return (rest.length === 2 && (rest[0] === "env" || rest[0] === "macros")) || isDeclared(rest);
}

/** All words of a command but the ones that set the context size. */
function otherWords(located: Located): string[] {
  const own = new Set(contextFlags(located.server).flatMap((flag) => flag.words));
  return located.server.words
    .filter((word) => !own.has(word))
    .map((word) => word.value.text.replace(new RegExp(`(${CONTEXT_VARIABLE}=)\\d+`), "$1"));
}

/** Expands macros in every text of a value, as llama-swap does. */
function expanded(value: unknown, macros: readonly (readonly [string, string])[]): unknown {
  if (value instanceof Map) {
    return new Map([...value].map(([key, item]: [unknown, unknown]) => [key, expanded(item, macros)]));
  }
  if (Array.isArray(value)) return value.map((item: unknown) => expanded(item, macros));
  if (typeof value !== "string") return value;
  let text: string = value;
  for (const [reference, by] of [...macros].reverse()) {
    // Not equal to anything, so that what cannot be compared counts as changed.
    if (!staysShort(text, reference, by)) return Symbol("too long");
    text = text.replaceAll(reference, () => by);
  }
  return text;
}

/** Whether a path of a model's settings leads to what its file says of the trained length. */
function isTrained(settings: unknown, path: Path): boolean {
  let holder = settings;
  for (const key of path.slice(0, -1)) holder = holder instanceof Map ? holder.get(key) : undefined;
  if (!(holder instanceof Map)) return false;
  const entries = [...holder].map(([key, value]: [unknown, unknown]) => [String(key), value] as const);
  return isTrainedLength(path.at(-1) ?? "", entries);
}

/** An entry of `env` without the size that it sets. */
export function withoutFigure(entry: unknown): string {
  return String(entry).replace(new RegExp(`^(${CONTEXT_VARIABLE}=).*`, "s"), "$1");
}

/** Everything of a model but its command, as llama-swap will have it. */
function otherSettings(config: YamlConfig, model: Model): unknown {
  const plain: unknown = model.mapping.toJS(config.document, AS_PLAIN);
  if (!(plain instanceof Map)) return plain;
  const macros = macrosFor(config, model).map(
    (macro) => [referenceTo(macro.name), textOfScalar(macro.scalar)] as const,
  );
  const rest = new Map<unknown, unknown>(plain);
  rest.delete("cmd");
  rest.delete("macros");
  const env: unknown = expanded(rest.get("env"), macros);
  if (Array.isArray(env)) rest.set("env", env.map(withoutFigure));
  return expanded(rest, macros);
}

/** Whether a splitter written by others sees the same words in a command. */
export function isSplitAlike(located: Located): boolean {
  const words = located.server.words.map((word) => word.value.text);
  return located.server.isInScript || same(words, secondOpinion(located) ?? []);
}

/** Word lists of a splitter written by others, or undefined where it cannot split. */
function secondOpinion(located: Located): string[] | undefined {
  try {
    return splitWords(commandText(located.expanded));
  } catch {
    return undefined;
  }
}

function same(a: readonly string[], b: readonly string[]): boolean {
  return a.length === b.length && a.every((word, index) => word === b[index]);
}

function commandFault(before: Located, after: Located): string | undefined {
  if (!same(otherWords(before), otherWords(after))) return "other words of the command would change";
  const [mine, theirs] = [before, after].map((located) => ({
    words: located.server.words.map((word) => word.value.text),
    opinion: secondOpinion(located),
  }));
  const agreed = mine?.opinion && same(mine.words, mine.opinion);
  if (agreed && !(theirs?.opinion && same(theirs.words, theirs.opinion))) {
    return "the new command would be split in another way";
  }
  return undefined;
}

function settingsFault(
  before: YamlConfig,
  after: YamlConfig,
  located: Located,
  tokens: number,
): string | undefined {
  const old = before.models.get(located.model.id);
  if (!old) return "the model would be another";
  const allowed = new Set([tokens, shareOf(tokens, located.slots)]);
  const settings = otherSettings(before, old);
  for (const { path, after: value } of differences(settings, otherSettings(after, located.model))) {
    const figure = tokensOf(String(value));
    if (!isDeclared(path) || isTrained(settings, path) || figure === undefined || !allowed.has(figure)) {
      return `${path.join(".")} of this model would change too`;
    }
  }
  return undefined;
}

/**
 * Parses the new text and compares it with the old: they may differ in this model's context figures only, and the
 * model's size must be the new one.
 *
 * @returns a clause that says what speaks against the new text, or undefined
 */
export function faultOf(before: YamlConfig, text: string, id: string, tokens: number): string | undefined {
  let after: YamlConfig;
  let found: { old: Located; new: Located };
  try {
    after = readYamlConfig(text);
    const [old, now] = [before.models.get(id), after.models.get(id)];
    if (!old || !now) return "the model would be gone";
    found = { old: locate(before, old), new: locate(after, now) };
  } catch {
    return "the new text would not be understood";
  }
  const [stray] = differences(before.plain, after.plain).filter(({ path }) => !mayDiffer(path, id));
  if (stray) return `${stray.path.join(".")} would change too`;
  const figure = found.new.figure;
  if (!figure || tokensOf(figure.value.text) !== tokens) return "the size would not take effect";
  return commandFault(found.old, found.new) ?? settingsFault(before, after, found.new, tokens);
}
