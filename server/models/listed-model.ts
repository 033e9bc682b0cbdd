/** One entry of a server's list of models, in the same words whatever kind of server it is. */
import { flag, type JsonRecord, record, records, texts } from "../../lib/json.ts";
import { idOf } from "./names.ts";

/** What the list says of a model's figures; undefined where it says nothing. */
interface Declared {
  /** Tokens that one request may use. */
  context?: number | undefined;
  /** Tokens that one answer may have. */
  outputLimit?: number | undefined;
  vision?: boolean | undefined;
  /** Whether it takes tools. */
  tools?: boolean | undefined;
  /** Tokens that it was trained for: never the window itself. */
  trainedContext?: number | undefined;
  sizeBytes?: number | undefined;
  /** As the server words it: `Q8_0`, `all F32`. */
  quantization?: string | undefined;
  /** Free metadata of the server's owner, which may say more: `thinking`, `keeps_thinking`. */
  metadata?: JsonRecord | undefined;
}

/** What a model's file says, however it is started. */
export type FileFacts = Pick<Declared, "trainedContext" | "sizeBytes" | "quantization">;

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

export interface ListedModel {
  /** As the server spells it. */
  id: string;
  name: string;
  /** A peer runs on another server, a selector chooses among models for each request. */
  kind: "model" | "alias" | "peer" | "selector";
  /** The id under which `/running` lists it; undefined for peers and selectors, which never run here. */
  runsAs: string | undefined;
  isChat: boolean;
  declared: Declared;
  /** How it would be started, where the list has it. */
  commandLine?: string | undefined;
  description: ModelDescription;
  /** Why it cannot be used, in a few words; undefined where it can. */
  problem?: string | undefined;
  /** Whether llama.cpp's router has found it itself, in its folder or cache: its preset need not name it. */
  isFound?: boolean;
  /** Whether the server has downloaded it itself, and can delete it. */
  isDownloaded?: boolean;
  /** Of its last process: a load that failed, a crash, a stop by force. Only llama.cpp's router reports it. */
  failure?: { exitCode: number | undefined } | undefined;
}

/** A model that runs under its own id, with what more is known of it. */
export function listedModel(
  id: string,
  more: Partial<ListedModel> & Pick<ListedModel, "declared">,
): ListedModel {
  return {
    id,
    name: id,
    kind: "model",
    runsAs: id,
    isChat: true,
    description: NO_DESCRIPTION,
    ...more,
  };
}

/** The entries of a `/v1/models`, each under its id. One without an id, or with an id seen before, is left out. */
export function entriesOf(answer: unknown): Map<string, JsonRecord> {
  const found = new Map<string, JsonRecord>();
  for (const entry of records(record(answer)?.data)) {
    const id = idOf(entry.id);
    if (id !== undefined && !found.has(id)) found.set(id, entry);
  }
  return found;
}

/** Ids of models that cannot chat but are declared as nothing else. */
const NOT_CHAT = /(^|[^a-z0-9])(embed|embedding|embeddings|rerank|reranker|whisper|tts)([^a-z0-9]|$)/i;

/** Input modalities, or what the server's owner declared instead. */
export function declaredVision(entry: JsonRecord, metadata: JsonRecord | undefined): boolean | undefined {
  const inputs = texts(record(entry.architecture)?.input_modalities);
  if (inputs.length > 0) return inputs.includes("image");
  return flag(record(entry.capabilities)?.vision) ?? flag(metadata?.vision);
}

/** Whether a model answers in text to text, as far as its entry shows. */
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
  return outputs.includes("text") || !NOT_CHAT.test(id);
}
