/** What the commands that change the server's configuration share: planned, asked about, applied, reported. */
import type { LoadState } from "../activity/load-state.ts";
import type { Config } from "../config.ts";
import { type ConfigFormat, formatOf } from "../host/config/config-file.ts";
import type { ChangeOutcome, Options, Planned, Progress } from "../host/outcome.ts";
import type { ServerProbe } from "../host/probe.ts";
import type { ChangeHost } from "../host/service.ts";
import type { HostFile, UnitStatus } from "../host/ssh/machine.ts";
import { ServerError } from "../lib/errors.ts";
import { maskLines } from "../masking/masking.ts";
import { ANSWER_TIMEOUT_MS } from "../server/http/access.ts";
import type { Backend } from "../server/kinds/backend.ts";
import { loadModel } from "../server/load.ts";
import type { ModelServer } from "../server/model-server.ts";
import type { ListedModel } from "../server/models/listed-model.ts";
import { countChanges, type DiffLine, diffOf, plainDiff } from "../ui/diff.ts";
import { show } from "../ui/output.ts";
import type { Question } from "../ui/question.ts";
import type { Waiting } from "../ui/wait.ts";
import { type Call, isConfirmed } from "./call.ts";
import { type Host, pathOf } from "./host-access.ts";
import { interruptionOf } from "./interruption.ts";
import { type LoadHooks, loadHooks } from "./load.ts";
import { refreshModels } from "./models.ts";
import { faultText, reportOf } from "./report.ts";

/** A notice must fit on the screen. */
const MOST_DIFF_LINES = 30;
/** Of a model's log, where its load fails. */
const PROBED_LOG_LINES = 20;

/**
 * What a step of a change is called on the screen.
 *
 * @param restarted what a restart restarts
 */
export function stepWords({ step, id, isGoingBack }: Progress, restarted: string): string {
  const name = id ?? "the model";
  const words: Record<Progress["step"], string> = {
    read: "Reading the config on the server",
    status: "Checking the unit",
    write: "Writing the config",
    reload: "Asking the router to reread its config",
    "await reload": "Waiting for llama-swap to reload the config",
    restart: `Restarting ${restarted}`,
    answer: "Waiting for the server to answer again",
    load: `Loading ${name}`,
    verify: `Checking the context of ${name}`,
    "verify gone": `Checking that ${name} is gone`,
    "load again": `Loading ${name} again`,
    restore: "Restoring the previous config",
  };
  const said = words[step];
  return isGoingBack && step !== "restore" ? `Rolling back: ${said}` : said;
}

/** Shows each step on the screen, and ends with the user's Escape. @param unit as soon as it is known */
export function shownSteps(waiting: Waiting, config: Config, unit?: UnitStatus): Options {
  const restarted = unit === undefined ? config.serviceUnit : restartedName(unit, config);
  const report = (progress: Progress): void => {
    if (progress.state === "begun") waiting.say(stepWords(progress, restarted));
  };
  return { report, signal: waiting.signal };
}

/** The server from both sides, with the configuration of its machine. */
export interface ChangePlace extends ChangeHost {
  readonly config: Config;
}

/** The place for a change; how long its models take to load is remembered. */
export async function changePlaceOf(
  call: Call,
  server: ModelServer,
  { machine, config }: Host,
): Promise<ChangePlace> {
  const { signal } = call.waiting;
  const { restartTimeoutMs, loadTimeoutMs } = config;
  // A server that does not answer can only be restarted.
  const backend = await server.backend(signal).catch(() => undefined);
  signal.throwIfAborted();
  const probe = httpProbe(server, loadHooks(call, server), backend);
  return { machine, probe, config, limits: { restartTimeoutMs, loadTimeoutMs } };
}

/** The models as the server lists them now; undefined where its kind is not known. @throws {ServerError}; the signal's reason */
export async function listedModels(
  server: ModelServer,
  backend: Backend | undefined,
  signal: AbortSignal,
): Promise<ListedModel[] | undefined> {
  const limits = { signal, timeoutMs: ANSWER_TIMEOUT_MS };
  return backend?.listed(await server.http.json(server.config.modelsPath, limits), limits);
}

/** The server over HTTP. @param backend undefined where the server's kind is not known: then it is restarted and not reloaded */
export function httpProbe(server: ModelServer, hooks: LoadHooks, backend?: Backend): ServerProbe {
  const listedNow = (signal: AbortSignal) => listedModels(server, backend, signal);
  return {
    running: async (signal) => (await server.runningNow(signal)) ?? [],
    answers: async (signal) => {
      try {
        await server.runningNow(signal);
        return true;
      } catch (error) {
        if (error instanceof ServerError) return false;
        throw error;
      }
    },
    startLine: async (id, signal) => (await listedNow(signal))?.find((model) => model.id === id)?.commandLine,
    lists: async (id, signal) => (await listedNow(signal))?.some((model) => model.id === id),
    load: async (id, signal) => {
      const report = (progress: LoadState): void => hooks.onLoading(id, progress);
      const { loadMs } = await loadModel(server, id, { report, signal });
      if (loadMs !== undefined) hooks.onLoaded(id, loadMs);
    },
    liveContext: (id, signal) => server.liveContext(id, signal),
    log: (id, signal) => server.logTail(id ?? "proxy", PROBED_LOG_LINES, signal),
    ...(backend?.reloadConfig === undefined
      ? {}
      : {
          reload: async (signal) => ((await backend.reloadConfig?.(signal)) ? "reloaded" : "not understood"),
        }),
  };
}

/** The user's own command that restarts the server in place of systemctl; a wrapper runs its own and no other. */
export function restartCommandName({ sshHost, sshMode }: Config): string {
  const isWrapped = sshMode === "wrapper" && sshHost !== "local";
  return isWrapped ? "the wrapper's restart_command" : "AI_SERVER_RESTART_COMMAND";
}

/** What a restart restarts: `llama-swap.service`, or `the server with AI_SERVER_RESTART_COMMAND`. */
export function restartedName({ hasRestartCommand }: UnitStatus, config: Config): string {
  return hasRestartCommand ? `the server with ${restartCommandName(config)}` : config.serviceUnit;
}

/** Whether a change restarts the server, in place of a reload. */
function isRestart({ unit, reloads }: Pick<Planned, "unit" | "reloads">): boolean {
  return !unit.watchesConfig && !reloads;
}

/** How a change of the config takes effect, as sentences. */
export function effectWords({ unit, reloads }: Pick<Planned, "unit" | "reloads">, config: Config): string {
  const restarts = `restarts ${restartedName(unit, config)}`;
  if (unit.watchesConfig) {
    const otherwise = unit.problem === undefined ? ` If it does not, this ${restarts}.` : "";
    return `llama-swap reloads the config by itself, which unloads every model.${otherwise}`;
  }
  if (reloads)
    return `The router rereads its preset and unloads only the models that change. An older router cannot reread it: then this ${restarts}, which unloads every model.`;
  const why = unit.isBlind
    ? " Its container mounts the config as a single file, so -watch-config never sees the new one."
    : "";
  return `This ${restarts}, which unloads every model.${why}`;
}

/** After a change by the user's own restart command: that it has run; empty otherwise. */
export function restartedWords(planned: Pick<Planned, "unit" | "reloads">, config: Config): string {
  if (!isRestart(planned) || !planned.unit.hasRestartCommand) return "";
  return ` The server was restarted with ${restartCommandName(config)}.`;
}

/**
 * How a planned change takes effect, and what it interrupts: sentences for its question.
 *
 * @param toLoad the ids that are loaded afterwards
 */
export async function consequencesOf(
  call: Call,
  server: ModelServer,
  config: Config,
  planned: Planned,
  toLoad: readonly string[],
): Promise<string[]> {
  const how = {
    isUnloaded: (id: string) => planned.unloads.includes(id),
    isRestart: isRestart(planned),
  };
  return [effectWords(planned, config), ...(await interruptionOf(call, server, planned.loaded, toLoad, how))];
}

/** What the choices of a question before a change are called. @param act as "Change" */
export function actsOf(act: string, planned: Pick<Planned, "unit" | "reloads">): readonly [string, string] {
  return ["Keep as it is", `${act} and ${isRestart(planned) ? "restart" : "reload"}`];
}

function maskedDiff(before: string, after: string, format: ConfigFormat): DiffLine[] {
  return diffOf(before, after, (lines) => maskLines(lines, format));
}

/** The unified diff of a planned change, with secrets masked. A question scrolls it. */
export function plannedDiff({ file, text }: Planned, config: Config): Question["diff"] {
  const lines = maskedDiff(file.text, text, formatOf(file.name));
  return {
    title: `In ${pathOf(file, config)}:`,
    lines: lines.length === 0 ? [] : plainDiff(lines, lines.length).split("\n"),
  };
}

export function changeCounts(before: string, after: string): { added: number; removed: number } {
  return countChanges(diffOf(before, after, (lines) => [...lines]));
}

/**
 * Makes a planned change and reports how it ended; of one that was cancelled after the write it offers the way back.
 *
 * @param done what was done, as a sentence, where it was
 * @returns whether it was
 */
export async function applyAndReport(
  call: Call,
  place: ChangePlace,
  planned: Planned,
  done: string,
): Promise<boolean> {
  const { file, unit } = planned;
  const { config } = place;
  const { applyChange } = await import("../host/change.ts");
  const outcome = await applyChange(place, planned, shownSteps(call.waiting, config, unit));
  const { level, text } = reportOf(outcome, done + restartedWords(planned, config), pathOf(file, config));
  // Before the end is reported: until then pi takes no keys.
  if (outcome.kind === "changed") await refreshModels(call).catch(() => undefined);
  show(call.ctx, [text, ...otherEdit(outcome, file)].join("\n"), level);
  if (outcome.kind === "cancelled" && outcome.file === "new" && outcome.backup !== undefined)
    await offerToRestore(call, place, planned, outcome.backup);
  return outcome.kind === "changed";
}

/** What another program wrote meanwhile, where that is why nothing was done. */
function otherEdit(outcome: ChangeOutcome, { name, text }: HostFile): string[] {
  if (outcome.kind !== "refused" || outcome.current === undefined) return [];
  const diff = maskedDiff(text, outcome.current.text, formatOf(name));
  return ["The other edit:", plainDiff(diff, MOST_DIFF_LINES)];
}

async function offerToRestore(
  call: Call,
  place: ChangePlace,
  { file, unit }: Planned,
  backup: string,
): Promise<void> {
  const { ctx, waiting, ended } = call;
  if (ended.aborted) return;
  const question = {
    title: "Restore the previous config?",
    consequences: [
      "The server has not been checked with the new config, and may not be running with it yet.",
    ],
  };
  if (!(await isConfirmed(call, question, ["Keep the new config", "Restore the previous one"]))) return;
  try {
    // Not with the user's signal, which is aborted already.
    const { report } = shownSteps(waiting, place.config, unit);
    const { applyChange, planRestore } = await import("../host/change.ts");
    const planned = await planRestore(place, backup, file.name, { report });
    if (planned === undefined) return show(ctx, ALREADY_SO);
    const back = await applyChange(place, planned, { report });
    const { level, text } = reportOf(back, "The previous config is restored.", pathOf(file, place.config));
    show(ctx, text, level);
  } catch (error) {
    // Nothing else reports it: a cancelled command throws in silence.
    show(ctx, `The previous config was not restored. ${faultText(error)}`, "error");
  }
}

/** Shown where a plan has nothing to write. */
export const ALREADY_SO = "Nothing to change: the config already says so.";
export const NOT_CHANGED = "Nothing was changed.";
