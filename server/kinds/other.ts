/** Any other chat/completions server: only its list of models, and no route that just some servers have. */

import { count, type JsonRecord, list, record } from "../../lib/json.ts";
import { type Access, DETAIL_TIMEOUT_MS, type Limits, optionalJson } from "../http/access.ts";
import {
  declaredVision,
  entriesOf,
  isChatModel,
  type ListedModel,
  listedModel,
} from "../models/listed-model.ts";
import { nameOf } from "../models/names.ts";
import type { Backend } from "./backend.ts";
import { lmStudioAt } from "./lm-studio.ts";
import { ollamaAt } from "./ollama.ts";
import type { ServerVersion } from "./version.ts";

/** Fields in which servers report the context window, vLLM's first. */
const WINDOWS = ["max_model_len", "context_length", "context_window", "max_context_length"] as const;

/**
 * Which of the other servers this is: Ollama and LM Studio have routes of their own, vLLM names itself in its list.
 *
 * @param models the answer of `/v1/models`
 * @throws {ServerError} where the server cannot be reached
 */
export async function otherServer(access: Access, models: unknown, limits: Limits): Promise<Backend> {
  const owners = new Set(list(record(models)?.data).map((entry) => record(entry)?.owned_by));
  if (owners.has("vllm")) return new OtherServer(access, "vLLM");
  const [ollama, lmStudio] = await Promise.all([ollamaAt(access, limits), lmStudioAt(access, limits)]);
  return ollama ?? lmStudio ?? new OtherServer(access, "The server");
}

class OtherServer implements Backend {
  readonly kind = "other";
  readonly name: string;
  readonly #access: Access;

  constructor(access: Access, name: string) {
    this.#access = access;
    this.name = name;
  }

  async listed(models: unknown): Promise<ListedModel[]> {
    return parsePlainList(models);
  }

  async running(): Promise<undefined> {}

  async live(): Promise<undefined> {}

  async fileFacts(): Promise<undefined> {}

  async slots(): Promise<undefined> {}

  async version(signal: AbortSignal | undefined): Promise<ServerVersion> {
    if (this.name !== "vLLM") return { name: "a chat/completions server", version: undefined };
    const limits = { signal, timeoutMs: DETAIL_TIMEOUT_MS };
    const answer = record(await optionalJson(this.#access.http, "/version", limits));
    return { name: this.name, version: nameOf(answer?.version) };
  }
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
  const told = WINDOWS.map((name) => count(entry[name])).find((tokens) => tokens !== undefined);
  // TabbyAPI; a llama-server whose proxy forwards only `/v1`.
  return told ?? count(record(entry.parameters)?.max_seq_len) ?? count(record(entry.meta)?.n_ctx);
}
