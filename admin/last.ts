/** `/ai-server-last`: what the last turns took. */
import type { TurnFigures } from "../activity/turn-activity.ts";
import { rateWords, shortTokens, spent } from "../lib/figures.ts";
import { type Column, table } from "../ui/layout.ts";
import { show } from "../ui/output.ts";
import { PLAIN } from "../ui/result.ts";
import type { CommandUse } from "./call.ts";

const COLUMNS: readonly Column[] = [
  { title: "Ended", priority: 0 },
  { title: "Model", priority: 4 },
  { title: "Prompt", priority: 1 },
  { title: "Cached", priority: 2 },
  { title: "Read", priority: 1 },
  { title: "Answer", priority: 3 },
  { title: "Written", priority: 1 },
  { title: "Load", priority: 5 },
];

function rate(perSecond: number | undefined): string {
  return perSecond === undefined ? "" : `${rateWords(perSecond)}/s`;
}

function row(turn: TurnFigures): string[] {
  const { endedAt, model, promptTokens, cachedTokens, promptPerSecond, tokens, perSecond, loadMs } = turn;
  const share = promptTokens === 0 ? "" : `${Math.floor((100 * cachedTokens) / promptTokens)} %`;
  return [
    new Date(endedAt).toTimeString().slice(0, 8),
    model,
    shortTokens(promptTokens),
    share,
    rate(promptPerSecond),
    shortTokens(tokens),
    rate(perSecond),
    loadMs === undefined ? "" : spent(loadMs),
  ];
}

/** The figures of turns, the latest first, in tokens and tokens per second. */
export function lastTable(turns: readonly TurnFigures[], width: number, style = PLAIN): string[] {
  return table(COLUMNS, [...turns].reverse().map(row), width, style.dim);
}

export async function last({ ctx, activities }: Pick<CommandUse, "ctx" | "activities">): Promise<void> {
  const turns = [...activities.figures];
  if (turns.length === 0)
    return show(ctx, { level: "info", content: "No turn has ended yet.", data: { turns } });
  show(ctx, {
    level: "info",
    heading: "The last turns",
    content: (width, style) => lastTable(turns, width, style),
    data: { turns: turns.toReversed() },
  });
}
