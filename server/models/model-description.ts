/** What the list of models says of one of them beside its facts. Pure. */

import { type JsonRecord, record, text, texts } from "../../lib/json.ts";
import { cleanText } from "../../lib/text.ts";
import { idOf, nameOf } from "./names.ts";

export interface ModelDescription {
  /** In the words of the server's owner; may have several lines. */
  readonly text: string | undefined;
  /** Other ids of the same model. */
  readonly aliases: readonly string[];
  /** The other server that it runs on, by the name that llama-swap has for it. */
  readonly peer: string | undefined;
  /** The models among which it chooses for each request. */
  readonly targets: readonly string[];
}

export const NO_DESCRIPTION: ModelDescription = {
  text: undefined,
  aliases: [],
  peer: undefined,
  targets: [],
};

const MAX_LENGTH = 1000;
const MAX_ALIASES = 50;
const MAX_TARGETS = 20;

/**
 * Reads what is said of each model, by its id.
 *
 * @param listed entries of `/v1/models` by their ids; llama-swap tells aliases and peers since v241, a description earlier
 */
export function descriptionsOf(listed: ReadonlyMap<string, JsonRecord>): Map<string, ModelDescription> {
  const found = new Map<
    string,
    Pick<ModelDescription, "text" | "peer" | "targets"> & { aliases: Set<string> }
  >();
  const entries = [...listed].map(([id, entry]) => ({
    id,
    entry,
    metadata: record(record(entry.meta)?.llamaswap),
  }));
  for (const { id, entry, metadata } of entries) {
    // A model of the user's own metadata may have anything under these names before v241.
    const aliases = metadata?.type === "model" ? texts(metadata.aliases) : [];
    found.set(id, {
      text: text(cleanText(text(entry.description) ?? "", MAX_LENGTH)),
      aliases: new Set(aliases.flatMap((alias) => idOf(alias) ?? [])),
      peer: metadata?.type === "peer" ? nameOf(metadata.peerID) : undefined,
      targets: metadata?.type === "selector" ? targetsIn(metadata.targets) : [],
    });
  }
  for (const { id, metadata } of entries) {
    if (metadata?.type === "alias") found.get(text(metadata.modelID) ?? "")?.aliases.add(id);
  }
  return new Map(
    [...found].map(([id, { aliases, ...rest }]) => [
      id,
      { ...rest, aliases: [...aliases].slice(0, MAX_ALIASES) },
    ]),
  );
}

function targetsIn(value: unknown): string[] {
  return texts(value)
    .flatMap((target) => idOf(target) ?? [])
    .slice(0, MAX_TARGETS);
}
