/** One entry of a server's list of models, in the same words whatever kind of server it is. */
import type { JsonRecord } from "./json.ts";
import { type ModelDescription, NO_DESCRIPTION } from "./model-description.ts";

/** What the list says of a model's figures; undefined where it says nothing. */
export interface Declared {
  /** Tokens that one request may use. */
  context: number | undefined;
  /** Tokens that one answer may have. */
  outputLimit: number | undefined;
  vision: boolean | undefined;
  /** Whether it takes tools. */
  tools: boolean | undefined;
  /** Tokens that it was trained for: never the window itself. */
  trainedContext: number | undefined;
  sizeBytes: number | undefined;
  /** As the server words it: `Q8_0`, `all F32`. */
  quantization: string | undefined;
  /** Free metadata of the server's owner, which may say more: `thinking`, `keeps_thinking`. */
  metadata: JsonRecord | undefined;
}

/** What the file of a model tells, however it is started. */
export type FileFacts = Pick<Declared, "trainedContext" | "sizeBytes" | "quantization">;

/** How a process has ended, where that was with an error. */
export interface ProcessFailure {
  exitCode: number | undefined;
}

export interface ListedModel {
  /** As the server spells it. */
  id: string;
  name: string;
  /** A peer runs on another server, a selector chooses among models for each request. */
  kind: "model" | "alias" | "peer" | "selector";
  /** The id under which it runs; undefined for peers and selectors, which never run here. */
  runsAs: string | undefined;
  isChat: boolean;
  declared: Declared;
  /** How it would be started, where the list tells it. */
  commandLine: string | undefined;
  description: ModelDescription;
  /** Why it cannot be used, in a few words; undefined where it can. */
  problem: string | undefined;
  /** Of its last process: a load that failed, a crash, a stop by force. Only llama.cpp's router tells it. */
  failure: ProcessFailure | undefined;
}

/** A model that runs under its own id, with what more is told of it. */
export function listedModel(
  id: string,
  told: Partial<Omit<ListedModel, "id" | "declared">> & { declared: Partial<Declared> },
): ListedModel {
  return {
    id,
    name: id,
    kind: "model",
    runsAs: id,
    isChat: true,
    commandLine: undefined,
    description: NO_DESCRIPTION,
    problem: undefined,
    failure: undefined,
    ...told,
    declared: { ...NOTHING_DECLARED, ...told.declared },
  };
}

export const NOTHING_DECLARED: Declared = {
  context: undefined,
  outputLimit: undefined,
  vision: undefined,
  tools: undefined,
  trainedContext: undefined,
  sizeBytes: undefined,
  quantization: undefined,
  metadata: undefined,
};

/** Ids of models that cannot chat but are declared as nothing else. */
const NOT_CHAT = /(^|[^a-z0-9])(embed|embedding|embeddings|rerank|reranker|whisper|tts)([^a-z0-9]|$)/i;

/** Whether an id sounds like that of a model that can be chatted with. */
export function soundsLikeChat(id: string): boolean {
  return !NOT_CHAT.test(id);
}
