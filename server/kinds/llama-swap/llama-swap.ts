/** llama-swap: what it tells of its models, and how it loads and unloads them. */

import { routeFor } from "../../../config.ts";
import type { Clock } from "../../../lib/clock.ts";
import { ServerError } from "../../../lib/errors.ts";
import { list, record } from "../../../lib/json.ts";
import { type Access, type Limits, optionalJson, post } from "../../http/access.ts";
import { answerFault } from "../../http/answer-faults.ts";
import { parseErrorBody } from "../../http/error-body.ts";
import { mistakenFor, mistakenIn } from "../../meant-model.ts";
import type { FileFacts, ListedModel } from "../../models/listed-model.ts";
import { type LiveFacts, parseProps, type RunningModel } from "../../models/models.ts";
import type { Backend, LoadSteps } from "../backend.ts";
import { parseOwnModel } from "../llama-cpp/list.ts";
import { parseSlots, type Slot } from "../llama-cpp/slots.ts";
import { ambiguousModel } from "../load-failure.ts";
import { type ServerVersion, swapVersion } from "../version.ts";
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

  /** Only for what is ready, and where no other model may be meant: that would be loaded by it. */
  async #upstream(id: string, route: "props" | "slots" | "v1/models", limits: Limits): Promise<unknown> {
    const other = this.#entries
      ? mistakenIn(this.#entries, id)
      : await mistakenFor(this.#access, id, limits.signal);
    if (other !== undefined) return undefined;
    return this.#access.http.json(routeFor(`/upstream/<id>/${route}`, id), limits);
  }

  async version(signal: AbortSignal | undefined): Promise<ServerVersion> {
    return { name: this.name, version: await swapVersion(this.#access, signal) };
  }

  /**
   * Loads a model by asking it for its health. What has to go for it goes: llama-swap lets those models finish what
   * they answer.
   */
  async load(id: string, steps: LoadSteps): Promise<void> {
    const other = await mistakenFor(this.#access, id, steps.signal);
    if (other !== undefined) throw ambiguousModel(id, other);
    await new LlamaSwapLoad(this.#access, this, id, steps).run();
  }

  async unload(id: string | undefined, signal: AbortSignal): Promise<void> {
    const { http, config } = this.#access;
    const path = id === undefined ? config.unloadAllPath : routeFor(config.unloadPath, id);
    const { status, text } = await post(http, path, undefined, signal);
    if (status === 200) return;
    throw status === 404 && id !== undefined ? notUnloadable(id, text) : answerFault(status, text, path);
  }

  follow(hooks: EventHooks, signal: AbortSignal, clock: Clock): Promise<void> {
    return followEvents(this.#access, hooks, signal, clock);
  }

  logTail(id: string, lines: number, signal: AbortSignal | undefined): Promise<string[]> {
    return logTail(this.#access, id, lines, signal);
  }
}

/** 404 also says that there is no such route: llama-swap has it since v161, and names the model only then. */
function notUnloadable(id: string, text: string): ServerError {
  const sentence = /model not found/i.test(parseErrorBody(text).message)
    ? `The server has no model ${id} that could be unloaded: there is none of this id, or it runs on another server (peer) or stands for several (selector). /ai-server-status lists what is loaded.`
    : `This server cannot unload ${id} alone: llama-swap can since v161. Check AI_SERVER_UNLOAD_PATH, or unload all models.`;
  return new ServerError(sentence, { link: "model", remedy: "none", status: 404 });
}
