/** llama-swap: what it reports of its models, and how it loads and unloads them. */

import { routeFor } from "../../../config.ts";
import type { Clock } from "../../../lib/clock.ts";
import { ServerError } from "../../../lib/errors.ts";
import { list, record, text } from "../../../lib/json.ts";
import { type Access, ANSWER_TIMEOUT_MS, type Limits, optionalJson, post } from "../../http/access.ts";
import { answerFault } from "../../http/answer-faults.ts";
import { parseErrorBody } from "../../http/error-body.ts";
import type { FileFacts, ListedModel } from "../../models/listed-model.ts";
import { type LiveFacts, parseProps, type RunningModel } from "../../models/models.ts";
import type { Backend, LoadSteps, Slot } from "../backend.ts";
import { parseOwnModel, parseSlots } from "../llama-cpp/list.ts";
import { ambiguousModel } from "../load-failure.ts";
import { releaseOf, type ServerVersion, swapVersion } from "../version.ts";
import { type EventHooks, followEvents } from "./events.ts";
import { parseListed, parseRunning } from "./list.ts";
import { LlamaSwapLoad } from "./load.ts";
import { logTail } from "./log-tail.ts";

export class LlamaSwap implements Backend {
  readonly kind = "llama-swap";
  readonly name = "llama-swap";
  readonly #access: Access;
  /** Entries of the list as last read. */
  #entries: readonly unknown[] | undefined;

  constructor(access: Access) {
    this.#access = access;
  }

  async listed(models: unknown): Promise<ListedModel[]> {
    this.#entries = list(record(models)?.data);
    return parseListed(models);
  }

  /** Each question adds a line to llama-swap's log of 100 KiB. */
  async running(limits: Limits): Promise<RunningModel[] | undefined> {
    const { http, config } = this.#access;
    const answer = await optionalJson(http, config.runningPath, limits);
    return answer === undefined ? undefined : parseRunning(answer);
  }

  async live(id: string, limits: Limits): Promise<LiveFacts | undefined> {
    const props = await this.#upstream(id, "props", limits);
    return props === undefined ? undefined : parseProps(props);
  }

  async fileFacts(id: string, limits: Limits): Promise<FileFacts | undefined> {
    const models = await this.#upstream(id, "v1/models", limits);
    return parseOwnModel(models)[0]?.declared;
  }

  async slots(id: string, limits: Limits): Promise<Slot[] | undefined> {
    return parseSlots(await this.#upstream(id, "slots", limits));
  }

  /** Only for a ready model whose path leads to no other one: the request would load that. */
  async #upstream(id: string, route: "props" | "slots" | "v1/models", limits: Limits): Promise<unknown> {
    const other = this.#entries
      ? shadowingIn(this.#entries, id)
      : await shadowingModel(this.#access, id, limits.signal);
    if (other !== undefined) return undefined;
    return this.#access.http.json(routeFor(`/upstream/<id>/${route}`, id), limits);
  }

  async version(signal: AbortSignal | undefined): Promise<ServerVersion> {
    return { name: this.name, version: await swapVersion(this.#access, signal) };
  }

  /** Loads a model by asking it for its health. llama-swap unloads others to make room, after their running answers. */
  async load(id: string, steps: LoadSteps): Promise<void> {
    const other = await shadowingModel(this.#access, id, steps.signal);
    if (other !== undefined) throw ambiguousModel(id, other);
    await new LlamaSwapLoad(this.#access, this, id, steps).run();
  }

  async unload(id: string | undefined, signal: AbortSignal): Promise<void> {
    const { http, config } = this.#access;
    const path = id === undefined ? config.unloadAllPath : routeFor(config.unloadPath, id);
    const answer = await post(http, path, undefined, signal);
    if (answer.status === 200) return;
    throw answer.status === 404 && id !== undefined
      ? notUnloadable(id, answer.text)
      : answerFault(answer.status, answer.text, path);
  }

  follow(hooks: EventHooks, signal: AbortSignal, clock: Clock): Promise<void> {
    return followEvents(this.#access, hooks, signal, clock);
  }

  logTail(id: string, lines: number, signal: AbortSignal | undefined): Promise<string[]> {
    return logTail(this.#access, id, lines, signal);
  }
}

/** From this release on `/upstream/<id>/…` goes to the model with the longest id that matches. */
const LONGEST_MATCH = 228;

/**
 * The id of the other model that llama-swap before v228 routes `/upstream/<id>/…` to, and loads: there the shortest
 * matching id wins, also in an encoded path.
 *
 * @param models entries of `/v1/models`; from v236 on each has a status
 */
function shadowingIn(models: readonly unknown[], id: string): string | undefined {
  return models
    .map(record)
    .filter((entry) => entry?.status === undefined)
    .map((entry) => text(entry?.id))
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
  const shorter = shadowingIn(list(record(models)?.data), id);
  if (shorter === undefined) return undefined;
  const release = releaseOf(await swapVersion(access, signal));
  return release !== undefined && release >= LONGEST_MATCH ? undefined : shorter;
}

/** 404 may also mean that the route is missing (before v161); only a llama-swap that has it names the model. */
function notUnloadable(id: string, body: string): ServerError {
  const sentence = /model not found/i.test(parseErrorBody(body).message)
    ? `The server has no model ${id} that could be unloaded: the id is unknown, or the model is a peer's or a selector. /ai-server-status lists the loaded models.`
    : `This server cannot unload ${id} alone: llama-swap can since v161. Check AI_SERVER_UNLOAD_PATH, or unload all models.`;
  return new ServerError(sentence, { link: "model", remedy: "none", status: 404 });
}
