/** Why a size in llama-swap's YAML is not changed, and what beside it has no effect, in sentences that name the place. */
import leven from "leven";
import { isMap, isScalar, isSeq } from "yaml";
import { flagWords } from "../command/server-flags.ts";
import type { Word } from "../command/words.ts";
import type { ContextSetting } from "../context-setting.ts";
import { placeOf, refusal, shown } from "../refusals.ts";
import { positionAt } from "../traced-text.ts";
import { lookUp, type Model, ownKeys, type YamlConfig } from "./config.ts";
import type { Located } from "./context.ts";
import { rangeOf } from "./own-command.ts";

/** What the user can do where a model is no pattern for another one. */
export const OTHER_PATTERN = "Choose another model as the pattern, or write the block by hand.";

/** The other models that run the very same `cmd`. */
export function sharers(config: YamlConfig, located: Located): Model[] {
  return [...config.models.values()].filter(
    (other) =>
      other !== located.model &&
      other.mapping !== located.model.mapping &&
      lookUp(config.anchors, other.mapping, "cmd")?.node === located.scalar,
  );
}

/** The refusal of a new argument for what is not known to be llama-server. */
function refuseOther({ model, server }: Located, before: ContextSetting, tokens: number): never {
  const { kind, sizeFlags, sizeVariable } = server.program;
  const starts = `${shown(model.id)} starts ${shown(server.name)}, which is not`;
  const [flag] = sizeFlags;
  if (kind === "unknown") {
    const what = `${starts} known to be llama-server, and --ctx-size may mean nothing to it`;
    throw refusal(before, what, "If it takes a context size, write that into its `cmd` by hand.");
  }
  if (flag) {
    const what = `${starts} llama-server: ${flag} sets its context size, and its \`cmd\` has none`;
    throw refusal(before, what, `Write \`${flag} ${tokens}\` into its \`cmd\` by hand.`);
  }
  if (sizeVariable === undefined) {
    throw refusal(
      before,
      `${starts} llama-server and knows no --ctx-size`,
      "There is no context size to set.",
    );
  }
  const what = `${starts} llama-server: the variable ${sizeVariable} sets its context size`;
  throw refusal(before, what, `Give it \`${sizeVariable}=${tokens}\` by hand.`);
}

/** The sentence for a size that no way of changing leads to. @throws {ServerError} */
export function refuse(
  config: YamlConfig,
  located: Located,
  before: ContextSetting,
  { fault, tokens }: { fault: string | undefined; tokens: number },
): never {
  const { model, server } = located;
  if (server.program.kind !== "llama-server" && !located.figure) refuseOther(located, before, tokens);
  if (!model.isOwn) {
    const what = `${shown(model.id)} copies its whole block from elsewhere`;
    throw refusal(
      positionAt(config.text, rangeOf(model.key).start),
      what,
      "Write a block with a `cmd` of its own.",
    );
  }
  const others = sharers(config, located).map((other) => shown(other.id));
  if (others.length > 0) {
    const what = `the \`cmd\` of ${shown(model.id)} is shared with ${others.join(", ")}`;
    throw refusal(before, what, `Write a \`cmd\` of its own for ${shown(model.id)} by hand, then try again.`);
  }
  if (server.isInScript && !located.figure) {
    const what = `${shown(model.id)} starts llama-server with arguments that only its shell knows`;
    throw refusal(before, what, "Write `--ctx-size` into that command by hand.");
  }
  if (server.isInScript && before.tokens === undefined) {
    const what = `the size of ${shown(model.id)} stands inside the string that it gives to a shell, and is not a plain number`;
    throw refusal(before, what, "Change it by hand.");
  }
  const what = `the size of ${shown(model.id)} cannot be changed alone${fault ? ` (${fault})` : ""}`;
  throw refusal(before, what, "Change it by hand.");
}

/** What ends a line to llama-swap's YAML reader (`is_break` of go-yaml v3), and to YAML 1.2 does not. */
const FOREIGN_LINE_END = /\r(?!\n)|[\u0085\u2028\u2029]/;

/** Where the two readers may see other lines, nothing that is found here proves anything about the server. */
export function refuseForeignLineEnds(text: string): void {
  const found = FOREIGN_LINE_END.exec(text);
  if (!found) return;
  const code = found[0].charCodeAt(0).toString(16).toUpperCase().padStart(4, "0");
  const what = `the character U+${code} ends a line for llama-swap, but not for every reader of YAML`;
  throw refusal(positionAt(text, found.index), what, "Replace it with a plain line end or a space.");
}

/** What is not set by a flag that llama-server knows is set by none that can be changed. */
export function refuseUnknownFlag(config: YamlConfig, located: Located): void {
  const word = unknownFlag(located);
  const at = word?.raw.traces[0]?.origin.start;
  if (!word || at === undefined) return;
  const what = `${located.server.name} has no flag ${shown(word.value.text)}, and does not start with it`;
  throw refusal(
    positionAt(config.text, at),
    what,
    "Write `--ctx-size` in its place by hand, then try again.",
  );
}

/** A list is all that llama-swap reads there; with anything else it does not start. */
export function refuseOtherEnvironment(config: YamlConfig, model: Model): void {
  const env = lookUp(config.anchors, model.mapping, "env");
  if (!env || isSeq(env.node) || (isScalar(env.node) && env.node.value === null)) return;
  const at = positionAt(config.text, rangeOf(env.written ?? env.node).start);
  const what = `the \`env\` of ${shown(model.id)} is not a list, and llama-swap does not start with it`;
  throw refusal(at, what, "Write it as a list of `NAME=value` by hand, then try again.");
}

// The keys of llama-swap's `internal/config` at v250; it ignores all others.
const TOP =
  "healthCheckTimeout logRequests logLevel logTimeFormat logToStdout metricsMaxInMemory captureBuffer store ui performance globalTTL unloadTimeout models profiles selectors routing groups matrix macros startPort hooks sendLoadingState includeAliasesInList apiKeys peers upstream".split(
    " ",
  );
const MODEL =
  "cmd cmdStop proxy aliases env checkEndpoint ttl unloadTimeout unlisted useModelName name description concurrencyLimit filters macros metadata sendLoadingState timeouts compat capabilities healthCheckTimeout".split(
    " ",
  );
const CAPABILITIES = "in out tools reranker context".split(" ");

/** Flags that people write for `--ctx-size`; llama-server ends with an error on them. */
const WRONG_FLAG =
  /^([-\u2013\u2014]{1,2}(ctx|n-?ctx|num-?ctx|ctx-?(len|length|window)|ctxsize|context-?(size|len|length|window)?|max-model-len|max-seq-len)|--c|-c\d+k?|-ctx-size|[\u2013\u2014]-?ctx-size)(=|$)/;

/** The known key that was probably meant. */
function nearest(key: string, known: readonly string[]): string | undefined {
  const plain = (name: string): string => name.toLowerCase().replace(/[-_ ]/g, "");
  const same = known.find((name) => plain(name) === plain(key));
  return (
    same ??
    (key.length > 3
      ? known.find((name) => leven(plain(name), plain(key), { maxDistance: 3 }) <= 2)
      : undefined)
  );
}

function sentence(
  config: YamlConfig,
  key: { name: string; offset: number },
  known: readonly string[],
): string {
  const near = nearest(key.name, known);
  const hint = near ? `: ${shown(near)} is probably meant` : "";
  return `llama-swap ignores the key ${shown(key.name)} at ${placeOf(positionAt(config.text, key.offset))}${hint}.`;
}

/**
 * Sentences about what stands beside a model's context size and has no effect: unknown keys of the model and of its
 * capabilities, misspelled ones at the top of the file. Other unknown keys up there hold anchors.
 */
export function ignoredBeside(config: YamlConfig, model: Model): string[] {
  const capabilities = lookUp(config.anchors, model.mapping, "capabilities")?.node;
  const top = ownKeys(config.root).filter((key) => !TOP.includes(key.name) && nearest(key.name, TOP));
  const own = ownKeys(model.mapping).filter((key) => !MODEL.includes(key.name));
  const inner = isMap(capabilities)
    ? ownKeys(capabilities).filter((key) => !CAPABILITIES.includes(key.name))
    : [];
  return [
    ...top.map((key) => sentence(config, key, TOP)),
    ...own.map((key) => sentence(config, key, MODEL)),
    ...inner.map((key) => sentence(config, key, CAPABILITIES)),
  ];
}

/** The known key that a key surely misspells: `note` does not misspell `name`. */
function meant(key: string, known: readonly string[]): string | undefined {
  const plain = (name: string): string => name.toLowerCase().replace(/[-_ ]/g, "");
  const most = key.length < 3 ? 0 : key.length < 8 ? 1 : 2;
  return known.find((name) => leven(plain(name), plain(key), { maxDistance: 3 }) <= most);
}

/** Sentences about keys of the whole file that llama-swap ignores and that are misspelled ones. */
export function misspelledKeys(config: YamlConfig): string[] {
  const slips = (keys: readonly { name: string; offset: number }[], known: readonly string[]): string[] =>
    keys.flatMap(({ name, offset }) => {
      const near = known.includes(name) ? undefined : meant(name, known);
      if (near === undefined) return [];
      const at = placeOf(positionAt(config.text, offset));
      return [`llama-swap ignores the key ${shown(name)} at ${at}: ${shown(near)} is probably meant.`];
    });
  const models = [...config.models.values()].flatMap(({ mapping }) => {
    const capabilities = lookUp(config.anchors, mapping, "capabilities")?.node;
    const inner = isMap(capabilities) ? ownKeys(capabilities) : [];
    return [...slips(ownKeys(mapping), MODEL), ...slips(inner, CAPABILITIES)];
  });
  // A block that several models share is named once.
  return [...new Set([...slips(ownKeys(config.root), TOP), ...models])];
}

/** A flag that is meant to set the context size, and for which llama-server does not start. */
export function unknownFlag({ server }: Pick<Located, "server">): Word | undefined {
  if (server.program.kind !== "llama-server") return undefined;
  return flagWords(server).find((word) => WRONG_FLAG.test(word.value.text.replaceAll("_", "-")));
}
