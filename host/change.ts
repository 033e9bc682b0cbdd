/**
 * One change of the server's configuration, from reading the file to a model that answers with it, and back when
 * anything on that way fails. Everything that touches the world is passed in.
 */
import { ServerError, sentenceOf } from "../lib/errors.ts";
import { withoutPolling } from "../server/log-noise.ts";
import type { RunningModel } from "../server/models/models.ts";
import { formatOf } from "./config/config-file.ts";
import { causeOf, type Found, isAnswered, onlyFile, rolledBack } from "./job.ts";
import type { ChangeOutcome, ChangeRequest, Draft, FileState, Options, Plan, Planned } from "./outcome.ts";
import type { ContextVerdict, ServerProbe } from "./probe.ts";
import { reloadEffect } from "./reload-effect.ts";
import { Service } from "./service.ts";
import type { HostFile, Machine, UnitStatus } from "./ssh/machine.ts";
import { sha256 } from "./ssh/protocol.ts";
import { type Clock, type Limits, type Report, StepFailed, type StepName } from "./steps.ts";

/** Of a journal that are read, and of those that are quoted. */
const JOURNAL_LINES = 200;
const QUOTED_LINES = 20;

/** Changes, restores and restarts, each proven by the server itself. */
export class SafeChange {
  readonly #machine: Machine;
  readonly #probe: ServerProbe;
  readonly #limits: Limits;
  readonly #clock: Clock | undefined;

  constructor(parts: { machine: Machine; probe: ServerProbe; clock?: Clock }, limits: Limits) {
    this.#machine = parts.machine;
    this.#probe = parts.probe;
    this.#clock = parts.clock;
    this.#limits = limits;
  }

  /**
   * Plans a change of one model's configuration. Nothing is written.
   *
   * @returns undefined where the file already says so
   * @throws {ServerError} the file cannot be read, the plan refuses, the unit cannot be restarted; the signal's reason
   */
  plan<P extends Plan>(request: ChangeRequest<P>, options: Options = {}): Promise<Planned<P> | undefined> {
    return this.#beforeWriting(options, async (service) => {
      const files = await service.step("read", undefined, () => this.#machine.read(options.signal));
      const file = request.pick?.(files) ?? onlyFile(files);
      const plan = await service.step("plan", undefined, async () => request.plan(file.text, file));
      return this.#planned(
        service,
        {
          file,
          plan,
          newHash: sha256(plan.text),
          write: (during) => this.#machine.write(plan.text, file.hash, file.name, during),
          isChanged: (id) => id === request.modelId,
          expected: [{ id: request.modelId, isNew: plan.isNew }],
          modelId: request.modelId,
        },
        options.signal,
      );
    });
  }

  /** Plans to restore a backup; the file as it is now becomes a backup itself. As `plan` otherwise. */
  planRestore(stamp: string, fileName: string, options: Options = {}): Promise<Planned | undefined> {
    return this.#beforeWriting(options, async (service) => {
      const { signal } = options;
      const files = await service.step("read", undefined, () => this.#machine.read(signal));
      const file = files.find(({ name }) => name === fileName) ?? onlyFile(files);
      const backup = await this.#machine.readBackup(stamp, file.name, signal);
      const { changed, expected } = reloadEffect(file.text, backup.text, formatOf(file.name));
      return this.#planned(
        service,
        {
          file,
          plan: { text: backup.text, isNew: () => true },
          newHash: backup.hash,
          write: (during) => this.#machine.restore(stamp, file.hash, file.name, during),
          isChanged: (id) => changed?.includes(id) ?? true,
          expected,
        },
        signal,
      );
    });
  }

  /**
   * Carries out what was planned and checks it; puts the old text back where that fails.
   *
   * @throws nothing that the server or its machine can cause
   */
  async apply(planned: Planned, { report, signal }: Options = {}): Promise<ChangeOutcome> {
    const service = this.#service(report);
    service.signal = signal;
    try {
      signal?.throwIfAborted();
      return await this.#carryOut(service, planned, await service.runningOrNone(signal));
    } catch (error) {
      if (!signal?.aborted) throw causeOf(error);
      return { kind: "cancelled", during: service.current, file: "old", backup: undefined };
    }
  }

  /**
   * Restarts the server and loads again what was loaded.
   *
   * @returns what could not be loaded again, as sentences
   * @throws {ServerError} when it cannot be restarted or does not come back; the signal's reason
   */
  async restart({ report, signal }: Options = {}): Promise<string[]> {
    const service = this.#service(report);
    try {
      await service.step("status", undefined, () => this.#usableUnit(signal, true));
      const before = await service.runningOrNone(signal);
      await service.restart(signal);
      await service.untilAnswers(signal);
      return await service.loadAgain(before, signal);
    } catch (error) {
      throw causeOf(error);
    }
  }

  #service(report: Report | undefined): Service {
    return new Service(this.#machine, this.#probe, this.#limits, report, this.#clock);
  }

  /** Said before anything is written: a change that cannot be put into effect would only have to be undone. */
  async #usableUnit(signal: AbortSignal | undefined, mustRestart = false): Promise<UnitStatus> {
    const unit = await this.#machine.status(signal);
    const isNeeded = mustRestart || !(unit.watchesConfig || this.#reloads(unit));
    if (unit.problem !== undefined && isNeeded) {
      throw new ServerError(`${unit.problem} Nothing was changed.`, { link: "unit", remedy: "none" });
    }
    return unit;
  }

  #reloads(unit: UnitStatus): boolean {
    return !unit.watchesConfig && this.#probe.reload !== undefined;
  }

  async #beforeWriting<T>(options: Options, work: (service: Service) => Promise<T>): Promise<T> {
    try {
      return await work(this.#service(options.report));
    } catch (error) {
      options.signal?.throwIfAborted();
      throw causeOf(error);
    }
  }

  async #planned<P extends Plan>(
    service: Service,
    draft: Draft<P>,
    signal: AbortSignal | undefined,
  ): Promise<Planned<P> | undefined> {
    if (draft.plan.text === draft.file.text) return undefined;
    const unit = await service.step("status", undefined, () => this.#usableUnit(signal));
    const loaded = await service.runningOrNone(signal);
    const reloads = this.#reloads(unit);
    const isUnloaded = (id: string): boolean => !reloads || draft.isChanged(id);
    return { ...draft, loaded, isUnloaded, unit, reloads };
  }

  async #carryOut(service: Service, job: Planned, before: readonly RunningModel[]): Promise<ChangeOutcome> {
    const { signal } = service;
    let backup: string | undefined;
    try {
      ({ backup } = await service.step("write", undefined, () => job.write(signal)));
    } catch (error) {
      return this.#afterFailedWrite(service, job, before, causeOf(error));
    }
    try {
      const isSeen = await this.#takeEffect(service, job, before);
      await service.untilAnswers(signal);
      const context =
        job.modelId === undefined ? undefined : await this.#prove(service, job.modelId, job.plan, job.unit);
      const notes = await service.loadAgain(before, signal, job.modelId);
      return { kind: "changed", backup, context, notes, ...(isSeen ? {} : { isUnseen: true }) };
    } catch (error) {
      if (signal?.aborted) return { kind: "cancelled", during: service.current, file: "new", backup };
      if (!(error instanceof StepFailed)) throw error;
      const log = await this.#ownWords(error.step, job.modelId);
      return this.#goBack(service, job, before, { state: "new", backup }, { error, log });
    }
  }

  /**
   * Makes the server read the file: by itself, asked to, or restarted.
   *
   * @returns whether that was seen, or will be by the model that is loaded next
   */
  async #takeEffect(service: Service, job: Planned, before: readonly RunningModel[]): Promise<boolean> {
    const { signal, isGoingBack } = service;
    if (job.unit.watchesConfig && !service.isBlind) {
      const isReloaded = await service.untilReloaded(before, isGoingBack ? [] : job.expected, signal);
      if (isReloaded !== false || !(await this.#mayRestart(service, job.unit))) {
        const isProven = isReloaded === true || isGoingBack || job.modelId !== undefined;
        return isProven || service.proveReload(isReloaded, signal);
      }
      service.isBlind = true;
    }
    try {
      if (await service.reload(isGoingBack ? [] : job.expected, signal)) return true;
    } catch (error) {
      // A server that refuses the old text too would not start with it; one that is gone has nothing to lose.
      if (!isGoingBack || (await service.answersNow())) throw error;
    }
    await service.restart(signal);
    return true;
  }

  /** Where no reload came: whether a restart can do it, and the new text is none that was seen and refused. */
  async #mayRestart(service: Service, { problem }: UnitStatus): Promise<boolean> {
    return problem === undefined && (await service.lastReload(service.signal)) !== "refused";
  }

  /** Loads the changed model and compares what the server then shows with what was wanted. */
  async #prove(
    service: Service,
    id: string,
    plan: Plan,
    unit: UnitStatus,
  ): Promise<ContextVerdict | undefined> {
    const { signal } = service;
    const isReloading = unit.watchesConfig && !service.isBlind;
    await service.load(id, signal, isReloading);
    const isOld = isReloading && (await service.runsOld({ id, isNew: plan.isNew }, signal));
    if (isOld && (await this.#mayRestart(service, unit))) {
      service.isBlind = true;
      await service.restart(signal);
      await service.untilAnswers(signal);
      await service.load(id, signal, false);
    }
    return service.prove(id, plan);
  }

  async #afterFailedWrite(
    service: Service,
    job: Planned,
    before: readonly RunningModel[],
    error: unknown,
  ): Promise<ChangeOutcome> {
    if (isAnswered(error)) {
      const changed = error.code === "changed" || error.code === "changed-after";
      const current = changed ? await this.#readAgain(job.file.name) : undefined;
      return { kind: "refused", reason: error.message, current };
    }
    const found = await this.#lookAfter(job);
    if (service.signal?.aborted) {
      return { kind: "cancelled", during: "write", file: found.state, backup: found.backup };
    }
    if (found.state === "old") return { kind: "refused", reason: sentenceOf(error), current: undefined };
    const failed = new StepFailed("write", error);
    if (found.state !== "new") {
      const trouble =
        found.state === "other"
          ? "Somebody else has changed the file meanwhile; it was left alone."
          : "The file could not be read afterwards: it is whole, either the old one or the new one.";
      return rolledBack(failed, [], found, { isHealthy: false, trouble, notes: [] });
    }
    return this.#goBack(service, job, before, found, { error: failed, log: [] }, false);
  }

  /** Puts the old text back and proves it. Not to be cancelled: every wait in it has a limit of its own. */
  async #goBack(
    service: Service,
    job: Planned,
    before: readonly RunningModel[],
    found: Found,
    why: { error: StepFailed; log: readonly string[] },
    mayHaveRestarted = true,
  ): Promise<ChangeOutcome> {
    const { backup } = found;
    const end = (file: FileState, isHealthy: boolean, trouble: string, notes: string[] = []): ChangeOutcome =>
      rolledBack(why.error, why.log, { state: file, backup }, { isHealthy, trouble, notes });
    service.signal = undefined;
    service.isGoingBack = true;
    if (backup === undefined) return end(found.state, false, "The backup could not be found.");
    try {
      await service.step("restore", undefined, () =>
        this.#machine.restore(backup, job.newHash, job.file.name),
      );
    } catch (error) {
      const { state } = await this.#lookAfter(job);
      if (state !== "old") return end(state, false, sentenceOf(causeOf(error)));
    }
    let trouble = "";
    try {
      if (job.unit.watchesConfig || mayHaveRestarted) await this.#takeEffect(service, job, before);
    } catch (error) {
      // A restart that failed twice may never have stopped the server: what counts is whether it answers.
      trouble = sentenceOf(causeOf(error));
    }
    try {
      await service.untilAnswers(undefined);
      return end("old", true, trouble, await service.loadAgain(before, undefined));
    } catch (error) {
      return end("old", false, [trouble, sentenceOf(causeOf(error))].filter((text) => text !== "").join(" "));
    }
  }

  /** Which text the file has, asked again; twice, since the connection may just have broken. */
  async #lookAfter(job: Planned): Promise<Found> {
    const current = (await this.#readAgain(job.file.name)) ?? (await this.#readAgain(job.file.name));
    if (current === undefined) return { state: "unknown", backup: undefined };
    if (current.hash === job.file.hash) return { state: "old", backup: undefined };
    const backups = await this.#machine.list(job.file.name).catch(() => []);
    const backup = backups.findLast(({ hash }) => hash === job.file.hash)?.stamp;
    return { state: current.hash === job.newHash ? "new" : "other", backup };
  }

  async #readAgain(name: string): Promise<HostFile | undefined> {
    const files = await this.#machine.read().catch(() => []);
    return files.find((file) => file.name === name);
  }

  /** The server's reason for a failed step: the model's log, its own, or the unit's journal. */
  async #ownWords(step: StepName, id: string | undefined): Promise<readonly string[]> {
    const limit = AbortSignal.timeout(5000);
    try {
      if (step === "restart" || step === "answer") return await this.#journal(limit);
      const own = (await this.#probe.log?.(step === "load" ? id : undefined, limit)) ?? [];
      // A router hands its models' words to its own output.
      return own.length === 0 && this.#probe.reload !== undefined ? await this.#journal(limit) : own;
    } catch {
      return [];
    }
  }

  /** The end of the unit's journal, without the lines of who has looked whether it answers. */
  async #journal(limit: AbortSignal): Promise<string[]> {
    return withoutPolling(await this.#machine.logs(JOURNAL_LINES, limit)).slice(-QUOTED_LINES);
  }
}
