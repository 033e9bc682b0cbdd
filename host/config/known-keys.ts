import { isMap } from "yaml";
import { flagWords } from "./command/server-flags.ts";
import type { Word } from "./command/words.ts";
import { placeOf, shown } from "./refusals.ts";
import { positionAt } from "./traced-text.ts";
import { lookUp, type Model, ownKeys, type YamlConfig } from "./yaml/config.ts";
import type { Located } from "./yaml/context.ts";

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

/** How many letters must be put in, taken out or replaced; stops counting at 3. */
function distance(a: string, b: string): number {
  if (a === b) return 0;
  if (a === "" || b === "") return a.length + b.length;
  if (Math.abs(a.length - b.length) > 2) return 3;
  let row = Array.from({ length: b.length + 1 }, (_, index) => index);
  for (let i = 1; i <= a.length; i += 1) {
    const next = [i];
    for (let j = 1; j <= b.length; j += 1) {
      const replaced = (row[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1);
      next.push(Math.min(replaced, (row[j] ?? 0) + 1, (next[j - 1] ?? 0) + 1));
    }
    row = next;
  }
  return row.at(-1) ?? 3;
}

/** The known key that was probably meant. */
function nearest(key: string, known: readonly string[]): string | undefined {
  const plain = (name: string): string => name.toLowerCase().replace(/[-_ ]/g, "");
  const same = known.find((name) => plain(name) === plain(key));
  return same ?? (key.length > 3 ? known.find((name) => distance(plain(name), plain(key)) <= 2) : undefined);
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

/** A flag that is meant to set the context size, and for which llama-server does not start. */
export function unknownFlag({ server }: Located): Word | undefined {
  if (server.program.kind !== "llama-server") return undefined;
  return flagWords(server).find((word) => WRONG_FLAG.test(word.value.text.replaceAll("_", "-")));
}
