/** The proof that a new text has one model more than the old one, and is the same otherwise. */

import type { TracedText } from "../traced-text.ts";
import { type Model, readYamlConfig, type YamlConfig } from "./config.ts";
import { type Located, locate, modelOf } from "./context.ts";
import { AS_PLAIN } from "./document.ts";
import { lineEndOf } from "./own-command.ts";
import { differences, isSplitAlike, withoutFigure } from "./proof.ts";

/** What the new model must be. */
export interface Wanted {
  readonly id: string;
  /** The words of its command. */
  readonly words: readonly string[];
  /** Its settings beside the command and the macros, as plain values. */
  readonly settings: ReadonlyMap<string, unknown>;
}

/** A block that one way of writing gives, and what it must turn out to be. */
export interface Written {
  readonly block: string;
  readonly wanted: Wanted;
  readonly warnings: readonly string[];
}

/** The old document with this model more. */
function withModel(plain: unknown, id: string, model: unknown): unknown {
  const root = new Map<unknown, unknown>(plain instanceof Map ? plain : []);
  const models: unknown = root.get("models");
  return root.set("models", new Map<unknown, unknown>(models instanceof Map ? models : []).set(id, model));
}

/** The settings of a model as plain values, without its command and macros. */
export function plainSettings({ document }: YamlConfig, { mapping }: Model): Map<string, unknown> {
  const plain: unknown = mapping.toJS(document, AS_PLAIN);
  const entries = plain instanceof Map ? [...plain] : [];
  return new Map(
    entries.flatMap(([key, value]: [unknown, unknown]) =>
      key === "cmd" || key === "macros" ? [] : [[String(key), value] as const],
    ),
  );
}

/** The settings without the size in the environment, which may have been set. */
function withoutSize(settings: ReadonlyMap<string, unknown>): Map<string, unknown> {
  const env = settings.get("env");
  if (!Array.isArray(env)) return new Map(settings);
  return new Map(settings).set("env", env.map(withoutFigure));
}

/** A text as it would be if the model had this id. */
function withId({ text, traces }: TracedText, { key, id: old }: Model, id: string): string {
  let result = "";
  for (let at = 0; at < text.length; ) {
    const isId = traces[at]?.scalar === key;
    result += isId ? id : text.charAt(at);
    at += isId ? Math.max(1, old.length) : 1;
  }
  return result;
}

/**
 * What speaks against a block that should run the pattern's command, with the new id in the place of the old one.
 *
 * @param text with that block
 */
export function copyFault(from: Located, text: string, id: string): string | undefined {
  let copy: Located;
  try {
    const config = readYamlConfig(text);
    copy = locate(config, modelOf(config, id));
  } catch {
    return "the new text would not be understood";
  }
  const { model, server, expanded } = from;
  const words = server.words.map((word) => withId(word.value, model, id));
  const isSame =
    copy.expanded.text.trim() === withId(expanded, model, id).trim() &&
    JSON.stringify(copy.server.words.map((word) => word.value.text)) === JSON.stringify(words);
  return isSame ? undefined : "its command would change";
}

/** @returns a clause that says what speaks against the new text, or undefined */
export function additionFault(before: YamlConfig, text: string, wanted: Wanted): string | undefined {
  const { id } = wanted;
  let after: YamlConfig;
  let located: Located;
  try {
    after = readYamlConfig(text);
    const model = after.models.get(id);
    if (!model?.isOwn) return "the model would not be there";
    located = locate(after, model);
  } catch {
    return "the new text would not be understood";
  }
  // Without a line end at the end of the file, its last text has none either: the new block gives it one.
  const isEnded = before.text === "" || before.text.endsWith("\n");
  const old = isEnded ? before : readYamlConfig(before.text + lineEndOf(before.text), true);
  const plain: unknown = located.model.mapping.toJS(after.document, AS_PLAIN);
  const [stray] = differences(withModel(old.plain, id, plain), after.plain);
  if (stray) return `${stray.path.join(".")} would change too`;
  const [other] = differences(withoutSize(wanted.settings), withoutSize(plainSettings(after, located.model)));
  if (other) return `its ${other.path.join(".")} would change`;
  const words = located.server.words.map((word) => word.value.text);
  if (JSON.stringify(words) !== JSON.stringify(wanted.words)) return "its command would change";
  return isSplitAlike(located) ? undefined : "its command would be split differently";
}
