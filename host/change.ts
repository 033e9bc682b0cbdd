/**
 * One change of the server's config: preview, write with a backup, let the server read it, verify, and roll back when
 * any of that fails.
 */
import { ServerError, sentenceOf } from "../lib/errors.ts";
import { withoutPolling } from "../lib/log-noise.ts";
import { formatOf } from "./config/config-file.ts";
import { type ReloadEffect, reloadEffect } from "./config/ini/presets.ts";
import { ConfigReader, type Shows } from "./config-reader.ts";
import type { ChangedModel, ChangeOutcome, Edit, FileState, Options, Planned } from "./outcome.ts";
import type { ContextVerdict, LoadedModel } from "./probe.ts";
import {
  type ChangeHost,
  causeOf,
  isListedNow,
  load,
  loadAgain,
  type Run,
  restartUnit,
  runningNow,
  StepFailed,
  startLineNow,
  startRun,
  step,
  untilAnswers,
  verify,
  verifyGone,
  wayBack,
} from "./service.ts";
import type { HostFile, RemoteMachine, UnitStatus } from "./ssh/machine.ts";
import { sha256 } from "./ssh/protocol.ts";
import { HostError } from "./ssh/ssh-faults.ts";

const JOURNAL_LINES = 200;
const QUOTED_LINES = 20;
const LOG_LIMIT_MS = 5000;

interface Found {
  file: FileState;
  backup: string | undefined;
}

/**
 * Plans a change. Nothing is written.
 *
 * @returns undefined where the file already has this text
 * @throws {ServerError} where the server could not be made to read the new text; the signal's reason
 */
export async function planChange(
  host: ChangeHost,
  edit: Edit,
  options: Options = {},
): Promise<Planned | undefined> {
  if (edit.text === edit.file.text) return undefined;
  return inSteps(host, options, async (run) => {
    const unit = await step(run, "status", () => host.machine.status(options.signal));
    const reloads = !unit.watchesConfig && host.probe.reload !== undefined;
    if (!unit.watchesConfig && !reloads) requireRestart(unit);
    const loaded = await runningNow(run);
    const ids = loaded.map(({ id }) => id);
    const changed = reloads ? effectOf(edit).changed : undefined;
    return { ...edit, unit, reloads, loaded, unloads: ids.filter((id) => changed?.includes(id) ?? true) };
  });
}

/**
 * Plans to restore a backup; the file as it is now becomes a backup itself. As `planChange` otherwise.
 *
 * @param name of the file
 */
export async function planRestore(
  host: ChangeHost,
  stamp: string,
  name: string,
  options: Options = {},
): Promise<Planned | undefined> {
  const { signal } = options;
  const read = async (): Promise<Edit> => {
    const file = (await host.machine.read(signal)).find((other) => other.name === name);
    if (file === undefined) throw new ServerError(`${name} no longer exists.`, { link: "config file" });
    const { text } = await host.machine.readBackup(stamp, name, signal);
    return { file, text, backup: stamp };
  };
  const edit = await inSteps(host, options, (run) => step(run, "read", read));
  return planChange(host, edit, options);
}

/** Makes a planned change and verifies it; rolls back where that fails. */
export async function applyChange(
  host: ChangeHost,
  planned: Planned,
  options: Options = {},
): Promise<ChangeOutcome> {
  const { signal } = options;
  const { model, removed } = planned;
  const run = startRun(host, options);
  const reader = new ConfigReader(planned);
  let before: readonly LoadedModel[] = [];
  let shows: Shows = { expected: [] };
  let backup: string | undefined;
  try {
    signal?.throwIfAborted();
    before = await runningNow(run);
    shows = await showsOf(run, planned);
    ({ backup } = await step(run, "write", () => write(run, planned)));
  } catch (error) {
    if (error instanceof StepFailed) return afterFailedWrite(run, { edit: planned, reader, before }, error);
    if (signal?.aborted) return { kind: "cancelled", file: "old", backup: undefined };
    throw error;
  }
  try {
    const isProvenLater = model !== undefined || shows.gone !== undefined;
    const isSeen = await reader.read(run, before, shows, isProvenLater);
    await untilAnswers(run);
    const context = model && (await loadAndVerify(run, reader, model));
    const stays = removed === undefined ? "" : await verifyGone(run, removed);
    const again = await loadAgain(run, before, model?.id ?? removed?.id);
    const notes = stays === "" ? again : [stays, ...again];
    return { kind: "changed", backup, context, notes, ...(isSeen ? {} : { isUnseen: true }) };
  } catch (error) {
    if (signal?.aborted) return { kind: "cancelled", file: "new", backup };
    if (!(error instanceof StepFailed)) throw error;
    const log = await ownWords(run, error, model?.id);
    return rollBack(run, { edit: planned, reader, before }, { file: "new", backup }, { error, log });
  }
}

/**
 * Restarts the server and loads the models again that were loaded.
 *
 * @param unit as it was read just now
 * @returns a sentence for each that could not be loaded again
 * @throws {ServerError} when it cannot be restarted or does not come back; the signal's reason
 */
export async function restartServer(
  host: ChangeHost,
  unit: UnitStatus,
  options: Options = {},
): Promise<string[]> {
  requireRestart(unit);
  return inSteps(host, options, async (run) => {
    const before = await runningNow(run);
    await restartUnit(run);
    await untilAnswers(run);
    return loadAgain(run, before);
  });
}

/** Runs steps that need no way back: which of them failed does not matter. */
async function inSteps<T>(host: ChangeHost, options: Options, work: (run: Run) => Promise<T>): Promise<T> {
  try {
    return await work(startRun(host, options));
  } catch (error) {
    options.signal?.throwIfAborted();
    throw causeOf(error);
  }
}

/** Said before anything is written: a change that cannot take effect would only have to be undone. */
function requireRestart({ problem }: UnitStatus): void {
  if (problem === undefined) return;
  throw new ServerError(`${problem} Nothing was changed.`, { link: "unit" });
}

/** What a reload of the new text does to the server's models. */
function effectOf({ file, text, model, removed }: Edit): ReloadEffect {
  if (model !== undefined) return { changed: [model.id], expected: [model] };
  if (removed !== undefined) return { changed: [removed.id], expected: [] };
  return formatOf(file.name) === "ini" ? reloadEffect(file.text, text) : { changed: undefined, expected: [] };
}

/** How the new text will show, by what the server shows before it is written. */
async function showsOf(run: Run, edit: Edit): Promise<Shows> {
  const { expected } = effectOf(edit);
  const id = edit.removed?.id;
  if (id === undefined || (await isListedNow(run, id)) !== true) return { expected };
  return { expected, gone: { id, startLine: await startLineNow(run, id) } };
}

function write(
  { machine, signal }: Run,
  { file, text, backup }: Edit,
): Promise<{ backup: string | undefined }> {
  if (backup === undefined) return machine.write(text, file.hash, file.name, signal);
  return machine.restore(backup, file.hash, file.name, signal);
}

/** Loads the changed model, and compares what the server then shows with what was wanted. */
async function loadAndVerify(
  run: Run,
  reader: ConfigReader,
  model: ChangedModel,
): Promise<ContextVerdict | undefined> {
  await load(run, model.id, reader.isWatching);
  if (await reader.restartIfOld(run, model)) {
    await untilAnswers(run);
    await load(run, model.id, false);
  }
  return verify(run, model);
}

/** What is needed to undo a change. */
interface Undo {
  edit: Edit;
  reader: ConfigReader;
  before: readonly LoadedModel[];
}

async function afterFailedWrite(run: Run, undo: Undo, failed: StepFailed): Promise<ChangeOutcome> {
  const { edit, reader } = undo;
  const error = failed.cause;
  if (isAnswered(error)) {
    const isChanged = error.code === "changed" || error.code === "changed-after";
    const current = isChanged ? await readAgain(run.machine, edit.file) : undefined;
    return { kind: "refused", reason: error.message, current };
  }
  const found = await lookAfter(run.machine, edit);
  if (run.signal.aborted) return { kind: "cancelled", ...found };
  if (found.file === "old") return { kind: "refused", reason: sentenceOf(error), current: undefined };
  const why = { error: failed, log: [] };
  if (found.file === "new") return rollBack(run, undo, found, why, reader.isWatching);
  const trouble =
    found.file === "other"
      ? "Another program has changed the file meanwhile; it was not touched."
      : "The file could not be read afterwards: it is whole, either the old one or the new one.";
  return rolledBack(why, found, { isHealthy: false, trouble });
}

/** The errors after which the file is for sure the old one, or another program's: the script has answered. */
function isAnswered(error: unknown): error is HostError {
  return error instanceof HostError && !["unanswered", "timeout", "ssh"].includes(error.code);
}

interface Reason {
  error: StepFailed;
  log: readonly string[];
}

function rolledBack(
  { error, log }: Reason,
  found: Found,
  end: { isHealthy: boolean; trouble: string; notes?: string[] },
): ChangeOutcome {
  const { cause, step } = error;
  const isQuoted = cause instanceof ServerError && cause.quotesLog;
  const why = { reason: sentenceOf(cause), log: isQuoted ? [] : log };
  return { kind: "rolled back", failed: step, ...why, ...found, notes: [], ...end };
}

/**
 * Restores the old text and verifies that the server answers with it.
 *
 * @param isRead whether the server may have read the new text
 */
async function rollBack(
  forward: Run,
  { edit, reader, before }: Undo,
  found: Found,
  why: Reason,
  isRead = true,
): Promise<ChangeOutcome> {
  const run = wayBack(forward);
  const { machine } = run;
  const { backup } = found;
  if (backup === undefined)
    return rolledBack(why, found, { isHealthy: false, trouble: "The backup could not be found." });
  try {
    await step(run, "restore", () => machine.restore(backup, sha256(edit.text), edit.file.name));
  } catch (error) {
    const { file } = await lookAfter(machine, edit);
    if (file !== "old") {
      return rolledBack(why, { file, backup }, { isHealthy: false, trouble: sentenceOf(causeOf(error)) });
    }
  }
  const old: Found = { file: "old", backup };
  let trouble = "";
  try {
    if (isRead) await reader.read(run, before, { expected: [] }, false);
  } catch (error) {
    // A restart that failed twice may never have stopped the server: what counts is whether it answers.
    trouble = sentenceOf(causeOf(error));
  }
  try {
    await untilAnswers(run);
    return rolledBack(why, old, { isHealthy: true, trouble, notes: await loadAgain(run, before) });
  } catch (error) {
    const both = [trouble, sentenceOf(causeOf(error))].filter((text) => text !== "").join(" ");
    return rolledBack(why, old, { isHealthy: false, trouble: both });
  }
}

/** Which text the file has, asked again; twice, since the connection may just have broken. */
async function lookAfter(machine: RemoteMachine, { file, text }: Edit): Promise<Found> {
  const current = (await readAgain(machine, file)) ?? (await readAgain(machine, file));
  if (current === undefined) return { file: "unknown", backup: undefined };
  if (current.hash === file.hash) return { file: "old", backup: undefined };
  const backups = await machine.list(file.name).catch(() => []);
  const backup = backups.findLast(({ hash }) => hash === file.hash)?.stamp;
  return { file: current.hash === sha256(text) ? "new" : "other", backup };
}

async function readAgain(machine: RemoteMachine, { name }: HostFile): Promise<HostFile | undefined> {
  const files = await machine.read().catch(() => []);
  return files.find((file) => file.name === name);
}

/** The server's reason for a failed step: the model's log, its own, or the unit's journal. */
async function ownWords(
  { machine, probe }: Run,
  { step: failed }: StepFailed,
  id: string | undefined,
): Promise<readonly string[]> {
  const limit = AbortSignal.timeout(LOG_LIMIT_MS);
  const journal = async (): Promise<string[]> =>
    withoutPolling(await machine.logs(JOURNAL_LINES, limit)).slice(-QUOTED_LINES);
  try {
    if (failed === "restart" || failed === "answer") return await journal();
    const own = await probe.log(failed === "load" ? id : undefined, limit);
    // A router hands its models' output to its own.
    return own.length === 0 && probe.reload !== undefined ? await journal() : own;
  } catch {
    return [];
  }
}
