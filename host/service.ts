/** The running service during a change: restarted, waited for, loaded, and looked at. */
import { setTimeout as wait } from "node:timers/promises";
import { ServerError, sentenceOf } from "../lib/errors.ts";
import type { RunningModel } from "../server/models/models.ts";
import type { Plan } from "./outcome.ts";
import { type ContextVerdict, judgeContext, type ServerProbe } from "./probe.ts";
import type { Machine } from "./ssh/machine.ts";
import {
  type Clock,
  type Expected,
  type Limits,
  type Progress,
  type Report,
  StepFailed,
  type StepName,
} from "./steps.ts";

const REAL_CLOCK: Clock = {
  now: () => performance.now(),
  sleep: (ms, signal) => wait(ms, undefined, signal ? { signal } : {}),
};

/** llama-swap's own words: `failed to reload config: …`, `configuration reloaded`. */
const REFUSED = /fail\w* to (re)?load .*config/i;
const RELOADED = /\bconfig\w* reloaded/i;

/** One change's view of the service. */
export class Service {
  /** The step under way, or the last one. */
  current: StepName = "read";
  /** The caller's; cleared on the way back. */
  signal: AbortSignal | undefined;
  isGoingBack = false;
  /** It is meant to reload a changed file by itself, and did not. */
  isBlind = false;
  /** The server has shown that it does not know how to reload. */
  #isReloadUnknown = false;
  readonly #machine: Machine;
  readonly #probe: ServerProbe;
  readonly #limits: Limits;
  readonly #report: Report | undefined;
  readonly #clock: Clock;

  constructor(
    machine: Machine,
    probe: ServerProbe,
    limits: Limits,
    report: Report | undefined,
    clock: Clock = REAL_CLOCK,
  ) {
    this.#machine = machine;
    this.#probe = probe;
    this.#limits = limits;
    this.#report = report;
    this.#clock = clock;
  }

  /** Runs one step and reports it. @throws {StepFailed} around whatever it throws */
  async step<T>(step: StepName, id: string | undefined, work: () => Promise<T>): Promise<T> {
    this.current = step;
    const began = this.#clock.now();
    const tell = (state: Progress["state"]): void =>
      this.#report?.({
        step,
        state,
        id,
        elapsedMs: this.#clock.now() - began,
        isGoingBack: this.isGoingBack,
      });
    tell("begun");
    try {
      const result = await work();
      tell("done");
      return result;
    } catch (error) {
      tell("failed");
      throw new StepFailed(step, error);
    }
  }

  /** A server that is down has nothing loaded; that must not hinder a change which may repair it. */
  async runningOrNone(signal: AbortSignal | undefined): Promise<readonly RunningModel[]> {
    try {
      return await this.#probe.running(this.#limited(signal, 10_000));
    } catch (error) {
      signal?.throwIfAborted();
      if (error instanceof ServerError || isTimeout(error)) return [];
      throw error;
    }
  }

  /**
   * Lets the server read its configuration again.
   *
   * @param expected models that the new configuration changes: a router that knows no reload gives the same answer as
   *   one that does, and goes on with their old command lines
   * @returns false where a restart has to do it
   */
  async reload(expected: readonly Expected[], signal: AbortSignal | undefined): Promise<boolean> {
    if (this.#probe.reload === undefined || this.#isReloadUnknown) return false;
    const isReloaded = await this.step("reload", undefined, () => this.#reloadOnce(expected, signal));
    this.#isReloadUnknown = !isReloaded;
    return isReloaded;
  }

  async #reloadOnce(expected: readonly Expected[], signal: AbortSignal | undefined): Promise<boolean> {
    const { restartTimeoutMs } = this.#limits;
    const limit = this.#limited(signal, restartTimeoutMs);
    try {
      if ((await this.#probe.reload?.(limit)) !== "reloaded") return false;
      for (const { id, isNew } of expected) {
        const line = await this.#probe.startLine?.(id, limit);
        if (line !== undefined && !isNew(line)) return false;
      }
      return true;
    } catch (error) {
      signal?.throwIfAborted();
      if (!isTimeout(error)) throw error;
      throw new ServerError(
        `The server did not read its config again within ${Math.ceil(restartTimeoutMs / 1000)} s.`,
        { link: "server", remedy: "none", cause: error },
      );
    }
  }

  restart(signal: AbortSignal | undefined): Promise<void> {
    return this.step("restart", undefined, () => this.#machine.restart(signal));
  }

  answersNow(): Promise<boolean> {
    return this.#probe.answers(this.#limited(undefined, 10_000)).catch(() => false);
  }

  untilAnswers(signal: AbortSignal | undefined): Promise<void> {
    const { restartTimeoutMs, pollMs = 500 } = this.#limits;
    return this.step("answer", undefined, async () => {
      const end = this.#clock.now() + restartTimeoutMs;
      for (;;) {
        const limit = this.#limited(signal, Math.max(1, end - this.#clock.now()));
        if (await this.#probe.answers(limit).catch(() => false)) return;
        signal?.throwIfAborted();
        if (this.#clock.now() >= end) {
          throw new ServerError(
            `The server did not answer again within ${Math.ceil(restartTimeoutMs / 1000)} s.`,
            { link: "server", remedy: "none" },
          );
        }
        await this.#clock.sleep(pollMs, signal);
      }
    });
  }

  /**
   * Waits for a server that reloads by itself: each reload unloads every model. Where nothing was loaded, time alone
   * has to do; the proof comes later, by the model's command line or `proveReload`.
   *
   * @param expected models that show the new text on their command lines
   * @returns whether it has; undefined where nothing shows it
   */
  async untilReloaded(
    before: readonly RunningModel[],
    expected: readonly Expected[],
    signal: AbortSignal | undefined,
  ): Promise<boolean | undefined> {
    const { reloadTimeoutMs = 10_000, pollMs = 500 } = this.#limits;
    const ready = before.filter(({ state }) => state === "ready").map(({ id }) => id);
    return this.step("await reload", undefined, async () => {
      const end = this.#clock.now() + reloadTimeoutMs;
      while (this.#clock.now() < end) {
        await this.#clock.sleep(pollMs, signal);
        if (ready.length === 0) continue;
        const now = await this.runningOrNone(signal);
        if (!now.some(({ id, state }) => state === "ready" && ready.includes(id))) return true;
        // A preload may be quicker than the eye.
        if (expected.some((model) => isShown(model, now))) return true;
      }
      return ready.length === 0 ? undefined : false;
    });
  }

  /** Whether a model runs with the old command line, at this moment. */
  async runsOld({ id, isNew }: Expected, signal: AbortSignal | undefined): Promise<boolean> {
    const own = (await this.runningOrNone(signal)).find((model) => model.id === id);
    return own?.commandLine !== undefined && !isNew(own.commandLine);
  }

  /** What llama-swap's log says last of a changed text; a refused one would not let it start either. */
  async lastReload(signal: AbortSignal | undefined): Promise<"reloaded" | "refused" | undefined> {
    const lines = (await this.#probe.log?.(undefined, this.#limited(signal, 5000)).catch(() => [])) ?? [];
    signal?.throwIfAborted();
    const last = lines.findLast((line) => REFUSED.test(line) || RELOADED.test(line));
    if (last === undefined) return undefined;
    return REFUSED.test(last) ? "refused" : "reloaded";
  }

  /**
   * Looks in llama-swap's log for a reload where no model is loaded next whose command line would be the proof.
   *
   * @param isReloaded as `untilReloaded` saw it: not, or nothing could show it
   * @returns whether anything shows it
   * @throws {StepFailed} where the text was refused or not read
   */
  proveReload(isReloaded: false | undefined, signal: AbortSignal | undefined): Promise<boolean> {
    return this.step("await reload", undefined, async () => {
      const last = await this.lastReload(signal);
      if (last === "refused")
        throw unproven("Its log says that it failed to reload, and it goes on with the config that it had.");
      if (last === undefined && isReloaded === false)
        throw unproven("It did not reload the config by itself, and the unit cannot be restarted.");
      return last !== undefined;
    });
  }

  /** @param mayRetry while a reload is still stopping the processes of before */
  load(id: string, signal: AbortSignal | undefined, mayRetry: boolean): Promise<void> {
    const { retryMs = 5000, portHeldMs = 35_000 } = this.#limits;
    return this.step("load", id, async () => {
      const end = this.#clock.now() + portHeldMs;
      for (;;) {
        try {
          return await this.#loadOnce(id, signal);
        } catch (error) {
          signal?.throwIfAborted();
          if (!mayRetry || this.#clock.now() >= end) throw error;
          await this.#clock.sleep(retryMs, signal);
        }
      }
    });
  }

  /**
   * Looks at a loaded model: is it started with the new command line, and what window has it?
   *
   * @returns the window compared with what was asked, undefined where nothing was
   * @throws {StepFailed} for the old command line, or a window that nothing explains
   */
  prove(id: string, plan: Omit<Plan, "text">): Promise<ContextVerdict | undefined> {
    return this.step("verify", id, async () => {
      const commandLine = await this.#newCommandLine(id, plan.isNew);
      if (plan.contextSize === undefined) return undefined;
      const live = await this.#probe.liveContext(id, this.#limited(this.signal, 30_000));
      const verdict = judgeContext(plan.contextSize, commandLine, live, plan.slots);
      if (!verdict.isFault) return verdict;
      throw unproven(
        `${id} was loaded with a context of ${verdict.tokens} tokens instead of ${verdict.expected}.`,
      );
    });
  }

  /** A restart command may return before the restart, and a reload may come late: the old one gets a moment to go. */
  async #newCommandLine(id: string, isNew: (commandLine: string) => boolean): Promise<string> {
    const { reloadTimeoutMs = 10_000, pollMs = 500 } = this.#limits;
    const end = this.#clock.now() + reloadTimeoutMs;
    for (;;) {
      const running = await this.#probe.running(this.#limited(this.signal, 10_000));
      const model = running.find((entry) => entry.id === id);
      // llama-swap up to v185 does not show it.
      if (model !== undefined && model.commandLine === undefined) return "";
      if (model?.commandLine !== undefined && isNew(model.commandLine)) return model.commandLine;
      if (this.#clock.now() >= end) {
        throw unproven(
          model === undefined
            ? `The server no longer shows ${id} as loaded.`
            : `The server still starts ${id} with the old command line. It may have refused the new configuration, or use another file.`,
        );
      }
      if (model === undefined) await this.#loadOnce(id, this.signal);
      else await this.#clock.sleep(pollMs, this.signal);
    }
  }

  /**
   * Loads what was ready before and is no more. One at a time, as most servers hold one.
   *
   * @param loaded a model that is loaded already
   * @returns a sentence for each that could not be loaded
   */
  async loadAgain(
    before: readonly RunningModel[],
    signal: AbortSignal | undefined,
    loaded?: string,
  ): Promise<string[]> {
    const notes: string[] = [];
    for (const { id, state } of before) {
      if (state !== "ready" || id === loaded || (await this.#isReady(id, signal))) continue;
      try {
        await this.step("load again", id, () => this.#loadOnce(id, signal));
      } catch (error) {
        signal?.throwIfAborted();
        const reason = error instanceof StepFailed ? error.cause : error;
        notes.push(`${id} was loaded before and could not be loaded again: ${sentenceOf(reason)}`);
      }
    }
    return notes;
  }

  async #isReady(id: string, signal: AbortSignal | undefined): Promise<boolean> {
    const running = await this.runningOrNone(signal);
    return running.some((model) => model.id === id && model.state === "ready");
  }

  async #loadOnce(id: string, signal: AbortSignal | undefined): Promise<void> {
    const { loadTimeoutMs } = this.#limits;
    try {
      await this.#probe.load(id, this.#limited(signal, loadTimeoutMs));
    } catch (error) {
      signal?.throwIfAborted();
      if (!isTimeout(error)) throw error;
      throw new ServerError(`${id} was not loaded within ${Math.ceil(loadTimeoutMs / 1000)} s.`, {
        link: "model",
        remedy: "none",
        cause: error,
      });
    }
  }

  #limited(signal: AbortSignal | undefined, ms: number): AbortSignal {
    const limit = AbortSignal.timeout(Math.min(Math.ceil(ms), 2_147_483_647));
    return signal === undefined ? limit : AbortSignal.any([signal, limit]);
  }
}

function isShown({ id, isNew }: Expected, running: readonly RunningModel[]): boolean {
  return running.some(
    (model) => model.id === id && model.commandLine !== undefined && isNew(model.commandLine),
  );
}

function isTimeout(error: unknown): boolean {
  return error instanceof Error && error.name === "TimeoutError";
}

function unproven(message: string): ServerError {
  return new ServerError(message, { link: "server", remedy: "none" });
}
