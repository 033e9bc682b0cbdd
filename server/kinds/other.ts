/** Any other chat/completions server: only its list of models, and no route that just some servers have. */

import { count, type JsonRecord, record, records } from "../../lib/json.ts";
import type { Access, Limits } from "../http/access.ts";
import {
  declaredVision,
  entriesOf,
  isChatModel,
  type ListedModel,
  listedModel,
} from "../models/listed-model.ts";
import { nameOf } from "../models/names.ts";
import { type Backend, versionAt } from "./backend.ts";
import { lmStudioAt } from "./lm-studio.ts";
import { ollamaAt } from "./ollama.ts";

/** Fields in which servers report the context window, vLLM's first. */
const WINDOWS = ["max_model_len", "context_length", "context_window", "max_context_length"] as const;

/**
 * Which of the other servers this is: Ollama and LM Studio have routes of their own, vLLM names itself in its list.
 *
 * @param models the answer of `/v1/models`
 * @throws {ServerError} where the server cannot be reached
 */
export async function otherServer(access: Access, models: unknown, limits: Limits): Promise<Backend> {
  if (records(record(models)?.data).some((entry) => entry.owned_by === "vllm")) return plain(access, "vLLM");
  const [ollama, lmStudio] = await Promise.all([ollamaAt(access, limits), lmStudioAt(access, limits)]);
  return ollama ?? lmStudio ?? plain(access, "The server");
}

function plain(access: Access, name: "vLLM" | "The server"): Backend {
  return {
    kind: "other",
    name,
    listed: async (models) => parsePlainList(models),
    running: async () => undefined,
    live: async () => undefined,
    fileFacts: async () => undefined,
    slots: async () => undefined,
    version: async (signal) =>
      name === "vLLM"
        ? { name, version: await versionAt(access, "/version", "version", signal) }
        : { name: "a chat/completions server", version: undefined },
  };
}

/** Reads the list of models that every such server has. */
export function parsePlainList(answer: unknown): ListedModel[] {
  return [...entriesOf(answer)].map(([id, entry]) =>
    listedModel(id, {
      name: nameOf(entry.name) ?? id,
      isChat: isChatModel(id, entry, undefined),
      declared: { context: windowOf(entry), vision: declaredVision(entry, undefined) },
    }),
  );
}

function windowOf(entry: JsonRecord): number | undefined {
  const named = WINDOWS.map((name) => count(entry[name])).find((tokens) => tokens !== undefined);
  // TabbyAPI; a llama-server whose proxy forwards only `/v1`.
  return named ?? count(record(entry.parameters)?.max_seq_len) ?? count(record(entry.meta)?.n_ctx);
}
