/** llama-swap's `/v1/models` and `/running`. Pure: takes parsed answers. */
import { count, flag, list, number, record, text } from "../../../lib/json.ts";
import { isTrainedLength } from "../../../lib/trained-length.ts";
import {
  declaredVision,
  entriesOf,
  isChatModel,
  type ListedModel,
  listedModel,
} from "../../models/listed-model.ts";
import { descriptionsOf, NO_DESCRIPTION } from "../../models/model-description.ts";
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
  const rows = list(record(answer)?.running).slice(0, MAX_MODELS);
  return rows.flatMap((entry) => {
    const row = record(entry);
    const id = idOf(row?.model);
    if (row === undefined || id === undefined) return [];
    return [
      {
        id,
        state: STATES.get(row.state) ?? "unknown",
        commandLine: text(row.cmd),
        ttlSeconds: number(row.ttl),
      },
    ];
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
