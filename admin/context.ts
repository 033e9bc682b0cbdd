/** `/ai-server-ctx`: shows or changes a model's context size in the server's config. */

import type { Config } from "../config.ts";
import {
  type ContextChange,
  type ContextSetting,
  contextPerSlot,
  findContext,
  formatOf,
  planContextChange,
} from "../host/config/config-file.ts";
import { lacksModel } from "../host/config/ini/presets.ts";
import { shown } from "../host/config/refusals.ts";
import type { Unknown } from "../host/fit/fit.ts";
import type { Planned } from "../host/outcome.ts";
import { ServerError } from "../lib/errors.ts";
import { shortTokens } from "../lib/figures.ts";
import { cleanText } from "../lib/text.ts";
import type { ModelServer } from "../server/model-server.ts";
import { show } from "../ui/output.ts";
import type { Question } from "../ui/question.ts";
import { LARGEST, parseSizeOrLargest, readId, wrongSize } from "./arguments.ts";
import { type Call, isConfirmed, requireUser, serverFor } from "./call.ts";
import {
  ALREADY_SO,
  actsOf,
  applyAndReport,
  changePlaceOf,
  consequencesOf,
  NOT_CHANGED,
  plannedDiff,
  shownSteps,
} from "./change.ts";
import { fitOfSize, fittingNow, largestSize, presentFit, type SizeFit } from "./context-fit.ts";
import type { Fitting } from "./fit.ts";
import { type Host, openConfigHost, pathOf } from "./host-access.ts";
import { trainedContext } from "./models.ts";
import { readSubject, type Subject } from "./subject.ts";

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
    advice.push(`${tokens} tokens barely hold one question; pi needs about ten thousand.`);
  if (trained !== undefined && tokens > trained) {
    advice.push(
      `The model was trained for ${trained} tokens: it gets no more, or answers worse beyond that.`,
    );
  }
  if (tokens % STEP_TOKENS !== 0 && program === undefined) {
    advice.push(
      `llama-server rounds it up to ${Math.ceil(tokens / STEP_TOKENS) * STEP_TOKENS}, a multiple of ${STEP_TOKENS}.`,
    );
  }
  return advice;
}

/** `131072 tokens (128k)`, also where none is set. */
function sizeWords(tokens: number | undefined): string {
  if (tokens === undefined) return "not known from the file";
  return tokens === 0 ? "0, the trained size" : `${tokens} tokens (${shortTokens(tokens)})`;
}

function presentWords({ tokens, setBy }: ContextSetting): string {
  if (tokens !== undefined) return `It is ${sizeWords(tokens)} now.`;
  return setBy === "nothing"
    ? "The config sets none now."
    : "The config alone does not show the current size.";
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

/** What sets the size, and where, as sentences. */
export function settingWords(setting: ContextSetting, path: string): string[] {
  const { tokens, setBy, name, line, sharedWith, program, problem } = setting;
  if (problem !== undefined) return [problem];
  const at = `${path}, line ${line}`;
  const where =
    setBy === "nothing"
      ? `No context size is set in ${path}: ${program === undefined ? "llama-server uses the trained size, or what fits" : `${cleanText(program, 80)} uses its own`}.`
      : `Context size: ${sizeWords(tokens)}, set by ${setBy === "flag" ? name : `${name} (${setBy})`} in ${at}.`;
  const shared =
    sharedWith.length === 0
      ? []
      : [`${sharedWith.map((id) => cleanText(id)).join(", ")} share this setting.`];
  return [where, ...slotWords(tokens, setting), ...shared];
}

/** Shows a model's context size, and with a second argument changes it. */
export async function changeContext(call: Call): Promise<void> {
  const { aiServer, ctx, waiting, argument } = call;
  const ids = aiServer.models.map(({ id }) => id);
  if (readId(argument, ids)?.rest) aiServer.refuseWhileChanging();
  const server = await serverFor(call);
  const host = await openConfigHost(server, waiting.signal);
  try {
    const subject = await readSubject(call, server, host);
    if (subject.rest === "") return show(ctx, await subjectWords(call, server, host, subject));
    const size = parseSizeOrLargest(subject.rest);
    if (size === undefined) throw wrongSize(subject.rest);
    requireUser(ctx);
    const what = `/ai-server-ctx ${subject.id} ${size}`;
    await aiServer.exclusively(what, () => setContext(call, server, host, subject, size), true);
  } finally {
    await host.close();
  }
}

async function setContext(
  call: Call,
  server: ModelServer,
  host: Host,
  subject: Subject,
  size: number | typeof LARGEST,
): Promise<void> {
  const { ctx, waiting } = call;
  const { config } = host;
  const { id, file } = subject;
  requireModel(subject);
  const place = await changePlaceOf(call, server, host);
  let fitting: Fitting | Unknown | undefined;
  if (size === LARGEST) fitting = await fittingNow(call, server, host, subject);
  const tokens = fitting === undefined ? Number(size) : await largestSize(call, fitting);
  const change = planContextChange(file.text, formatOf(file.name), id, tokens, subject.facts?.isFound);
  const model = { id, contextSize: tokens, slots: change.after.slots };
  const { planChange } = await import("../host/change.ts");
  const planned = await planChange(place, { file, text: change.text, model }, shownSteps(waiting, config));
  if (planned === undefined) return show(ctx, ALREADY_SO);
  refuseOverridden(planned, config);

  fitting ??= await fittingNow(call, server, host, subject);
  const fit = await fitOfSize(call, fitting, tokens);
  const question = await questionFor(call, server, config, planned, change, fit);
  if (!(await isConfirmed(call, question, actsOf("Change", planned)))) return show(ctx, NOT_CHANGED);
  await applyAndReport(call, place, planned, `${id}: the context size is now ${sizeWords(tokens)}.`);
}

async function subjectWords(call: Call, server: ModelServer, host: Host, subject: Subject): Promise<string> {
  const { id, file, facts } = subject;
  const setting = findContext(file.text, formatOf(file.name), id, facts?.isFound);
  const source = facts?.state === "ready" ? facts.context.source : undefined;
  const live =
    source === "live" || source === "last seen"
      ? [`Loaded now; a request may use ${facts?.context.value} tokens.`]
      : [];
  const fit =
    setting.problem === undefined ? await presentFit(call, server, host, subject, setting.tokens) : [];
  return [id, ...settingWords(setting, pathOf(file, host.config)), ...live, ...fit].join("\n");
}

async function questionFor(
  call: Call,
  server: ModelServer,
  config: Config,
  planned: Planned,
  { before, after, warnings }: ContextChange,
  fit: SizeFit,
): Promise<Question> {
  const trained = (await trainedContext(call, server, after.model, planned.loaded)) ?? fit.trained;
  return {
    title: `Change the context size of ${after.model} to ${sizeWords(after.tokens)}?`,
    consequences: [
      presentWords(before),
      ...(fit.isKnown ? fit.lines : []),
      ...(await consequencesOf(call, server, config, planned, [after.model])),
      ...slotWords(after.tokens, after),
      ...adviceFor(after.tokens ?? 0, trained, after.program),
      ...warnings,
      ...(fit.isKnown ? [] : fit.lines),
    ],
    diff: plannedDiff(planned, config),
  };
}

/** A section without a model is listed like one, and its load would never end. @throws {ServerError} */
function requireModel({ id, file: { name, text }, facts }: Subject): void {
  // A router finds those of its folder and of the cache itself.
  const isFound = facts !== undefined && facts.problem === undefined;
  if (formatOf(name) !== "ini" || isFound || !lacksModel(text, id)) return;
  throw new ServerError(
    `The section ${shown(id)} (line ${findContext(text, "ini", id).line}) names no model, and loading it would block the router for all clients. Add "model = <file>" to it first. Nothing was changed.`,
    { link: "config file" },
  );
}

/** @throws {ServerError} where a size on the router's own command line overrides every preset */
function refuseOverridden({ file, unit }: Planned, { serviceUnit }: Config): void {
  if (formatOf(file.name) !== "ini") return;
  const flag = unit.commandLine?.find((word) => /^(-c|--ctx-size)(=|$)/.test(word));
  if (flag === undefined) return;
  throw new ServerError(
    `${serviceUnit} starts the router with ${shown(flag)}, which overrides the ctx-size of every preset. Remove it from the unit's command line first. Nothing was changed.`,
    { link: "unit" },
  );
}
