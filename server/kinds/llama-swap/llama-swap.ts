/** llama-swap: what it reports of its models, and how it loads and unloads them. */

import { routeFor } from "../../../config.ts";
import { ServerError } from "../../../lib/errors.ts";
import { list, record, records, text } from "../../../lib/json.ts";
import { type Access, ANSWER_TIMEOUT_MS, type Limits, optionalJson, post } from "../../http/access.ts";
import { answerFault } from "../../http/answer-faults.ts";
import { parseErrorBody } from "../../http/error-body.ts";
import { parseProps } from "../../models/models.ts";
import { type Backend, releaseOf, swapVersion } from "../backend.ts";
import { parseOwnModel, parseSlots } from "../llama-cpp/list.ts";
import { COUNT_PATH, requestCount, requestThinkingEnd, THINKING_PATH } from "../llama-cpp/requests.ts";
import { followEvents } from "./events.ts";
import { parseListed, parseRunning } from "./list.ts";
import { loadInSwap } from "./load.ts";
import { logTail } from "./log.ts";
import { sinceAnswer } from "./metrics.ts";

export function llamaSwap(access: Access): Backend {
  const { http, config } = access;
  const name = "llama-swap";
  /** Entries of the list as last read. */
  let entries: unknown;

  const isShadowed = async (id: string, signal: AbortSignal | undefined): Promise<boolean> =>
    (entries === undefined ? await shadowingModel(access, id, signal) : shadowingIn(entries, id)) !==
    undefined;

  /**
   * Only for a ready model whose path leads to no other one, and to no other server, on which it may not be ready: the
   * request would load that.
   */
  const upstream = async (id: string, route: "props" | "slots" | "v1/models", limits: Limits) => {
    if (access.several.isKnown || (await isShadowed(id, limits.signal))) return undefined;
    return http.json(routeFor(`/upstream/<id>/${route}`, id), limits);
  };

  return {
    kind: "llama-swap",
    name,

    async listed(models) {
      entries = list(record(models)?.data);
      return parseListed(models);
    },

    /** Each question adds a line to llama-swap's log of 100 KiB. */
    async running(limits) {
      const answer = await optionalJson(http, config.runningPath, limits);
      return answer === undefined ? undefined : parseRunning(answer);
    },

    async live(id, limits) {
      const props = await upstream(id, "props", limits);
      return props === undefined ? undefined : parseProps(props);
    },

    async fileFacts(id, limits) {
      return parseOwnModel(await upstream(id, "v1/models", limits))[0]?.declared;
    },

    async slots(id, limits) {
      return parseSlots(await upstream(id, "slots", limits));
    },

    sinceAnswer: (id, own, signal) => sinceAnswer(access, id, own, signal),

    async promptTokens(id, request, limits) {
      if (await isShadowed(id, limits.signal)) return undefined;
      return requestCount(access, routeFor(`/upstream/<id>${COUNT_PATH}`, id), request, limits);
    },

    async version(signal) {
      return { name, version: await swapVersion(access, signal) };
    },

    /** llama-swap unloads others to make room, after their running answers. */
    async load(id, steps) {
      const other = await shadowingModel(access, id, steps.signal);
      if (other !== undefined) throw ambiguousModel(id, other);
      await loadInSwap(access, this, id, steps);
    },

    async unload(id, signal) {
      const path = id === undefined ? config.unloadAllPath : routeFor(config.unloadPath, id);
      const { status, text } = await post(http, path, undefined, signal);
      if (status === 200) return;
      throw status === 404 && id !== undefined ? notUnloadable(id, text) : answerFault(status, text, path);
    },

    async endThinking(id, answer, signal) {
      if (access.several.isKnown || (await isShadowed(id, signal))) return "unsupported";
      return requestThinkingEnd(access, routeFor(`/upstream/<id>${THINKING_PATH}`, id), id, answer, signal);
    },

    follow: (hooks, signal, clock) => followEvents(access, hooks, signal, clock),
    logTail: (id, lines, signal) => logTail(access, id, lines, signal),
  };
}

/** From this release on `/upstream/<id>/…` goes to the model with the longest id that matches. */
const LONGEST_MATCH = 228;

/**
 * The id of the other model that llama-swap before v228 routes `/upstream/<id>/…` to, and loads: there the shortest
 * matching id wins, also in an encoded path.
 *
 * @param models entries of `/v1/models`; from v236 on each has a status
 */
function shadowingIn(models: unknown, id: string): string | undefined {
  return records(models)
    .filter(({ status }) => status === undefined)
    .map((entry) => text(entry.id))
    .find((other) => other !== undefined && id.startsWith(`${other}/`));
}

/**
 * The same, read from the server and checked against its version. An id without a slash needs no request.
 *
 * @throws {ServerError} where the list of models cannot be read; the signal's reason
 */
export async function shadowingModel(
  access: Access,
  id: string,
  signal: AbortSignal | undefined,
): Promise<string | undefined> {
  if (!id.includes("/")) return undefined;
  const models = await access.http.json(access.config.modelsPath, { signal, timeoutMs: ANSWER_TIMEOUT_MS });
  const shorter = shadowingIn(record(models)?.data, id);
  if (shorter === undefined) return undefined;
  const release = releaseOf(await swapVersion(access, signal));
  return release !== undefined && release >= LONGEST_MATCH ? undefined : shorter;
}

/** @param other the model that would be loaded instead */
function ambiguousModel(id: string, other: string): ServerError {
  return new ServerError(
    `${id} cannot be loaded by itself: llama-swap before v228 would load ${other} instead. Update llama-swap, rename one of them, or send ${id} a message.`,
    { link: "model", remedy: "none" },
  );
}

/** 404 may also mean that the route is missing (before v161); only a llama-swap that has it names the model. */
function notUnloadable(id: string, body: string): ServerError {
  const sentence = /model not found/i.test(parseErrorBody(body).message)
    ? `The server has no model ${id} that could be unloaded: the id is unknown, or the model is a peer's or a selector. /ai-server-status lists the loaded models.`
    : `This server cannot unload ${id} alone: llama-swap can since v161. Check AI_SERVER_UNLOAD_PATH, or unload all models.`;
  return new ServerError(sentence, { link: "model", remedy: "none", status: 404 });
}
