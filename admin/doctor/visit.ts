/** What the checks of one visit share: each part is opened when the first check needs it. */
import type { Config, Variables } from "../../config.ts";
import type { HostFile, UnitStatus } from "../../host/ssh/machine.ts";
import type { ModelServer } from "../../server/model-server.ts";
import type { ModelFacts, RunningModel } from "../../server/models/models.ts";
import { type Call, serverFor, storedVariables } from "../call.ts";
import { type Host, openHost } from "../host-access.ts";
import type { Trial } from "./model/permission.ts";

type VisitParts = Pick<Visit, "call" | "server" | "stored" | "trial" | "signal">;

export class Visit {
  readonly call: Call;
  readonly server: ModelServer;
  /** What `/login` stored. */
  readonly stored: Variables;
  /** The model that is to be tried. */
  readonly trial: Trial | undefined;
  /** Aborts when the user stops the checks, and with the command. */
  readonly signal: AbortSignal;
  /** Why the server cannot be asked; set by the checks of the way. */
  outOfReach: string | undefined;
  /** What a long check does at this moment, in a few words. */
  doing: string | undefined;
  /** What stays on the server where the user stops the checks now, as a sentence. */
  leaves: string | undefined;
  #host: Promise<Host> | undefined;
  #files: Promise<HostFile[]> | undefined;
  #unit: Promise<UnitStatus> | undefined;
  #models: Promise<ModelFacts[]> | undefined;
  #running: Promise<RunningModel[] | undefined> | undefined;

  constructor({ call, server, stored, trial, signal }: VisitParts) {
    this.call = call;
    this.server = server;
    this.stored = stored;
    this.trial = trial;
    this.signal = signal;
  }

  get config(): Config {
    return this.server.config;
  }

  /** The machine behind `AI_SERVER_SSH_HOST`. @throws {ServerError} where none is set */
  host(): Promise<Host> {
    this.#host ??= openHost(this.server, this.signal);
    return this.#host;
  }

  /** The server's config files, read once. @throws {ServerError} */
  files(): Promise<HostFile[]> {
    this.#files ??= this.host().then(({ machine }) => machine.read(this.signal));
    return this.#files;
  }

  /** The unit of the server, read once. @throws {ServerError} */
  unit(): Promise<UnitStatus> {
    this.#unit ??= this.host().then(({ machine }) => machine.status(this.signal));
    return this.#unit;
  }

  /** The models that the server lists, read once. @throws {ServerError} */
  models(): Promise<ModelFacts[]> {
    this.#models ??= this.call.aiServer
      .rememberedFacts(this.config)
      .then((before) => this.server.discover(before, { signal: this.signal }));
    return this.#models;
  }

  /** What is loaded, read once; undefined where the server does not report it. @throws {ServerError} */
  running(): Promise<RunningModel[] | undefined> {
    this.#running ??= this.server.running(this.signal);
    return this.#running;
  }

  async close(): Promise<void> {
    const host = await this.#host?.catch(() => undefined);
    await host?.close();
  }
}

/** @throws {ServerError} where a setting is wrong */
export async function openVisit(call: Call, trial: Trial | undefined, signal: AbortSignal): Promise<Visit> {
  const [server, stored] = await Promise.all([serverFor(call), storedVariables(call.ctx)]);
  return new Visit({ call, server, stored, trial, signal });
}
