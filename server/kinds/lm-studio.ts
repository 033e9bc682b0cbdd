/** LM Studio's own REST routes (`/api/v1` since 0.4.0, `/api/v0` before), beside its chat/completions. */

import { count, flag, type JsonRecord, list, record, text, texts } from "../../lib/json.ts";
import { type Access, ANSWER_TIMEOUT_MS, type Limits, optionalJson, post } from "../http/access.ts";
import { answerFault } from "../http/answer-faults.ts";
import { NO_TEMPLATE } from "../models/chat-template.ts";
import { type FileFacts, type ListedModel, listedModel } from "../models/listed-model.ts";
import type { LiveFacts, RunningModel } from "../models/models.ts";
import { idOf, nameOf } from "../models/names.ts";
import type { Backend, LoadSteps } from "./backend.ts";
import type { ServerVersion } from "./version.ts";

/** A model, read from either version's answer. */
interface Told {
  listed: ListedModel;
  /** Its loaded instances: their ids and context windows. */
  instances: readonly { id: string; context: number | undefined }[];
}

/** @returns undefined where this is no LM Studio */
export async function lmStudioAt(access: Access, limits: Limits): Promise<Backend | undefined> {
  const current = record(await optionalJson(access.http, "/api/v1/models", limits));
  const models = current?.models;
  // It may have no model yet.
  if (Array.isArray(models) && (models.length === 0 || models.some((entry) => text(record(entry)?.key))))
    return new LmStudio(access);
  const earlier = record(await optionalJson(access.http, "/api/v0/models", limits));
  const isEarlier = list(earlier?.data).some((entry) => text(record(entry)?.state) !== undefined);
  return isEarlier ? new EarlierLmStudio(access) : undefined;
}

/** Before 0.4.0: loaded models can be listed but not changed. */
class EarlierLmStudio implements Backend {
  readonly kind = "other";
  readonly name = "LM Studio";
  protected readonly access: Access;

  constructor(access: Access) {
    this.access = access;
  }

  protected async told(limits: Limits): Promise<Told[]> {
    return list(record(await this.access.http.json("/api/v0/models", limits))?.data).flatMap(earlierModel);
  }

  async listed(_models: unknown, limits: Limits): Promise<ListedModel[]> {
    return (await this.told(limits)).map(({ listed }) => listed);
  }

  async running(limits: Limits): Promise<RunningModel[]> {
    return (await this.told(limits)).flatMap(({ listed: { id }, instances }) =>
      instances.length === 0 ? [] : [{ id, state: "ready", commandLine: undefined, ttlSeconds: undefined }],
    );
  }

  async live(id: string, limits: Limits): Promise<LiveFacts | undefined> {
    const told = (await this.told(limits)).find(({ listed }) => listed.id === id);
    const context = told?.instances[0]?.context;
    if (context === undefined) return undefined;
    return { context, vision: undefined, ...NO_TEMPLATE };
  }

  async fileFacts(id: string, limits: Limits): Promise<FileFacts | undefined> {
    return (await this.told(limits)).find(({ listed }) => listed.id === id)?.listed.declared;
  }

  async slots(): Promise<undefined> {}

  async version(): Promise<ServerVersion> {
    return { name: this.name, version: undefined };
  }
}

class LmStudio extends EarlierLmStudio {
  protected override async told(limits: Limits): Promise<Told[]> {
    return list(record(await this.access.http.json("/api/v1/models", limits))?.models).flatMap(currentModel);
  }

  /** A second load would create another instance with its own memory. */
  async load(id: string, { signal }: LoadSteps): Promise<void> {
    if ((await this.#instances(id, signal)).length > 0) return;
    await this.#post("/api/v1/models/load", { model: id }, signal);
  }

  async unload(id: string | undefined, signal: AbortSignal): Promise<void> {
    for (const instance of await this.#instances(id, signal))
      await this.#post("/api/v1/models/unload", { instance_id: instance }, signal);
  }

  /** @param id undefined for those of all models */
  async #instances(id: string | undefined, signal: AbortSignal): Promise<string[]> {
    const told = await this.told({ signal, timeoutMs: ANSWER_TIMEOUT_MS });
    const wanted = told.filter(({ listed }) => id === undefined || listed.id === id);
    return wanted.flatMap(({ instances }) => instances.map((instance) => instance.id));
  }

  async #post(path: string, request: object, signal: AbortSignal): Promise<void> {
    const { status, text } = await post(this.access.http, path, request, signal);
    if (status !== 200) throw answerFault(status, text, path);
  }
}

/** Whether a model can chat, by either version's name for its type. */
function isChat({ type }: JsonRecord): boolean {
  return type !== "embedding" && type !== "embeddings";
}

function currentModel(value: unknown): Told[] {
  const entry = record(value);
  const id = idOf(entry?.key);
  if (entry === undefined || id === undefined) return [];
  const abilities = record(entry.capabilities);
  const listed = listedModel(id, {
    name: nameOf(entry.display_name) ?? id,
    isChat: isChat(entry),
    declared: {
      vision: flag(abilities?.vision),
      // LM Studio offers tools to other models too, through its own prompt.
      tools: flag(abilities?.trained_for_tool_use) || undefined,
      trainedContext: count(entry.max_context_length),
      sizeBytes: count(entry.size_bytes),
      quantization: nameOf(record(entry.quantization)?.name),
    },
  });
  const instances = list(entry.loaded_instances).flatMap((value) => {
    const loaded = record(value);
    const instance = text(loaded?.id);
    return instance === undefined
      ? []
      : [{ id: instance, context: count(record(loaded?.config)?.context_length) }];
  });
  return [{ listed, instances }];
}

function earlierModel(value: unknown): Told[] {
  const entry = record(value);
  const id = idOf(entry?.id);
  if (entry === undefined || id === undefined) return [];
  const listed = listedModel(id, {
    isChat: isChat(entry),
    declared: {
      vision: entry.type === undefined ? undefined : entry.type === "vlm",
      tools: texts(entry.capabilities).includes("tool_use") || undefined,
      trainedContext: count(entry.max_context_length),
      quantization: nameOf(entry.quantization),
    },
  });
  const isLoaded = entry.state === "loaded";
  return [{ listed, instances: isLoaded ? [{ id, context: count(entry.loaded_context_length) }] : [] }];
}
