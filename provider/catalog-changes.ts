/** Changes between two catalogues, and the window that a running model corrects. Pure. */

import { shortTokens } from "../lib/figures.ts";
import { count } from "../lib/json.ts";
import { isContextKnown, processOf, type ServedFacts, type ServedModel, toServedModel } from "./pi-models.ts";

/**
 * What a refresh changed, one line each: a model added or gone, a changed context window.
 *
 * @param reported the models of the last report, where something else has read the list since
 */
export function changesBetween(
  before: readonly ServedModel[],
  after: readonly ServedModel[],
  reported: readonly ServedModel[] = before,
): string[] {
  const old = new Map(before.map((model) => [model.id, model]));
  const known = new Set(reported.map(({ id }) => id));
  const lines = after.flatMap((model) => {
    if (!known.has(model.id)) return [`${model.id}: added`];
    const was = old.get(model.id);
    return was === undefined ? [] : windowChange(was, model);
  });
  const ids = new Set(after.map((model) => model.id));
  for (const { id } of reported) if (!ids.has(id)) lines.push(`${id}: gone`);
  return lines;
}

/** An unknown window is registered as a number too, but is no window to compare with. */
function windowChange(was: ServedModel, model: ServedModel): string[] {
  const [before, after] = [was.contextWindow, model.contextWindow];
  if (!isContextKnown(model)) return isContextKnown(was) ? [`${model.id}: context no longer known`] : [];
  if (!isContextKnown(was)) return [`${model.id}: context ${shortTokens(after)}`];
  if (before === after) return [];
  const short = [before, after].map(shortTokens);
  const [from, to] = short[0] === short[1] ? [before, after] : short;
  return [`${model.id}: context ${from} → ${to}`];
}

/** A line for each model whose window changed: `Qwen: context 32k → 128k`. */
export function windowChanges(before: readonly ServedModel[], after: readonly ServedModel[]): string[] {
  const old = new Map(before.map((model) => [model.id, model]));
  return after.flatMap((model) => {
    const was = old.get(model.id);
    return was === undefined ? [] : windowChange(was, model);
  });
}

/**
 * The models with the window that a running one reported.
 *
 * @param id of the model that was asked
 * @returns all of them, and the changed ones: it, and the aliases of its process
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
    const { context, outputLimit, refuted } = model.aiServer;
    const isKnown = context.source === "live" && context.value === tokens;
    if (processOf(model) !== processOf(asked) || isKnown) continue;
    const wrong =
      context.source === "declared"
        ? { declared: context.value }
        : context.source === "command line"
          ? { commandLine: context.value }
          : {};
    const facts: ServedFacts = {
      ...model.aiServer,
      id: model.id,
      name: model.name,
      context: { value: tokens, source: "live" },
      outputLimit: { ...outputLimit, value: Math.min(outputLimit.value, Math.ceil(tokens / 2)) },
      refuted: context.value === tokens ? (refuted ?? {}) : { ...refuted, ...wrong },
    };
    corrected.set(model.id, toServedModel(facts, model.baseUrl));
  }
  return {
    models: models.map((model) => corrected.get(model.id) ?? model),
    corrected: [...corrected.values()],
  };
}

/** Whether anything that pi has copied into the session changed. */
export function isChanged(before: readonly ServedModel[], after: readonly ServedModel[]): boolean {
  return JSON.stringify(before) !== JSON.stringify(after);
}
