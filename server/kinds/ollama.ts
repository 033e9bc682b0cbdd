/** Ollama's own routes (its docs/api.md), beside its chat/completions. */

import { count, type JsonRecord, list, record, text, texts } from "../../lib/json.ts";
import { type Access, DETAIL_TIMEOUT_MS, type Limits, optionalJson, post } from "../http/access.ts";
import { answerFault } from "../http/answer-faults.ts";
import { NO_TEMPLATE } from "../models/chat-template.ts";
import { type FileFacts, type ListedModel, listedModel } from "../models/listed-model.ts";
import type { LiveFacts, RunningModel } from "../models/models.ts";
import { idOf, nameOf } from "../models/names.ts";
import type { Backend, LoadSteps } from "./backend.ts";
import type { ServerVersion } from "./version.ts";

/** Each asks for one model's details on a connection of its own. */
const QUESTIONS_AT_ONCE = 4;
/** Models whose details are read; the rest of the list goes without. */
const MOST_DETAILS = 100;

/** What `/api/show` says about a model. */
type Details = Pick<ListedModel, "isChat"> & { declared: Partial<ListedModel["declared"]> };

/** @returns undefined where this is no Ollama */
export async function ollamaAt(access: Access, limits: Limits): Promise<Backend | undefined> {
  const tags = record(await optionalJson(access.http, "/api/tags", limits));
  return Array.isArray(tags?.models) ? new Ollama(access) : undefined;
}

class Ollama implements Backend {
  readonly kind = "other";
  readonly name = "Ollama";
  readonly #access: Access;
  /** By id; the digest changes with the model. */
  readonly #details = new Map<string, { digest: unknown; details: Details }>();

  constructor(access: Access) {
    this.#access = access;
  }

  async listed(_models: unknown, limits: Limits): Promise<ListedModel[]> {
    const tags = list(record(await this.#access.http.json("/api/tags", limits))?.models).map(record);
    const models = new Map(tags.flatMap((tag) => named(tag)));
    await this.#readDetails([...models].slice(0, MOST_DETAILS), limits);
    return [...models].map(([id, tag]) => {
      const details = this.#details.get(id)?.details;
      return listedModel(id, {
        isChat: details?.isChat ?? true,
        declared: {
          sizeBytes: count(tag.size),
          quantization: nameOf(record(tag.details)?.quantization_level),
          ...details?.declared,
        },
      });
    });
  }

  async #readDetails(models: readonly [string, JsonRecord][], limits: Limits): Promise<void> {
    const unread = models.filter(([id, { digest }]) => {
      const known = this.#details.get(id);
      return known === undefined || known.digest !== digest;
    });
    const read = async (): Promise<void> => {
      for (let next = unread.shift(); next !== undefined; next = unread.shift()) {
        const [id, { digest }] = next;
        this.#details.delete(id);
        const body = JSON.stringify({ model: id });
        // A model whose details cannot be read has none.
        const answer = await this.#access.http.json("/api/show", { ...limits, body }).catch(() => undefined);
        if (answer !== undefined) this.#details.set(id, { digest, details: detailsOf(record(answer)) });
      }
    };
    await Promise.all(Array.from({ length: QUESTIONS_AT_ONCE }, read));
  }

  async running(limits: Limits): Promise<RunningModel[] | undefined> {
    const rows = await this.#processes(limits);
    return rows?.map(([id]) => ({ id, state: "ready", commandLine: undefined, ttlSeconds: undefined }));
  }

  async #processes(limits: Limits): Promise<[string, JsonRecord][] | undefined> {
    const answer = record(await optionalJson(this.#access.http, "/api/ps", limits));
    return Array.isArray(answer?.models) ? answer.models.map(record).flatMap((row) => named(row)) : undefined;
  }

  async live(id: string, limits: Limits): Promise<LiveFacts | undefined> {
    const row = (await this.#processes(limits))?.find(([running]) => running === id)?.[1];
    const context = count(row?.context_length);
    return context === undefined ? undefined : { context, vision: undefined, ...NO_TEMPLATE };
  }

  async fileFacts(id: string): Promise<FileFacts | undefined> {
    const trainedContext = this.#details.get(id)?.details.declared.trainedContext;
    return { trainedContext, sizeBytes: undefined, quantization: undefined };
  }

  async slots(): Promise<undefined> {}

  async version(signal: AbortSignal | undefined): Promise<ServerVersion> {
    const limits = { signal, timeoutMs: DETAIL_TIMEOUT_MS };
    const answer = record(await optionalJson(this.#access.http, "/api/version", limits));
    return { name: this.name, version: nameOf(answer?.version) };
  }

  /** A request without a prompt only loads. */
  load(id: string, { signal }: LoadSteps): Promise<void> {
    return this.#generate({ model: id, stream: false }, signal);
  }

  async unload(id: string | undefined, signal: AbortSignal): Promise<void> {
    const running =
      id === undefined ? await this.running({ signal, timeoutMs: DETAIL_TIMEOUT_MS }) : [{ id }];
    for (const { id: model } of running ?? []) {
      await this.#generate({ model, stream: false, keep_alive: 0 }, signal);
    }
  }

  async #generate(request: object, signal: AbortSignal): Promise<void> {
    const path = "/api/generate";
    const { status, text } = await post(this.#access.http, path, request, signal);
    if (status !== 200) throw answerFault(status, text, path);
  }
}

function named(row: JsonRecord | undefined): [string, JsonRecord][] {
  const id = idOf(row?.name) ?? idOf(row?.model);
  return row === undefined || id === undefined ? [] : [[id, row]];
}

/** The trained window is a key with the architecture's name; a configured one is in the text of the parameters. */
function detailsOf(answer: JsonRecord | undefined): Details {
  const info = record(answer?.model_info) ?? {};
  const trained = Object.keys(info).find((key) => key.endsWith(".context_length"));
  const set = /^num_ctx\s+(\d+)\s*$/m.exec(text(answer?.parameters) ?? "")?.[1];
  const abilities = texts(answer?.capabilities);
  const knows = abilities.length > 0;
  // gpt-oss has levels and no off, others are switched by any level.
  const levels =
    record(answer?.details)?.family === "gptoss" ? ["low", "medium", "high"] : ["none", "medium"];
  return {
    isChat: !knows || abilities.includes("completion"),
    declared: {
      ...(set === undefined ? {} : { context: count(Number(set)) }),
      trainedContext: trained === undefined ? undefined : count(info[trained]),
      ...(knows ? { vision: abilities.includes("vision"), tools: abilities.includes("tools") } : {}),
      ...(knows
        ? { metadata: abilities.includes("thinking") ? { thinking_levels: levels } : { thinking: false } }
        : {}),
    },
  };
}
