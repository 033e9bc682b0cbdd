/** What the model can do for pi: call a tool, think and leave it, look at an image. */
import type { AssistantMessage, ThinkingLevel, Tool } from "@earendil-works/pi-ai";
import { getSupportedThinkingLevels } from "@earendil-works/pi-ai";
import { writtenCall } from "../../../lib/written-call.ts";
import type { ServedModel } from "../../../provider/pi-models.ts";
import { type Finding, fault, ok, unchecked, warning } from "../finding.ts";
import type { Visit } from "../visit.ts";
import { type Answer, ask, system, user } from "./request.ts";

type Say = (doing: string) => void;

/** Enough for a call after some thinking that cannot be switched off. */
const CALL_TOKENS = 512;
const THINKING_TOKENS = 96;
const IMAGE_TOKENS = 32;

/** As pi's own. */
const BASH: Tool = {
  name: "bash",
  description: "Execute a bash command in the current working directory. Returns stdout and stderr.",
  parameters: {
    type: "object",
    properties: { command: { type: "string", description: "Bash command to execute" } },
    required: ["command"],
  },
};

/** A red square of 32 pixels. */
const RED_SQUARE =
  "iVBORw0KGgoAAAANSUhEUgAAACAAAAAgCAIAAAD8GO2jAAAAJ0lEQVR42u3NsQkAAAjAsP7/tF7hIASyp6lTCQQCgUAgEAgEgi/BAjLD/C5w/SM9AAAAAElFTkSuQmCC";

/** @param before an answer for which thinking was off, where it can be */
export async function* abilities(
  visit: Visit,
  model: ServedModel,
  before: Answer,
  say: Say,
): AsyncGenerator<Finding> {
  const { tools } = model.aiServer;
  say("a tool call");
  const called = tools.value ? await ask(visit, model, toolQuestion()) : undefined;
  yield called === undefined ? noTools(tools.source) : toolCall(called);
  yield* thinking(visit, model, called === undefined ? [before] : [before, called], say);
  yield await image(visit, model, say);
}

function toolQuestion() {
  const messages = [
    system("You help with files, and use the tools that you have.", [BASH]),
    user("List the files in the current folder: call a tool for that, and write nothing else."),
  ];
  return { messages, maxTokens: CALL_TOKENS };
}

function textOf({ content }: AssistantMessage): string {
  return content.flatMap((part) => (part.type === "text" ? [part.text] : [])).join("");
}

function hasThought({ content }: AssistantMessage): boolean {
  return content.some((part) => part.type === "thinking" && part.thinking.trim() !== "");
}

const TOOL = ["tool-call", "Tool call"] as const;

function noTools(source: ServedModel["aiServer"]["tools"]["source"]): Finding {
  const can = "in pi it can only answer, not read, write or run anything";
  if (source === "declared")
    return unchecked(...TOOL, `the server's configuration declares it without tools: ${can}`);
  const next = "Choose another model with /model, or give it another template with --chat-template-file.";
  return warning(...TOOL, `its chat template shows no tools to the model: ${can}`, next);
}

/** Pure. */
export function toolCall({ message, failure }: Answer): Finding {
  const asText =
    "Start llama-server with --jinja, or give it the template of this model with --chat-template-file.";
  if (failure !== undefined) return fault(...TOOL, failure, asText);
  const call = message.content.find((part) => part.type === "toolCall");
  if (message.stopReason === "length")
    return unchecked(...TOOL, `its answer was cut after ${message.usage.output} tokens, before a whole call`);
  if (call?.name === BASH.name)
    return ok(...TOOL, `a call of ${call.name} came: ${JSON.stringify(call.arguments)}`);
  if (call !== undefined) {
    const seen = `it calls ${call.name}, a tool that it was not offered`;
    return warning(...TOOL, seen, "pi answers such a call with an error; choose another model for work.");
  }
  if (writtenCall(textOf(message)) !== undefined)
    return fault(...TOOL, "it writes the call as text, so pi runs nothing: pi can only chat with it", asText);
  const seen = "it answered in words where it was to call a tool";
  return warning(
    ...TOOL,
    seen,
    "If it does so again, pi can chat with it, and not work: choose another model.",
  );
}

async function* thinking(
  visit: Visit,
  model: ServedModel,
  off: readonly Answer[],
  say: Say,
): AsyncGenerator<Finding> {
  const levels = getSupportedThinkingLevels(model);
  const level = levels.find((name): name is ThinkingLevel => name !== "off");
  if (level === undefined) {
    yield unchecked("thinking", "Thinking", "the model is not known to think");
    return;
  }
  say("thinking");
  const question = user("Which is larger: 17 times 23, or 400? Think about it first.");
  const messages = [system("You think before you answer."), question];
  const on = await ask(visit, model, { messages, maxTokens: THINKING_TOKENS, level });
  yield thinkingOn(on, level);
  yield thinkingOff(off, levels.includes("off"));
}

const HOW_IT_THINKS =
  "See docs/models.md: metadata in llama-swap's config can declare how it thinks (thinking: none, switch, effort, budget, always).";

/** Pure. */
export function thinkingOn({ message, failure }: Answer, level: string): Finding {
  const [check, subject] = ["thinking", "Thinking on"];
  if (failure !== undefined) return fault(check, subject, failure, HOW_IT_THINKS);
  if (hasThought(message)) return ok(check, subject, `it thinks at level ${level}, apart from its answer`);
  if (/<\/?think(?:ing)?>/.test(textOf(message))) {
    const next =
      "Start llama-server with --reasoning-format auto or deepseek, or another server with its reasoning parser.";
    return warning(check, subject, "its thinking comes as a part of the answer", next);
  }
  return warning(check, subject, `at level ${level} it answers without thinking`, HOW_IT_THINKS);
}

/** @param off answers for which it was switched off. Pure */
export function thinkingOff(off: readonly Answer[], canBeOff: boolean): Finding {
  const [check, subject] = ["thinking-off", "Thinking off"];
  if (!canBeOff) return unchecked(check, subject, "it always thinks, and pi offers no off");
  if (!off.some(({ message }) => hasThought(message))) return ok(check, subject, "it answers at once");
  return warning(check, subject, "it thinks all the same: the switch has no effect", HOW_IT_THINKS);
}

async function image(visit: Visit, model: ServedModel, say: Say): Promise<Finding> {
  const [check, subject] = ["image", "Image"];
  if (!model.input.includes("image")) return unchecked(check, subject, "the model takes no images");
  say("an image");
  const content = [
    { type: "text" as const, text: "Which colour has this picture? Answer in one word." },
    { type: "image" as const, data: RED_SQUARE, mimeType: "image/png" },
  ];
  const { failure } = await ask(visit, model, {
    messages: [system("You describe pictures."), user(content)],
    maxTokens: IMAGE_TOKENS,
  });
  if (failure === undefined) return ok(check, subject, "it takes a PNG image");
  const next =
    "Start llama-server with the --mmproj file of this model, or declare the model without images.";
  return fault(check, subject, failure, next);
}
