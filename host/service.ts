/** The service during a change: each step on it, reported and limited in time. */
import { setTimeout as wait } from "node:timers/promises";
import { ServerError, sentenceOf } from "../lib/errors.ts";
import { wholeSeconds } from "../lib/figures.ts";
import { contextOfCommand } from "./config/command/server-arguments.ts";
import type { ChangedModel, Options, Progress, RemovedModel, StepName } from "./outcome.ts";
import { type ContextVerdict, judgeContext, type LoadedModel, type ServerProbe } from "./probe.ts";
import type { RemoteMachine } from "./ssh/machine.ts";

export interface Limits {
  /** For a restart, and again for the server to answer. */
  restartTimeoutMs: number;
  /** For one model to load. */
  loadTimeoutMs: number;
  /** Between two looks at the server. Default 500. */
  pollMs?: number;
  /** For llama-swap to notice a changed file. Default 10000: it looks every 2 s. */
  reloadTimeoutMs?: number;
  /** Between two attempts to load while a reload may still be stopping old processes. Default 5000. */
  retryMs?: number;
  /** How long after a reload an old process may hold its model's port. Default 35000: it is killed after 30 s. */
  portHeldMs?: number;
}

/** The server from both sides: its machine over ssh, its answers over HTTP. */
export interface ChangeHost {
  machine: RemoteMachine;
  probe: ServerProbe;
  limits: Limits;
}

/** A change under way. */
export interface Run extends ChangeHost {
  readonly limits: Required<Limits>;
  readonly report: Options["report"];
  readonly signal: AbortSignal;
  readonly isGoingBack: boolean;
}

const QUICK_LIMIT_MS = 10_000;
const PROPS_LIMIT_MS = 30_000;

export function startRun(host: ChangeHost, { report, signal = neverAborted() }: Options): Run {
  const defaults = { pollMs: 500, reloadTimeoutMs: 10_000, retryMs: 5000, portHeldMs: 35_000 };
  return { ...host, limits: { ...defaults, ...host.limits }, report, signal, isGoingBack: false };
}

/** The same run on its way back, which cannot be cancelled: each wait in it has a limit of its own. */
export function wayBack(run: Run): Run {
  return { ...run, signal: neverAborted(), isGoingBack: true };
}

function neverAborted(): AbortSignal {
  return new AbortController().signal;
}

export class StepFailed extends Error {
  readonly step: StepName;

  constructor(step: StepName, cause: unknown) {
    super(`${step} failed`, { cause });
    this.step = step;
  }
}

export function causeOf(error: unknown): unknown {
  return error instanceof StepFailed ? error.cause : error;
}

/** Runs one step and reports it. @throws {StepFailed} around whatever it throws */
export async function step<T>(run: Run, name: StepName, work: () => Promise<T>, id?: string): Promise<T> {
  const report = (state: Progress["state"]): void =>
    run.report?.({ step: name, state, id, isGoingBack: run.isGoingBack });
  report("begun");
  try {
    const result = await work();
    report("done");
    return result;
  } catch (error) {
    report("failed");
    throw new StepFailed(name, error);
  }
}

/** The run's signal, aborted after this many milliseconds too. */
export function limited({ signal }: Run, ms: number): AbortSignal {
  return AbortSignal.any([signal, AbortSignal.timeout(Math.min(Math.ceil(ms), 2_147_483_647))]);
}

export function isTimeout(error: unknown): boolean {
  return error instanceof Error && error.name === "TimeoutError";
}

export function serverFault(message: string, cause?: unknown): ServerError {
  return new ServerError(message, {
    link: "server",
    ...(cause === undefined ? {} : { cause }),
  });
}

/** Whether a command line, as `/running` shows it, may come from the new text. */
export function isNew({ contextSize }: ChangedModel, commandLine: string): boolean {
  return contextSize === undefined || (contextOfCommand(commandLine) ?? contextSize) === contextSize;
}

/** What the server answers now; undefined where it does not, as while it is down. */
async function askedNow<T>(run: Run, ask: (signal: AbortSignal) => Promise<T>): Promise<T | undefined> {
  try {
    return await ask(limited(run, QUICK_LIMIT_MS));
  } catch (error) {
    run.signal.throwIfAborted();
    if (error instanceof ServerError || isTimeout(error)) return undefined;
    throw error;
  }
}

/** What is loaded. A server that is down has nothing loaded: a change may repair it. */
export async function runningNow(run: Run): Promise<readonly LoadedModel[]> {
  return (await askedNow(run, (signal) => run.probe.running(signal))) ?? [];
}

/** Whether the server offers a model; undefined where that is not known. */
export function isListedNow(run: Run, id: string): Promise<boolean | undefined> {
  return askedNow(run, (signal) => run.probe.lists(id, signal));
}

/** The command line with which a model would be started; undefined where that is not known. */
export function startLineNow(run: Run, id: string): Promise<string | undefined> {
  return askedNow(run, (signal) => run.probe.startLine(id, signal));
}

export function answersNow(run: Run): Promise<boolean> {
  return run.probe.answers(limited(run, QUICK_LIMIT_MS)).catch(() => false);
}

export function restartUnit(run: Run): Promise<void> {
  return step(run, "restart", () => run.machine.restart(run.signal));
}

export function untilAnswers(run: Run): Promise<void> {
  const { restartTimeoutMs, pollMs } = run.limits;
  return step(run, "answer", async () => {
    const end = performance.now() + restartTimeoutMs;
    for (;;) {
      const limit = limited(run, Math.max(1, end - performance.now()));
      if (await run.probe.answers(limit).catch(() => false)) return;
      run.signal.throwIfAborted();
      if (performance.now() >= end)
        throw serverFault(`The server did not answer again within ${wholeSeconds(restartTimeoutMs)}.`);
      await wait(pollMs, undefined, { signal: run.signal });
    }
  });
}

/** @param mayRetry while a reload is still stopping old processes */
export function load(run: Run, id: string, mayRetry: boolean): Promise<void> {
  const { retryMs, portHeldMs } = run.limits;
  const work = async (): Promise<void> => {
    const end = performance.now() + portHeldMs;
    for (;;) {
      try {
        return await loadOnce(run, id);
      } catch (error) {
        run.signal.throwIfAborted();
        if (!mayRetry || performance.now() >= end) throw error;
        await wait(retryMs, undefined, { signal: run.signal });
      }
    }
  };
  return step(run, "load", work, id);
}

async function loadOnce(run: Run, id: string): Promise<void> {
  const { loadTimeoutMs } = run.limits;
  try {
    await run.probe.load(id, limited(run, loadTimeoutMs));
  } catch (error) {
    run.signal.throwIfAborted();
    if (!isTimeout(error)) throw error;
    const message = `${id} was not loaded within ${wholeSeconds(loadTimeoutMs)}.`;
    throw new ServerError(message, { link: "model", cause: error });
  }
}

/**
 * Checks a loaded model: it runs with the new command line, and has the window that this gives it.
 *
 * @returns the window compared with the expected one; undefined where none was set
 * @throws {StepFailed} for the old command line, or a smaller window that nothing explains
 */
export function verify(run: Run, model: ChangedModel): Promise<ContextVerdict | undefined> {
  const { id, contextSize, slots } = model;
  const work = async (): Promise<ContextVerdict | undefined> => {
    const commandLine = await newCommandLine(run, model);
    if (contextSize === undefined) return undefined;
    const live = await run.probe.liveContext(id, limited(run, PROPS_LIMIT_MS));
    const verdict = judgeContext(contextSize, commandLine, live, slots);
    if (!verdict.isFault) return verdict;
    throw serverFault(
      `${id} was loaded with a context of ${verdict.tokens} tokens instead of ${verdict.expected}.`,
    );
  };
  return step(run, "verify", work, id);
}

/**
 * Waits until the server no longer offers a model that was taken out.
 *
 * @returns a sentence where it does and may, empty otherwise
 * @throws {StepFailed} where it still does
 */
export function verifyGone(run: Run, { id, mayStay = false }: RemovedModel): Promise<string> {
  const { reloadTimeoutMs, pollMs } = run.limits;
  const work = async (): Promise<string> => {
    const end = performance.now() + reloadTimeoutMs;
    while ((await isListedNow(run, id)) === true) {
      if (mayStay) return `The router still offers ${id}: it finds the model's file itself.`;
      if (performance.now() >= end)
        throw serverFault(
          `The server still offers ${id}. It may have refused the new config, or it reads another file.`,
        );
      await wait(pollMs, undefined, { signal: run.signal });
    }
    return "";
  };
  return step(run, "verify gone", work, id);
}

/** A restart command may return before the restart, and a reload may come late: the old process gets a moment. */
async function newCommandLine(run: Run, wanted: ChangedModel): Promise<string> {
  const { id } = wanted;
  const end = performance.now() + run.limits.reloadTimeoutMs;
  for (;;) {
    const running = await run.probe.running(limited(run, QUICK_LIMIT_MS));
    const model = running.find((entry) => entry.id === id);
    // llama-swap up to v185 does not show it.
    if (model !== undefined && model.commandLine === undefined) return "";
    if (model?.commandLine !== undefined && isNew(wanted, model.commandLine)) return model.commandLine;
    if (performance.now() >= end) {
      throw serverFault(
        model === undefined
          ? `The server no longer shows ${id} as loaded.`
          : `The server still starts ${id} with the old command line. It may have refused the new config, or it reads another file.`,
      );
    }
    if (model === undefined) await loadOnce(run, id);
    else await wait(run.limits.pollMs, undefined, { signal: run.signal });
  }
}

/**
 * Loads the models that were ready before and are not now, one at a time, as most servers hold one.
 *
 * @param loaded a model that is loaded already
 * @returns a sentence for each that could not be loaded
 */
export async function loadAgain(run: Run, before: readonly LoadedModel[], but?: string): Promise<string[]> {
  const notes: string[] = [];
  for (const { id, state } of before) {
    if (state !== "ready" || id === but || (await isReady(run, id))) continue;
    try {
      await step(run, "load again", () => loadOnce(run, id), id);
    } catch (error) {
      run.signal.throwIfAborted();
      notes.push(`${id} was loaded before and could not be loaded again: ${sentenceOf(causeOf(error))}`);
    }
  }
  return notes;
}

async function isReady(run: Run, id: string): Promise<boolean> {
  return (await runningNow(run)).some((model) => model.id === id && model.state === "ready");
}
