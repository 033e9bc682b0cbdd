/** Ollama's own routes (its docs/api.md), beside its chat/completions. */

import { count, type JsonRecord, record, records, text, texts } from "../../lib/json.ts";
import { type Access, DETAIL_TIMEOUT_MS, type Limits, optionalJson, post } from "../http/access.ts";
import { answerFault } from "../http/answer-faults.ts";
import { type ListedModel, listedModel } from "../models/listed-model.ts";
import { idOf, nameOf } from "../models/names.ts";
import { type Backend, versionAt } from "./backend.ts";

/** Each asks for one model's details on a connection of its own. */
const QUESTIONS_AT_ONCE = 4;
/** Models whose details are read; the rest of the list goes without. */
const MOST_DETAILS = 100;

/** What `/api/show` says about a model. */
type Details = Pick<ListedModel, "isChat" | "declared">;

/** @returns undefined where this is no Ollama */
export async function ollamaAt(access: Access, limits: Limits): Promise<Backend | undefined> {
  const tags = record(await optionalJson(access.http, "/api/tags", limits));
  return Array.isArray(tags?.models) ? ollama(access) : undefined;
}

function ollama(access: Access): Backend {
  const { http } = access;
  const name = "Ollama";
  /** By id; the digest changes with the model. */
  const known = new Map<string, { digest: unknown; details: Details }>();

  const readDetails = async (models: readonly [string, JsonRecord][], limits: Limits): Promise<void> => {
    const unread = models.filter(([id, { digest }]) => {
      const before = known.get(id);
      return before === undefined || before.digest !== digest;
    });
    const read = async (): Promise<void> => {
      for (let next = unread.shift(); next !== undefined; next = unread.shift()) {
        const [id, { digest }] = next;
        known.delete(id);
        const body = JSON.stringify({ model: id });
        // A model whose details cannot be read has none.
        const answer = await http.json("/api/show", { ...limits, body }).catch(() => undefined);
        if (answer !== undefined) known.set(id, { digest, details: detailsOf(record(answer)) });
      }
    };
    await Promise.all(Array.from({ length: QUESTIONS_AT_ONCE }, read));
  };

  const processes = async (limits: Limits): Promise<[string, JsonRecord][] | undefined> => {
    const answer = record(await optionalJson(http, "/api/ps", limits));
    return Array.isArray(answer?.models) ? named(answer.models) : undefined;
  };

  const generate = async (request: object, signal: AbortSignal): Promise<void> => {
    const path = "/api/generate";
    const { status, text } = await post(http, path, request, signal);
    if (status !== 200) throw answerFault(status, text, path);
  };

  return {
    kind: "other",
    name,

    async listed(_, limits) {
      const models = new Map(named(record(await http.json("/api/tags", limits))?.models));
      await readDetails([...models].slice(0, MOST_DETAILS), limits);
      return [...models].map(([id, tag]) => {
        const { isChat = true, declared } = known.get(id)?.details ?? {};
        const quantization = nameOf(record(tag.details)?.quantization_level);
        return listedModel(id, {
          isChat,
          declared: { sizeBytes: count(tag.size), quantization, ...declared },
        });
      });
    },

    async running(limits) {
      return (await processes(limits))?.map(([id]) => ({ id, state: "ready" }));
    },

    async live(id, limits) {
      const row = (await processes(limits))?.find(([running]) => running === id)?.[1];
      const context = count(row?.context_length);
      return context === undefined ? undefined : { context };
    },

    async fileFacts(id) {
      return { trainedContext: known.get(id)?.details.declared.trainedContext };
    },

    slots: async () => undefined,

    async version(signal) {
      return { name, version: await versionAt(access, "/api/version", "version", signal) };
    },

    /** A request without a prompt only loads. */
    load: (id, { signal }) => generate({ model: id, stream: false }, signal),

    async unload(id, signal) {
      const limits = { signal, timeoutMs: DETAIL_TIMEOUT_MS };
      const ids = id === undefined ? (await processes(limits))?.map(([running]) => running) : [id];
      for (const model of ids ?? []) await generate({ model, stream: false, keep_alive: 0 }, signal);
    },
  };
}

function named(rows: unknown): [string, JsonRecord][] {
  return records(rows).flatMap((row): [string, JsonRecord][] => {
    const id = idOf(row.name) ?? idOf(row.model);
    return id === undefined ? [] : [[id, row]];
  });
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
      ...(set === undefined ? {} : { context: count(set) }),
      trainedContext: trained === undefined ? undefined : count(info[trained]),
      ...(knows
        ? {
            vision: abilities.includes("vision"),
            tools: abilities.includes("tools"),
            metadata: abilities.includes("thinking") ? { thinking_levels: levels } : { thinking: false },
          }
        : {}),
    },
  };
}
