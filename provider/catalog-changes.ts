/** What is another in a catalogue than before, and what a running model corrects in it. Pure. */

import { shortTokens } from "../lib/figures.ts";
import { count } from "../lib/json.ts";
import { isContextKnown, processOf, type ServedModel } from "./pi-models.ts";

/**
 * What a refresh changed, one line each: added, gone, another context window.
 *
 * @param told the models as the user last heard of them, where something else has read the list since
 */
export function changesBetween(
  before: readonly ServedModel[],
  after: readonly ServedModel[],
  told: readonly ServedModel[] = before,
): string[] {
  const old = new Map(before.map((model) => [model.id, model]));
  const known = new Set(told.map(({ id }) => id));
  const lines = after.flatMap((model) => {
    if (!known.has(model.id)) return [`${model.id}: added`];
    const was = old.get(model.id);
    return was === undefined ? [] : windowChange(was, model);
  });
  const ids = new Set(after.map((model) => model.id));
  for (const { id } of told) if (!ids.has(id)) lines.push(`${id}: gone`);
  return lines;
}

/** A window that was not known is registered as a number all the same, from which nothing can change. */
function windowChange(was: ServedModel, model: ServedModel): string[] {
  const [before, after] = [was.contextWindow, model.contextWindow];
  if (!isContextKnown(model)) return isContextKnown(was) ? [`${model.id}: context no longer known`] : [];
  if (!isContextKnown(was)) return [`${model.id}: context ${shortTokens(after)}`];
  if (before === after) return [];
  const short = [before, after].map(shortTokens);
  const [from, to] = short[0] === short[1] ? [before, after] : short;
  return [`${model.id}: context ${from} → ${to}`];
}

/** Models that have another window than before, a line each: `Qwen: context 32k → 128k`. */
export function windowChanges(before: readonly ServedModel[], after: readonly ServedModel[]): string[] {
  const old = new Map(before.map((model) => [model.id, model]));
  return after.flatMap((model) => {
    const was = old.get(model.id);
    return was === undefined ? [] : windowChange(was, model);
  });
}

/**
 * The models with the window that a running one told of itself.
 *
 * @param id of the model that was asked
 * @returns all of them, and those that are others now: it, and what shares its process
 */
export function withWindow(
  models: readonly ServedModel[],
  id: string,
  tokens: number,
): { models: readonly ServedModel[]; corrected: readonly ServedModel[] } {
  const asked = models.find((model) => model.id === id);
  const corrected = new Map<string, ServedModel>();
  if (asked === undefined || count(tokens) === undefined) return { models, corrected: [] };
  for (const model of models) {
    const { context, refuted } = model.aiServer;
    const isKnown = context.source === "live" && context.value === tokens;
    if (processOf(model) !== processOf(asked) || isKnown) continue;
    const wrong =
      context.source === "declared"
        ? { declared: context.value }
        : context.source === "command line"
          ? { commandLine: context.value }
          : {};
    corrected.set(model.id, {
      ...model,
      contextWindow: tokens,
      maxTokens: Math.min(model.maxTokens, Math.ceil(tokens / 2)),
      aiServer: {
        ...model.aiServer,
        context: { value: tokens, source: "live" },
        refuted: context.value === tokens ? (refuted ?? {}) : { ...refuted, ...wrong },
      },
    });
  }
  return {
    models: models.map((model) => corrected.get(model.id) ?? model),
    corrected: [...corrected.values()],
  };
}

/** Whether pi must be told again, because something that it copied into the session is another now. */
export function isChanged(before: readonly ServedModel[], after: readonly ServedModel[]): boolean {
  return JSON.stringify(before) !== JSON.stringify(after);
}
