/** What the list of models says of one of them beside its facts. Pure. */
import { cleanText } from "./errors.ts";
import { record, text, texts } from "./json.ts";
import { idOf, nameOf } from "./names.ts";

export interface ModelDescription {
  /** In the words of the server's owner; may have several lines. */
  readonly text: string | undefined;
  /** Other ids of the same model. */
  readonly aliases: readonly string[];
  /** The other server that it runs on, by the name that llama-swap has for it. */
  readonly peer: string | undefined;
}

export const NO_DESCRIPTION: ModelDescription = { text: undefined, aliases: [], peer: undefined };

const MAX_LENGTH = 1000;
const MAX_ALIASES = 50;

/**
 * Reads what is said of each model, by its id.
 *
 * @param listed entries of `/v1/models`; llama-swap tells aliases and peers since v241, a description earlier
 */
export function descriptionsOf(listed: readonly unknown[]): Map<string, ModelDescription> {
  const found = new Map<
    string,
    { text: string | undefined; aliases: Set<string>; peer: string | undefined }
  >();
  const entries = listed.flatMap((value) => {
    const entry = record(value);
    const id = idOf(entry?.id);
    return id === undefined ? [] : [{ id, entry, metadata: record(record(entry?.meta)?.llamaswap) }];
  });
  for (const { id, entry, metadata } of entries) {
    // A model of the user's own metadata may have anything under these names before v241.
    const aliases = metadata?.type === "model" ? texts(metadata.aliases) : [];
    found.set(id, {
      text: text(cleanText(text(entry?.description) ?? "", MAX_LENGTH)),
      aliases: new Set(aliases.flatMap((alias) => idOf(alias) ?? [])),
      peer: metadata?.type === "peer" ? nameOf(metadata.peerID) : undefined,
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
