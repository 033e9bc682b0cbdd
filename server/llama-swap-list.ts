/** llama-swap's `/v1/models` and `/running`. Pure: takes parsed answers. */
import { count, flag, type JsonRecord, list, number, record, text, texts } from "./json.ts";
import { type ListedModel, NOTHING_DECLARED, soundsLikeChat } from "./listed-model.ts";
import { descriptionsOf, NO_DESCRIPTION } from "./model-description.ts";
import type { ModelState, RunningModel } from "./models.ts";
import { idOf, nameOf } from "./names.ts";

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

/** Reads `/running` of any version: v185 and older tell only model and state. */
export function parseRunning(answer: unknown): RunningModel[] {
  return list(record(answer)?.running).flatMap((entry) => {
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

/** Input modalities, or what the server's owner declared instead. */
export function declaredVision(entry: JsonRecord, metadata: JsonRecord | undefined): boolean | undefined {
  const inputs = texts(record(entry.architecture)?.input_modalities);
  if (inputs.length > 0) return inputs.includes("image");
  return flag(record(entry.capabilities)?.vision) ?? flag(metadata?.vision);
}

/** Whether a model answers in text to text, as far as its entry tells. */
export function isChatModel(id: string, entry: JsonRecord, metadata: JsonRecord | undefined): boolean {
  const declared = flag(metadata?.chat);
  if (declared !== undefined) return declared;
  const inputs = texts(record(entry.architecture)?.input_modalities);
  const outputs = texts(record(entry.architecture)?.output_modalities);
  if ([inputs, outputs].some((modalities) => modalities.length > 0 && !modalities.includes("text")))
    return false;
  const capabilities = record(entry.capabilities) ?? {};
  if (capabilities.reranker === true) return false;
  const otherTask = ["audio_transcriptions", "audio_speech", "image_generation", "image_to_image"].some(
    (task) => capabilities[task] === true,
  );
  if (otherTask && !outputs.includes("text")) return false;
  return outputs.includes("text") || soundsLikeChat(id);
}

/**
 * Reads llama-swap's list. An entry without an id, or with an id seen before, is left out.
 *
 * @param answer of `/v1/models`: figures since v225, kinds since v241
 */
export function parseListed(answer: unknown): ListedModel[] {
  const entries = list(record(answer)?.data);
  const descriptions = descriptionsOf(entries);
  const found = new Map<string, ListedModel>();
  for (const value of entries) {
    const entry = record(value);
    const id = idOf(entry?.id);
    if (entry === undefined || id === undefined || found.has(id)) continue;
    const meta = record(entry.meta);
    const metadata = record(meta?.llamaswap);
    const kind = KINDS.get(metadata?.type) ?? "model";
    found.set(id, {
      id,
      name: nameOf(entry.name) ?? id,
      kind,
      runsAs: kind === "model" ? id : kind === "alias" ? (idOf(metadata?.modelID) ?? id) : undefined,
      isChat: isChatModel(id, entry, metadata),
      declared: {
        ...NOTHING_DECLARED,
        context: count(entry.context_length) ?? count(meta?.n_ctx) ?? count(metadata?.context_length),
        outputLimit: count(metadata?.max_output_tokens) ?? count(metadata?.max_tokens),
        vision: declaredVision(entry, metadata),
        tools: flag(record(entry.capabilities)?.function_calling),
        metadata,
      },
      commandLine: undefined,
      description: descriptions.get(id) ?? NO_DESCRIPTION,
      problem: undefined,
      failure: undefined,
    });
  }
  return [...found.values()];
}
