/** One llama-server with one model, which is loaded for as long as the server runs. */

import { ServerError } from "../../../lib/errors.ts";
import { flag, record } from "../../../lib/json.ts";
import { type Access, type Limits, optionalJson } from "../../http/access.ts";
import type { FileFacts, ListedModel } from "../../models/listed-model.ts";
import { type LiveFacts, parseProps, type RunningModel } from "../../models/models.ts";
import type { Backend, Slot } from "../backend.ts";
import { llamaCppVersion, type ServerVersion } from "../version.ts";
import { parseOwnModel, parseSlots } from "./list.ts";

export class LlamaServer implements Backend {
  readonly kind = "llama-server";
  readonly name = "llama-server";
  readonly #access: Access;

  constructor(access: Access) {
    this.#access = access;
  }

  async listed(models: unknown): Promise<ListedModel[]> {
    return parseOwnModel(models);
  }

  /** Its list has the model whether it loads (503 then) or sleeps. Reading `/props` does not wake it. */
  async running(limits: Limits, models?: unknown): Promise<RunningModel[]> {
    const { http, config } = this.#access;
    try {
      const [list, props] = await Promise.all([
        models ?? http.json(config.modelsPath, limits),
        optionalJson(http, "/props", limits),
      ]);
      const isAsleep = flag(record(props)?.is_sleeping) ?? false;
      return parseOwnModel(list).map(({ id }) => ({
        id,
        state: "ready",
        commandLine: undefined,
        ttlSeconds: undefined,
        isAsleep,
      }));
    } catch (error) {
      // While it loads it does not name the model.
      if (error instanceof ServerError && error.status === 503) return [];
      throw error;
    }
  }

  async live(_id: string, limits: Limits): Promise<LiveFacts> {
    return parseProps(await this.#access.http.json("/props", limits));
  }

  async fileFacts(_id: string, limits: Limits): Promise<FileFacts | undefined> {
    const { http, config } = this.#access;
    return parseOwnModel(await http.json(config.modelsPath, limits))[0]?.declared;
  }

  async slots(_id: string, limits: Limits): Promise<Slot[] | undefined> {
    return parseSlots(await optionalJson(this.#access.http, "/slots", limits));
  }

  async version(signal: AbortSignal | undefined): Promise<ServerVersion> {
    return { name: this.name, version: await llamaCppVersion(this.#access, signal) };
  }
}
