/** LM Studio's own REST routes (`/api/v1` since 0.4.0, `/api/v0` before), beside its chat/completions. */

import { type Access, type Backend, type Limits, type LoadSteps, optionalJson } from "./backend.ts";
import { NO_TEMPLATE } from "./chat-template.ts";
import { answerFault } from "./faults.ts";
import { readText } from "./http.ts";
import { count, flag, type JsonRecord, list, record, text, texts } from "./json.ts";
import { type ListedModel, NOTHING_DECLARED } from "./listed-model.ts";
import { NO_DESCRIPTION } from "./model-description.ts";
import type { LiveFacts, RunningModel } from "./models.ts";
import { idOf, nameOf } from "./names.ts";
import type { ServerVersion } from "./version.ts";

const ANSWER_TIMEOUT_MS = 10_000;
const ERROR_BYTES = 16 * 1024;

/** A model as either of the two versions tells it. */
interface Told {
  listed: ListedModel;
  /** Where it is loaded: what names the instance, and its window. */
  instance: { id: string; context: number | undefined } | undefined;
}

/** @returns undefined where this is no LM Studio */
export async function lmStudioAt(access: Access, limits: Limits): Promise<Backend | undefined> {
  const current = record(await optionalJson(access.http, "/api/v1/models", limits));
  if (list(current?.models).some((entry) => text(record(entry)?.key) !== undefined))
    return new LmStudio(access);
  const earlier = record(await optionalJson(access.http, "/api/v0/models", limits));
  const isEarlier = list(earlier?.data).some((entry) => text(record(entry)?.state) !== undefined);
  return isEarlier ? new EarlierLmStudio(access) : undefined;
}

/** Before 0.4.0: what is loaded can be seen, and not changed. */
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
    return (await this.told(limits)).flatMap(({ listed: { id }, instance }) =>
      instance === undefined ? [] : [{ id, state: "ready", commandLine: undefined, ttlSeconds: undefined }],
    );
  }

  async live(id: string, limits: Limits): Promise<LiveFacts | undefined> {
    const told = (await this.told(limits)).find(({ listed }) => listed.id === id);
    const context = told?.instance?.context;
    if (context === undefined) return undefined;
    return { context, vision: undefined, ...NO_TEMPLATE };
  }

  async trainedContext(id: string, limits: Limits): Promise<number | undefined> {
    return (await this.told(limits)).find(({ listed }) => listed.id === id)?.listed.declared.trainedContext;
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

  load(id: string, { signal }: LoadSteps): Promise<void> {
    return this.#post("/api/v1/models/load", { model: id }, signal);
  }

  async unload(id: string | undefined, signal: AbortSignal): Promise<void> {
    const limits = { signal, timeoutMs: ANSWER_TIMEOUT_MS };
    for (const { listed, instance } of await this.told(limits)) {
      if (instance === undefined || (id !== undefined && listed.id !== id)) continue;
      await this.#post("/api/v1/models/unload", { instance_id: instance.id }, signal);
    }
  }

  async #post(path: string, request: object, signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    const { status, body } = await this.access.http.request({
      method: "POST",
      path,
      body: JSON.stringify(request),
      signal,
    });
    const answer = await readText(body, ERROR_BYTES);
    if (status !== 200) throw answerFault(status, answer, path);
  }
}

function toldOf(
  id: string,
  entry: JsonRecord,
  more: { name: string | undefined; declared: Partial<ListedModel["declared"]> },
  instance: Told["instance"],
): Told[] {
  const isChat = entry.type !== "embedding" && entry.type !== "embeddings";
  const listed: ListedModel = {
    id,
    name: more.name ?? id,
    kind: "model",
    runsAs: id,
    isChat,
    declared: { ...NOTHING_DECLARED, trainedContext: count(entry.max_context_length), ...more.declared },
    commandLine: undefined,
    description: NO_DESCRIPTION,
    problem: undefined,
  };
  return [{ listed, instance }];
}

function currentModel(value: unknown): Told[] {
  const entry = record(value);
  const id = idOf(entry?.key);
  if (entry === undefined || id === undefined) return [];
  const abilities = record(entry.capabilities);
  const loaded = record(list(entry.loaded_instances)[0]);
  const instance = text(loaded?.id);
  const declared = {
    vision: flag(abilities?.vision),
    // It offers tools to other models too, by a prompt of its own.
    tools: flag(abilities?.trained_for_tool_use) || undefined,
    sizeBytes: count(entry.size_bytes),
    quantization: nameOf(record(entry.quantization)?.name),
  };
  return toldOf(
    id,
    entry,
    { name: nameOf(entry.display_name), declared },
    instance === undefined
      ? undefined
      : { id: instance, context: count(record(loaded?.config)?.context_length) },
  );
}

function earlierModel(value: unknown): Told[] {
  const entry = record(value);
  const id = idOf(entry?.id);
  if (entry === undefined || id === undefined) return [];
  const abilities = texts(entry.capabilities);
  const declared = {
    vision: entry.type === undefined ? undefined : entry.type === "vlm",
    tools: abilities.includes("tool_use") || undefined,
    quantization: nameOf(entry.quantization),
  };
  const instance = entry.state === "loaded" ? { id, context: count(entry.loaded_context_length) } : undefined;
  return toldOf(id, entry, { name: undefined, declared }, instance);
}
