/** pi's thinking level as fields of a request. Pure. */
import type { SimpleStreamOptions, ThinkingBudgets, ThinkingLevel } from "@earendil-works/pi-ai";
import { type JsonRecord, record } from "../lib/json.ts";
import { KEEPING, type KeepingVariable, type Thinking } from "../lib/thinking.ts";

/** What a request needs to know of a model's thinking. */
export interface ThinkingTraits {
  thinking: Thinking;
  /** Whether earlier answers are sent with their thinking. */
  keepsThinking: boolean;
  /** The template's variable that keeps the thinking of all earlier turns. */
  keptBy: KeepingVariable | undefined;
}

type ThinkingOptions = Pick<SimpleStreamOptions, "reasoning" | "thinkingBudgets">;

/** pi's own budgets for its levels, in tokens. */
const BUDGETS = { minimal: 1024, low: 2048, medium: 8192, high: 16_384 } as const;

/**
 * pi's thinking level in the words of the model's template.
 *
 * llama-server passes `chat_template_kwargs` to the template as variables, and reads `thinking_budget_tokens` itself: 0
 * ends the thinking at once, and without it there is no limit. `reasoning_effort` is for servers that know the field;
 * older llama-servers know only the variable.
 */
export function thinkingFields(traits: ThinkingTraits, options: ThinkingOptions): JsonRecord {
  const fields = levelFields(traits.thinking, options);
  const { keptBy } = traits;
  if (!traits.keepsThinking || keptBy === undefined) return fields;
  const variables = { ...record(fields.chat_template_kwargs), [keptBy]: KEEPING[keptBy] };
  return { ...fields, chat_template_kwargs: variables };
}

function levelFields(thinking: Thinking, options: ThinkingOptions): JsonRecord {
  const level = options.reasoning;
  switch (thinking.kind) {
    case "switch":
      return { chat_template_kwargs: { [thinking.variable ?? "enable_thinking"]: level !== undefined } };
    case "effort":
      return effortFields(thinking, level);
    case "budget": {
      const tokens = budgetFor(level, options.thinkingBudgets);
      if (tokens === undefined) return {};
      return thinking.variable === undefined
        ? { thinking_budget_tokens: tokens }
        : { chat_template_kwargs: { [thinking.variable]: tokens } };
    }
    default:
      return {};
  }
}

function effortFields(
  { levels, variable = "reasoning_effort", switch: isOn }: Extract<Thinking, { kind: "effort" }>,
  level: ThinkingLevel | undefined,
): JsonRecord {
  const effort = effortFor(level, levels);
  const variables = {
    ...(isOn === undefined ? {} : { [isOn]: level !== undefined }),
    ...(effort === undefined ? {} : { [variable]: effort }),
  };
  return {
    ...(effort !== undefined && variable === "reasoning_effort" ? { reasoning_effort: effort } : {}),
    ...(Object.keys(variables).length === 0 ? {} : { chat_template_kwargs: variables }),
  };
}

/** Levels above the last declared one mean the last; "off" has a name only where `none` is declared. */
export function effortFor(level: ThinkingLevel | undefined, levels: readonly string[]): string | undefined {
  if (level === undefined) return levels.includes("none") ? "none" : undefined;
  if (levels.includes(level)) return level;
  return level === "minimal" ? levels.find((name) => name !== "none") : levels.at(-1);
}

/** Tokens of thinking; undefined without a limit. */
function budgetFor(
  level: ThinkingLevel | undefined,
  budgets: ThinkingBudgets | undefined,
): number | undefined {
  if (level === undefined) return 0;
  if (level === "max") return undefined;
  const name = level === "xhigh" ? "high" : level;
  return budgets?.[name] ?? BUDGETS[name];
}
