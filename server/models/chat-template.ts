/** What a loaded model's chat template shows: how it thinks, and what it takes. Pure; rules for public templates. */

import { flag, type JsonRecord, record, records, text } from "../../lib/json.ts";
import {
  EFFORTS,
  isKeepingVariable,
  KEEPING,
  type KeepingVariable,
  type Thinking,
} from "../../lib/thinking.ts";
import {
  assigns,
  type JinjaTag,
  type JinjaTemplate,
  readJinja,
  readsIn,
  takesVariable,
  textsIn,
} from "./jinja.ts";

/** What a chat template shows of its model; undefined where there is no template. */
export interface TemplateFacts {
  thinking?: Thinking | undefined;
  /** Whether it reads the thinking of earlier answers, if only of those since the user last spoke. */
  keepsThinking?: boolean | undefined;
  /** The variable by which it keeps that of earlier turns too; undefined where it has none. */
  keptBy?: KeepingVariable | undefined;
  /** Whether it shows the model its tools; only llama-server reports it. */
  tools?: boolean | undefined;
  /** Whether it refuses two messages of the user with no answer between them. */
  needsAlternation?: boolean | undefined;
  /** Whether it refuses ids of tool calls that are not nine letters and digits. */
  needsShortCallIds?: boolean | undefined;
}

/** The boolean variables that public templates switch thinking by: Qwen and most others, DeepSeek and Granite, Cohere. */
const SWITCHES = ["enable_thinking", "thinking", "reasoning"] as const;
/** Most; Kimi K3; others. */
const EFFORT_VARIABLES = ["reasoning_effort", "thinking_effort", "reasoning_strength"] as const;
/** Seed-OSS. */
const BUDGET_VARIABLE = "thinking_budget";
const LEVELS = ["none", "minimal", "low", "medium", "high", "xhigh", "max"] as const;

/** Where thinking begins or ends, in the spellings of public templates. */
const THINKING_MARK = /<\/?(?:\w{1,10}:)?think(?:ing)?>|<\/?thought>|\[\/?THINK\]|<\|think\|>/;

/**
 * Reads the chat template and `chat_template_caps` of `/props`. llama-server renders the template for a trial to
 * find its caps, so that they are believed; the variables are in the template's text alone.
 *
 * A model has a template of its own for requests with tools in `chat_template_tool_use`: pi always sends tools.
 */
export function templateFacts(props: JsonRecord | undefined): TemplateFacts {
  const withTools = text(props?.chat_template_tool_use) ?? named(props?.chat_template, "tool_use");
  const source = withTools ?? text(props?.chat_template) ?? named(props?.chat_template, "default");
  const caps = record(props?.chat_template_caps);
  const tools = withTools === undefined ? flag(caps?.supports_tools) : true;
  if (source === undefined) return { tools };
  const template = readJinja(source);
  const keeping = Object.keys(KEEPING).filter(isKeepingVariable);
  return {
    thinking: thinkingOf(template, caps),
    keepsThinking: caps?.supports_preserve_reasoning === true || readsEarlierThinking(template),
    keptBy: keeping.find((name) => takesVariable(template, name)),
    tools,
    needsAlternation: refuses(template, /alternat/i),
    needsShortCallIds: refuses(template, /length 9/),
  };
}

/** One of several templates, in the form that they have in a tokenizer's configuration. */
function named(templates: unknown, name: string): string | undefined {
  return text(records(templates).find((entry) => entry.name === name)?.template);
}

function thinkingOf(template: JinjaTemplate, caps: JsonRecord | undefined): Thinking {
  if (takesVariable(template, BUDGET_VARIABLE)) return { kind: "budget", variable: BUDGET_VARIABLE };
  const off = SWITCHES.find((name) => takesVariable(template, name));
  for (const variable of EFFORT_VARIABLES) {
    const levels = takesVariable(template, variable) ? levelsOf(template, variable) : [];
    if (levels.length > 0)
      return { kind: "effort", levels, variable, ...(off === undefined ? {} : { switch: off }) };
  }
  if (off !== undefined) return { kind: "switch", variable: off };
  // The server may know a name for it that stands in no list here, and then gives it what it is asked for.
  if (caps?.supports_reasoning_effort === true) return { kind: "effort", levels: EFFORTS };
  if (!isThinker(template)) return { kind: "none" };
  // A llama-server that reports efforts has its own budget too, which cuts thinking short at its end mark.
  return { kind: caps?.supports_reasoning_effort === undefined ? "always" : "budget" };
}

/**
 * The levels that a template compares its variable with or sets it to. One that prints whatever it is given names at
 * most its default: it has the three that models are trained with.
 */
function levelsOf({ tags }: JinjaTemplate, variable: string): string[] {
  const about = tags.filter((tag) => readsIn(tag, variable) || assigns(tag, variable));
  const named = new Set(about.flatMap(textsIn));
  const found = LEVELS.filter((level) => named.has(level));
  if (found.length > 1) return found;
  return about.some(({ prints }) => prints) ? [...EFFORTS] : [];
}

function isThinker(template: JinjaTemplate): boolean {
  return (
    readsEarlierThinking(template) ||
    [template.plain, ...template.tags.flatMap(textsIn)].some((words) => THINKING_MARK.test(words))
  );
}

/** llama-server hands `reasoning_content` to a template under the name that it reads: that, or `thinking`. */
function readsEarlierThinking({ tags }: JinjaTemplate): boolean {
  const isField = ({ tokens }: JinjaTag, at: number): boolean =>
    tokens[at]?.kind === "text" || tokens[at - 1]?.value === ".";
  return tags.some((tag) =>
    tag.tokens.some(
      ({ value }, at) => (value === "reasoning_content" || value === "thinking") && isField(tag, at),
    ),
  );
}

function refuses({ tags }: JinjaTemplate, reason: RegExp): boolean {
  return tags.some(
    (tag) => readsIn(tag, "raise_exception") && textsIn(tag).some((said) => reason.test(said)),
  );
}
