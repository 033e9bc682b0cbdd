/** llama-swap's `/v1/models` and `/running`. Pure: takes parsed answers. */
import { count, flag, type JsonRecord, number, record, records, text, texts } from "../../../lib/json.ts";
import { cleanText } from "../../../lib/text.ts";
import { isTrainedLength } from "../../../lib/trained-length.ts";
import {
  declaredVision,
  entriesOf,
  isChatModel,
  type ListedModel,
  listedModel,
  type ModelDescription,
  NO_DESCRIPTION,
} from "../../models/listed-model.ts";
import type { ModelState, RunningModel } from "../../models/models.ts";
import { idOf, MAX_MODELS, nameOf } from "../../models/names.ts";

const STATES: ReadonlyMap<unknown, ModelState> = new Map([
  ["ready", "ready"],
  ["starting", "starting"],
  ["stopping", "stopping"],
]);

const KINDS: ReadonlyMap<unknown, ListedModel["kind"]> = new Map([
  ["alias", "alias"],
  ["peer", "peer"],
  ["selector", "selector"],
  ["profile", "selector"],
]);

/** Reads `/running` of any version: v185 and older report only model and state. */
export function parseRunning(answer: unknown): RunningModel[] {
  const rows = records(record(answer)?.running).slice(0, MAX_MODELS);
  return rows.flatMap((row) => {
    const id = idOf(row.model);
    if (id === undefined) return [];
    const state = STATES.get(row.state) ?? "unknown";
    return [{ id, state, commandLine: text(row.cmd), ttlSeconds: number(row.ttl) }];
  });
}

/**
 * Reads llama-swap's list.
 *
 * @param answer of `/v1/models`: figures since v225, kinds since v241
 */
export function parseListed(answer: unknown): ListedModel[] {
  const entries = entriesOf(answer);
  const descriptions = descriptionsOf(entries);
  return [...entries].map(([id, entry]) => {
    const meta = record(entry.meta);
    const metadata = record(meta?.llamaswap);
    const kind = KINDS.get(metadata?.type) ?? "model";
    const length = count(metadata?.context_length);
    const isTrained = isTrainedLength("context_length", Object.entries(metadata ?? {}));
    return listedModel(id, {
      name: nameOf(entry.name) ?? id,
      kind,
      runsAs: kind === "model" ? id : kind === "alias" ? (idOf(metadata?.modelID) ?? id) : undefined,
      isChat: isChatModel(id, entry, metadata),
      declared: {
        context: count(entry.context_length) ?? count(meta?.n_ctx) ?? (isTrained ? undefined : length),
        ...(isTrained ? { trainedContext: length } : {}),
        outputLimit: count(metadata?.max_output_tokens) ?? count(metadata?.max_tokens),
        vision: declaredVision(entry, metadata),
        tools: flag(record(entry.capabilities)?.function_calling),
        metadata,
      },
      description: descriptions.get(id) ?? NO_DESCRIPTION,
    });
  });
}

const MAX_LENGTH = 1000;
const MAX_ALIASES = 50;
const MAX_TARGETS = 20;

/**
 * The descriptions of the models, by their ids.
 *
 * @param listed entries of `/v1/models` by their ids; llama-swap lists aliases and peers since v241, a description earlier
 */
export function descriptionsOf(listed: ReadonlyMap<string, JsonRecord>): Map<string, ModelDescription> {
  const metadataOf = (entry: JsonRecord): JsonRecord => record(record(entry.meta)?.llamaswap) ?? {};
  const aliases = new Map(
    [...listed].map(([id, entry]) => {
      const metadata = metadataOf(entry);
      // A model of the user's own metadata may have anything under these names before v241.
      return [id, new Set(metadata.type === "model" ? idsIn(metadata.aliases) : [])];
    }),
  );
  for (const [id, entry] of listed) {
    const { type, modelID } = metadataOf(entry);
    if (type === "alias") aliases.get(text(modelID) ?? "")?.add(id);
  }
  return new Map(
    [...listed].map(([id, entry]) => {
      const { type, peerID, targets } = metadataOf(entry);
      const description: ModelDescription = {
        text: text(cleanText(text(entry.description) ?? "", MAX_LENGTH)),
        aliases: [...(aliases.get(id) ?? [])].slice(0, MAX_ALIASES),
        peer: type === "peer" ? nameOf(peerID) : undefined,
        targets: type === "selector" ? idsIn(targets).slice(0, MAX_TARGETS) : [],
      };
      return [id, description];
    }),
  );
}

function idsIn(value: unknown): string[] {
  return texts(value).flatMap((id) => idOf(id) ?? []);
}
