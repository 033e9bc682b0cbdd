/** LM Studio's own REST routes (`/api/v1` since 0.4.0, `/api/v0` before), beside its chat/completions. */

import { count, flag, type JsonRecord, record, records, text, texts } from "../../lib/json.ts";
import { type Access, ANSWER_TIMEOUT_MS, type Limits, optionalJson, post } from "../http/access.ts";
import { answerFault } from "../http/answer-faults.ts";
import { type ListedModel, listedModel } from "../models/listed-model.ts";
import { idOf, nameOf } from "../models/names.ts";
import type { Backend } from "./backend.ts";

/** A model, read from either version's answer. */
interface StudioModel {
  listed: ListedModel;
  /** Its loaded instances: their ids and context windows. */
  instances: readonly { id: string; context: number | undefined }[];
}

/** @returns undefined where this is no LM Studio */
export async function lmStudioAt(access: Access, limits: Limits): Promise<Backend | undefined> {
  const current = record(await optionalJson(access.http, "/api/v1/models", limits))?.models;
  // It may have no model yet.
  if (Array.isArray(current) && (current.length === 0 || records(current).some(({ key }) => text(key))))
    return currentStudio(access);
  const earlier = record(await optionalJson(access.http, "/api/v0/models", limits))?.data;
  return records(earlier).some(({ state }) => text(state)) ? earlierStudio(access) : undefined;
}

/** Before 0.4.0: loaded models can be listed but not changed. */
function earlierStudio({ http }: Access): Backend {
  return reading(async (limits) => {
    const answer = record(await http.json("/api/v0/models", limits));
    return records(answer?.data).flatMap(earlierModel);
  });
}

function currentStudio({ http }: Access): Backend {
  const models = async (limits: Limits): Promise<StudioModel[]> =>
    records(record(await http.json("/api/v1/models", limits))?.models).flatMap(currentModel);

  /** @param id undefined for those of all models */
  const instancesOf = async (id: string | undefined, signal: AbortSignal): Promise<string[]> => {
    const all = await models({ signal, timeoutMs: ANSWER_TIMEOUT_MS });
    const wanted = all.filter(({ listed }) => id === undefined || listed.id === id);
    return wanted.flatMap(({ instances }) => instances.map((instance) => instance.id));
  };

  const change = async (action: "load" | "unload", request: object, signal: AbortSignal): Promise<void> => {
    const path = `/api/v1/models/${action}`;
    const { status, text } = await post(http, path, request, signal);
    if (status !== 200) throw answerFault(status, text, path);
  };

  return {
    ...reading(models),

    /** A second load would create another instance with its own memory. */
    async load(id, { signal }) {
      if ((await instancesOf(id, signal)).length === 0) await change("load", { model: id }, signal);
    },

    async unload(id, signal) {
      for (const instance of await instancesOf(id, signal))
        await change("unload", { instance_id: instance }, signal);
    },
  };
}

/** What both versions show of their models. */
function reading(models: (limits: Limits) => Promise<StudioModel[]>): Backend {
  const name = "LM Studio";
  const one = async (id: string, limits: Limits): Promise<StudioModel | undefined> =>
    (await models(limits)).find(({ listed }) => listed.id === id);
  return {
    kind: "other",
    name,

    async listed(_, limits) {
      return (await models(limits)).map(({ listed }) => listed);
    },

    async running(limits) {
      const loaded = (await models(limits)).filter(({ instances }) => instances.length > 0);
      return loaded.map(({ listed: { id } }) => ({ id, state: "ready" }));
    },

    async live(id, limits) {
      const context = (await one(id, limits))?.instances[0]?.context;
      return context === undefined ? undefined : { context };
    },

    async fileFacts(id, limits) {
      return (await one(id, limits))?.listed.declared;
    },

    slots: async () => undefined,
    version: async () => ({ name, version: undefined }),
  };
}

/** Whether a model can chat, by either version's name for its type. */
function isChat({ type }: JsonRecord): boolean {
  return type !== "embedding" && type !== "embeddings";
}

function currentModel(entry: JsonRecord): StudioModel[] {
  const id = idOf(entry.key);
  if (id === undefined) return [];
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
  const instances = records(entry.loaded_instances).flatMap((loaded) => {
    const instance = text(loaded.id);
    const context = count(record(loaded.config)?.context_length);
    return instance === undefined ? [] : [{ id: instance, context }];
  });
  return [{ listed, instances }];
}

function earlierModel(entry: JsonRecord): StudioModel[] {
  const id = idOf(entry.id);
  if (id === undefined) return [];
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
