/** `/ai-server-ctx`: shows or changes a model's context size in the server's config. */

import type { Config } from "../config.ts";
import type { ContextChange, ContextSetting } from "../host/config/config-file.ts";
import {
  contextPerSlot,
  findContext,
  findContexts,
  formatOf,
  planContextChange,
} from "../host/config/config-file.ts";
import { lacksModel } from "../host/config/ini/presets.ts";
import { shown } from "../host/config/refusals.ts";
import type { ChangeOutcome, Plan, Preview } from "../host/outcome.ts";
import { contextOfCommand } from "../host/running-command.ts";
import type { HostFile, RemoteMachine, UnitStatus } from "../host/ssh/machine.ts";
import { ServerError } from "../lib/errors.ts";
import { cleanText } from "../lib/text.ts";
import { shortTokens } from "../provider/pi-models.ts";
import type { ModelServer } from "../server/model-server.ts";
import type { ModelFacts } from "../server/models/models.ts";
import { idOf } from "../server/models/names.ts";
import { show } from "../ui/output.ts";
import { parseSize, readId, unknownId, wrongSize } from "./arguments.ts";
import { type Call, isConfirmed, pathOf, requireUser, serverFor, withConfigFile } from "./call.ts";
import {
  actsOf,
  type Change,
  changeOn,
  effectWords,
  isRestart,
  offerWayBack,
  restartedWords,
} from "./change.ts";
import { diffLines, plainDiffOf } from "./diff-text.ts";
import { modelsNow, noIdGiven, refreshModels, trainedContext } from "./models.ts";
import { reportOf } from "./outcome.ts";
import { stakesOf } from "./stakes.ts";

interface ContextPlan extends Plan {
  readonly change: ContextChange;
}

/** A model's window as it stands: what is written, and what the server shows. */
interface Subject {
  readonly id: string;
  readonly rest: string;
  readonly file: HostFile;
  readonly facts: ModelFacts | undefined;
}

/** Below this a window is of no use, and llama-server works in steps of this size. */
const LEAST_TOKENS = 512;
const STEP_TOKENS = 256;

/** What speaks against a size; said, not forbidden. @param program where that is not llama-server */
export function adviceFor(
  tokens: number,
  trained: number | undefined,
  program?: string | undefined,
): string[] {
  const advice: string[] = [];
  if (tokens < LEAST_TOKENS)
    advice.push(`${tokens} tokens hardly hold a question; pi needs some ten thousand.`);
  if (trained !== undefined && tokens > trained) {
    advice.push(`The model was trained for ${trained} tokens: it gets no more, or gets worse beyond.`);
  }
  if (tokens % STEP_TOKENS !== 0 && program === undefined) {
    advice.push(
      `llama-server rounds it up to ${Math.ceil(tokens / STEP_TOKENS) * STEP_TOKENS}, a multiple of ${STEP_TOKENS}.`,
    );
  }
  return advice;
}

/** `131072 tokens (128k)`, also for what is not set. */
function sizeWords(tokens: number | undefined): string {
  if (tokens === undefined) return "not known from the file";
  return tokens === 0 ? "0, the trained size" : `${tokens} tokens (${shortTokens(tokens)})`;
}

/** The size before a change, as a sentence. */
function presentWords({ tokens, setBy }: ContextSetting): string {
  if (tokens !== undefined) return `It is ${sizeWords(tokens)} now.`;
  return setBy === "nothing" ? "The config sets none now." : "The config alone does not say what it is now.";
}

/** What each request gets of a size, where that is not all of it. */
function slotWords(tokens: number | undefined, { slots }: ContextSetting): string[] {
  if (tokens === undefined || tokens === 0) return [];
  const each = contextPerSlot(tokens, slots);
  if (slots.perSlot === each) return [`A request gets no more than ${each} tokens (--kv-unified-per-slot).`];
  if (slots.parallel === undefined || slots.parallel < 2) return [];
  return slots.kvUnified === true
    ? [`Its ${slots.parallel} slots share it (--kv-unified).`]
    : [`Each of its ${slots.parallel} slots gets ${each} tokens.`];
}

/** Where a setting stands, as a sentence. */
export function settingWords(setting: ContextSetting, path: string): string[] {
  const { tokens, setBy, name, line, sharedWith, program, problem } = setting;
  if (problem !== undefined) return [problem];
  const at = `${path}, line ${line}`;
  const where =
    setBy === "nothing"
      ? `No context size is set in ${path}: ${program === undefined ? "llama-server takes the trained size, or what fits" : `${cleanText(program, 80)} takes its own`}.`
      : `Context size: ${sizeWords(tokens)}, set by ${setBy === "flag" ? name : `${name} (${setBy})`} in ${at}.`;
  const shared =
    sharedWith.length === 0
      ? []
      : [`${sharedWith.map((id) => cleanText(id)).join(", ")} have their size from the same place.`];
  return [where, ...slotWords(tokens, setting), ...shared];
}

/** The file that defines a model; of a folder's files, the one that has it. */
function fileWith(id: string, files: readonly HostFile[]): HostFile | undefined {
  return files.find(({ name, text }) => findContexts(text, formatOf(name)).some(({ model }) => model === id));
}

/** The file to change for a model: the one that defines it, or the preset of a router that has found it itself. */
function fileFor(
  id: string,
  files: readonly HostFile[],
  facts: ModelFacts | undefined,
): HostFile | undefined {
  const presets = files.filter(({ name }) => formatOf(name) === "ini");
  const preset = facts?.isFound === true && presets.length === 1 ? presets[0] : undefined;
  return fileWith(id, files) ?? preset;
}

async function subjectOf(
  call: Call,
  server: ModelServer,
  config: Config,
  files: readonly HostFile[],
): Promise<Subject> {
  // An id that would steer a terminal is none, as where the server lists it.
  const written = files
    .flatMap(({ name, text }) => findContexts(text, formatOf(name)).map(({ model }) => idOf(model)))
    .filter((id) => id !== undefined);
  // A server that is down must not hinder the change that repairs it.
  const facts = await modelsNow(call, server).catch(() => []);
  call.waiting.signal.throwIfAborted();
  const ids = [...new Set([...written, ...facts.map(({ id }) => id)])];
  const read = readId(call.argument, ids);
  if (read === undefined) throw noIdGiven(ids);
  if ("unknown" in read) throw unknownId(read.unknown, read.nearest);
  const own = facts.find(({ id }) => id === read.id);
  const id = own?.runsAs ?? read.id;
  const file = fileFor(id, files, own);
  if (file !== undefined) return { id, rest: read.rest, file, facts: own };
  throw new ServerError(
    `${id} is not in the config ${files.map((found) => pathOf(found, config)).join(", ")}: it runs elsewhere, or AI_SERVER_PRESET_PATH names another file than the server reads.`,
    { link: "config file", remedy: "none" },
  );
}

/** Shows a model's context size, and with a second argument changes it. */
export async function changeContext(call: Call): Promise<void> {
  const { waiting, aiServer, argument } = call;
  const known = readId(
    argument,
    aiServer.models.map(({ id }) => id),
  );
  if (known !== undefined && known.rest !== "") aiServer.refuseWhileChanging();
  const server = await serverFor(call);
  const work = async (machine: RemoteMachine, config: Config): Promise<void> => {
    waiting.say("Reading the config on the server");
    const subject = await subjectOf(call, server, config, await machine.read(waiting.signal));
    if (subject.rest === "") return showSetting(call, config, subject);
    const tokens = parseSize(subject.rest);
    if (tokens === undefined) throw wrongSize(subject.rest);
    requireUser(call);
    await aiServer.exclusively(`/ai-server-ctx ${subject.id} ${tokens}`, async () =>
      carryOut(call, server, await changeOn(call, server, machine, config), subject, tokens),
    );
  };
  await withConfigFile(server, work, waiting.signal);
}

function showSetting({ ctx }: Call, config: Config, { id, file, facts }: Subject): void {
  const setting = findContext(file.text, formatOf(file.name), id, facts?.isFound);
  const source = facts?.state === "ready" ? facts.context.source : undefined;
  const live =
    source === "live" || source === "last seen"
      ? [`Loaded, a request may use ${facts?.context.value} tokens.`]
      : [];
  show(ctx, [id, ...settingWords(setting, pathOf(file, config)), ...live].join("\n"));
}

async function carryOut(
  call: Call,
  server: ModelServer,
  change: Change,
  { id, file, facts }: Subject,
  tokens: number,
): Promise<void> {
  const { ctx, waiting } = call;
  let seen = file;
  let asked: Preview<ContextPlan> | undefined;
  const plan = (text: string, read: HostFile): ContextPlan => {
    seen = read;
    requireModel(id, read, facts);
    const planned = planContextChange(text, formatOf(read.name), id, tokens, facts?.isFound);
    const isNew = (line: string): boolean => (contextOfCommand(line) ?? tokens) === tokens;
    const { slots } = planned.after;
    return { text: planned.text, contextSize: tokens, slots, isNew, change: planned };
  };
  const outcome = await change.safe.change<ContextPlan>(
    { modelId: id, pick: (files) => fileFor(id, files, facts) ?? missing(id), plan },
    {
      confirm: (preview) => {
        asked = preview;
        return confirm(call, server, change.config, preview);
      },
      report: change.report,
      signal: waiting.signal,
    },
  );
  const path = pathOf(seen, change.config);
  const changed = `${id}: the context size is now ${sizeWords(tokens)}.${restartedWords(asked, change.config)}`;
  const { level, text } = reportOf(outcome, changed, path);
  // Before the end is told: until then pi takes no keys.
  if (outcome.kind === "changed") await refreshModels(call).catch(() => undefined);
  show(ctx, [text, ...otherEdit(outcome, seen)].join("\n"), level);
  await offerWayBack(call, change, outcome, seen, path);
}

async function confirm(
  call: Call,
  server: ModelServer,
  config: Config,
  preview: Preview<ContextPlan>,
): Promise<boolean> {
  const { file, plan, loaded, isUnloaded, unit } = preview;
  const { before, after, warnings } = plan.change;
  const path = pathOf(file, config);
  if (formatOf(file.name) === "ini") requireOwnSize(unit, config);
  const trained = await trainedContext(call, server, after.model, loaded);
  const format = formatOf(file.name);
  return isConfirmed(
    call,
    {
      title: `Change the context size of ${after.model} to ${sizeWords(after.tokens)}?`,
      consequences: [
        presentWords(before),
        effectWords(preview, config),
        ...(await stakesOf(call, server, loaded, [after.model], {
          isUnloaded,
          isRestart: isRestart(preview),
        })),
        ...slotWords(after.tokens, after),
        ...adviceFor(after.tokens ?? 0, trained, after.program),
        ...warnings,
      ],
      diff: { title: `In ${path}:`, lines: diffLines(file.text, plan.text, format) },
    },
    actsOf("Change", preview),
  );
}

/** A section without a model is listed like one, and its load would never end. @throws {ServerError} */
function requireModel(id: string, { name, text }: HostFile, facts: ModelFacts | undefined): void {
  // A router finds those of its folder and of the cache itself.
  const isFound = facts !== undefined && facts.problem === undefined;
  if (formatOf(name) !== "ini" || isFound || !lacksModel(text, id)) return;
  throw new ServerError(
    `The section ${shown(id)} (line ${findContext(text, "ini", id).line}) names no model, and loading it would block the router for everybody. Add "model = <file>" to it first. Nothing was changed.`,
    { link: "config file", remedy: "none" },
  );
}

/** @throws {ServerError} where a size on the router's own command line wins over every preset */
function requireOwnSize({ commandLine }: UnitStatus, { serviceUnit }: Config): void {
  const flag = commandLine?.find((word) => /^(-c|--ctx-size)(=|$)/.test(word));
  if (flag === undefined) return;
  throw new ServerError(
    `${serviceUnit} starts the router with ${shown(flag)}, which wins over the ctx-size of every preset. Take it out of the unit's command line first. Nothing was changed.`,
    { link: "unit", remedy: "none" },
  );
}

/** What somebody else wrote meanwhile, where that is why nothing was done. */
function otherEdit(outcome: ChangeOutcome, file: HostFile): string[] {
  if (outcome.kind !== "refused" || outcome.current === undefined) return [];
  return ["Their change:", plainDiffOf(file.text, outcome.current.text, formatOf(file.name))];
}

function missing(id: string): never {
  throw new ServerError(`The config no longer has the model ${id}.`, { link: "config file", remedy: "none" });
}
