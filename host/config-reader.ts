/** How the server comes to read its changed config: by itself, when asked, or by a restart. */
import { setTimeout as wait } from "node:timers/promises";
import { wholeSeconds } from "../lib/figures.ts";
import type { ChangedModel, Planned } from "./outcome.ts";
import type { LoadedModel } from "./probe.ts";
import {
  answersNow,
  isListedNow,
  isNew,
  isTimeout,
  limited,
  type Run,
  restartUnit,
  runningNow,
  serverFault,
  startLineNow,
  step,
} from "./service.ts";

/** llama-swap's own words: `failed to reload config: …`, `configuration reloaded`. */
const REFUSED = /fail\w* to (re)?load .*config/i;
const RELOADED = /\bconfig\w* reloaded/i;

const LOG_LIMIT_MS = 5000;

/** What shows that the server has read the new text. */
export interface Shows {
  /** Models with it on their command lines; a new one shows it by being listed. */
  readonly expected: readonly ChangedModel[];
  /** A model that is listed, with the command line with which it is started; without it, another line or none. */
  readonly gone?: { readonly id: string; readonly startLine: string | undefined } | undefined;
}

/** Knows which way works with this server: what failed on the way there is not tried on the way back. */
export class ConfigReader {
  #way: "watch" | "reload" | "restart";
  readonly #hasUnit: boolean;

  constructor({ unit, reloads }: Pick<Planned, "unit" | "reloads">) {
    this.#hasUnit = unit.problem === undefined;
    this.#way = unit.watchesConfig ? "watch" : reloads ? "reload" : "restart";
  }

  /** Whether llama-swap reloads by itself. */
  get isWatching(): boolean {
    return this.#way === "watch";
  }

  /**
   * Makes the server read the file.
   *
   * @param before what was loaded
   * @param effect by which the new text shows: on command lines, and in the list of models
   * @param isProvenLater a model is loaded next whose command line is the proof, or the list is looked at
   * @returns whether it is known that the server has read the file, or will be by that model
   * @throws {StepFailed}
   */
  async read(
    run: Run,
    before: readonly LoadedModel[],
    effect: Shows,
    isProvenLater: boolean,
  ): Promise<boolean> {
    if (this.#way === "watch") {
      const isReloaded = await untilReloaded(run, before, effect);
      if (isReloaded !== false || !(await this.#canRestart(run))) {
        return isReloaded === true || run.isGoingBack || isProvenLater || proveReload(run, isReloaded);
      }
      this.#way = "restart";
    }
    if (this.#way === "reload") {
      try {
        if (await reload(run, effect)) return true;
        this.#way = "restart";
      } catch (error) {
        // A server that refuses the old text too would not start with it; one that is gone has nothing to lose.
        if (!run.isGoingBack || (await answersNow(run))) throw error;
      }
    }
    await restartUnit(run);
    return true;
  }

  /**
   * Restarts a server that should have reloaded by itself and still runs a model with the old command line.
   *
   * @returns false where it runs with the new one, or cannot be restarted
   */
  async restartIfOld(run: Run, model: ChangedModel): Promise<boolean> {
    if (this.#way !== "watch" || !(await runsOld(run, model)) || !(await this.#canRestart(run))) return false;
    this.#way = "restart";
    await restartUnit(run);
    return true;
  }

  /** A text that the server was seen to refuse would not let it start either. */
  async #canRestart(run: Run): Promise<boolean> {
    return this.#hasUnit && (await lastReload(run)) !== "refused";
  }
}

/**
 * Waits for llama-swap to reload by itself: each reload unloads every model. Where nothing was loaded, it waits the
 * whole time, and the proof comes later, from the model's command line or the log.
 *
 * @returns whether it has reloaded; undefined where nothing shows it
 */
function untilReloaded(
  run: Run,
  before: readonly LoadedModel[],
  effect: Shows,
): Promise<boolean | undefined> {
  const { reloadTimeoutMs, pollMs } = run.limits;
  const ready = before.filter(({ state }) => state === "ready").map(({ id }) => id);
  return step(run, "await reload", async () => {
    const end = performance.now() + reloadTimeoutMs;
    while (performance.now() < end) {
      await wait(pollMs, undefined, { signal: run.signal });
      if ((await isListChanged(run, effect)) === true) return true;
      if (ready.length === 0) continue;
      const now = await runningNow(run);
      if (!now.some(({ id, state }) => state === "ready" && ready.includes(id))) return true;
      // A model that is loaded at the start may be back before the next look.
      if (effect.expected.some((model) => isShown(model, now))) return true;
    }
    const isListed = await isListChanged(run, effect);
    return ready.length === 0 && isListed === undefined ? undefined : (isListed ?? false);
  });
}

/** Whether the list of models shows the new text; undefined where it would look the same, or is not known. */
async function isListChanged(run: Run, { expected, gone }: Shows): Promise<boolean | undefined> {
  const added = expected.find((model) => model.isAdded === true);
  if (added !== undefined) return isListedNow(run, added.id);
  const isListed = gone && (await isListedNow(run, gone.id));
  if (gone === undefined || isListed !== true) return isListed === undefined ? undefined : !isListed;
  const line = await startLineNow(run, gone.id);
  return line !== undefined && gone.startLine !== undefined && line !== gone.startLine;
}

function isShown(model: ChangedModel, running: readonly LoadedModel[]): boolean {
  return running.some(
    ({ id, commandLine }) => id === model.id && commandLine !== undefined && isNew(model, commandLine),
  );
}

async function runsOld(run: Run, model: ChangedModel): Promise<boolean> {
  const line = (await runningNow(run)).find(({ id }) => id === model.id)?.commandLine;
  return line !== undefined && !isNew(model, line);
}

/** What llama-swap's log last says about a changed config. */
async function lastReload(run: Run): Promise<"reloaded" | "refused" | undefined> {
  const lines = await run.probe.log(undefined, limited(run, LOG_LIMIT_MS)).catch(() => []);
  run.signal.throwIfAborted();
  const last = lines.findLast((line) => REFUSED.test(line) || RELOADED.test(line));
  if (last === undefined) return undefined;
  return REFUSED.test(last) ? "refused" : "reloaded";
}

/**
 * Looks for the reload in llama-swap's log.
 *
 * @param isReloaded as `untilReloaded` saw it
 * @returns whether the log shows it
 * @throws {StepFailed} where the text was refused or not read
 */
function proveReload(run: Run, isReloaded: false | undefined): Promise<boolean> {
  return step(run, "await reload", async () => {
    const last = await lastReload(run);
    if (last === "refused")
      throw serverFault("Its log says that the reload failed; it still runs with the previous config.");
    if (last === undefined && isReloaded === false)
      throw serverFault("It did not reload the config by itself, and the unit cannot be restarted.");
    return last !== undefined;
  });
}

/**
 * Asks the server to read its config again.
 *
 * @param effect a router that knows no reload answers like one that does, and keeps the old command lines and models
 * @returns false where it cannot
 */
function reload(run: Run, effect: Shows): Promise<boolean> {
  const { restartTimeoutMs } = run.limits;
  return step(run, "reload", async () => {
    const limit = limited(run, restartTimeoutMs);
    try {
      if ((await run.probe.reload?.(limit)) !== "reloaded") return false;
      if ((await isListChanged(run, effect)) === false) return false;
      for (const model of effect.expected) {
        const line = await run.probe.startLine(model.id, limit);
        if (line !== undefined && !isNew(model, line)) return false;
      }
      return true;
    } catch (error) {
      run.signal.throwIfAborted();
      if (!isTimeout(error)) throw error;
      throw serverFault(
        `The server did not read its config again within ${wholeSeconds(restartTimeoutMs)}.`,
        error,
      );
    }
  });
}
