import type { ChatMessage, ChatRequest } from "./chat-request.ts";
import type { Behaviour } from "./flags.ts";
import { isMap } from "./macros.ts";

type Piece =
  | { kind: "reasoning" | "content"; text: string }
  | { kind: "tool"; name: string; arguments: string };

/** A failure after `after` tokens of content (or of a call). */
export interface Fault {
  kind: "cut" | "crash" | "error" | "bare";
  after: number;
  text: string;
}

/** What the model is going to say, and how the answer ends. */
export interface Plan {
  pieces: Piece[];
  /** Simulated milliseconds without a token before the first one. */
  silentMs: number;
  fault: Fault | undefined;
  /** Overrides the finish_reason that follows from the answer. */
  finish: string | undefined;
  noFinish: boolean;
  noDone: boolean;
}

/**
 * Decides what the model answers. Lines of the last user message that begin with `sim:` are directives, obeyed
 * in their order:
 *
 * `think TEXT`, `say TEXT`, `tokens N` (N short tokens), `ponder N` (N short tokens of thinking and a
 * short answer), `tool NAME JSON` (several make parallel calls),
 * `silent SECONDS`, `finish REASON`, `nofinish`, `nodone`, and the faults `cut N` (the TCP connection is
 * destroyed), `crash N` (the model's process dies), `error N MESSAGE`, `bare N TEXT`.
 *
 * After a tool result they do not apply again, nor in a summary request, which quotes the conversation.
 */
export function makePlan(request: ChatRequest, behaviour: Behaviour): Plan {
  const last = request.messages.at(-1);
  const plan: Plan = {
    pieces: [],
    silentMs: 0,
    fault: undefined,
    finish: undefined,
    noFinish: false,
    noDone: false,
  };
  if (last?.role === "tool") {
    plan.pieces.push({ kind: "content", text: saidOf(last.text) });
    return plan;
  }
  const asked = request.messages.findLast((message) => message.role === "user");
  const lines = asked?.text.includes("<conversation>") ? [] : (asked?.text.split("\n") ?? []);
  for (const line of lines) {
    const directive = /^\s*sim: *(\S+) ?(.*)$/.exec(line);
    if (directive) obey(plan, directive[1] ?? "", directive[2] ?? "", request);
  }
  if (plan.pieces.length === 0) plan.pieces = answer(request, asked, behaviour);
  return plan;
}

/** What the model makes of a tool's result: the names in a listing of `ls -l`, the first line of anything else. */
function saidOf(result: string): string {
  const lines = result.trimStart().split("\n");
  if (!/^total \d/.test(lines[0] ?? "")) return `Done: ${lines[0]}`;
  const files = lines.flatMap((line) => /^-\S+ .* (\S+)$/.exec(line)?.[1] ?? []);
  return `The folder has ${files.length} files: ${files.join(", ")}.`;
}

function obey(plan: Plan, name: string, rest: string, request: ChatRequest): void {
  const [first = "", ...others] = rest.split(" ");
  switch (name) {
    case "think":
      plan.pieces.push({ kind: "reasoning", text: rest });
      break;
    case "say":
      plan.pieces.push({ kind: "content", text: rest });
      break;
    case "tokens":
      plan.pieces.push({ kind: "content", text: shortTokens(Math.max(1, Number(first))) });
      break;
    case "ponder":
      plan.pieces.push({ kind: "reasoning", text: shortTokens(Math.max(1, Number(first))) });
      plan.pieces.push({ kind: "content", text: "Thought through." });
      break;
    case "tool":
      plan.pieces.push(call(request, first, others.join(" ")));
      break;
    case "silent":
      plan.silentMs = Number(first) * 1000;
      break;
    case "finish":
      plan.finish = first;
      break;
    case "nofinish":
      plan.noFinish = true;
      break;
    case "nodone":
      plan.noDone = true;
      break;
    case "cut":
    case "crash":
    case "error":
    case "bare":
      plan.fault = { kind: name, after: Number(first), text: others.join(" ") };
      break;
    default:
      plan.pieces.push({ kind: "content", text: `Unknown directive: ${name}` });
  }
}

/** Without tools, or told not to call any, a model's call stays text: nothing parses it. */
function call(request: ChatRequest, name: string, json: string): Piece {
  if (request.tools.length > 0 && request.mayCall) return { kind: "tool", name, arguments: json };
  return { kind: "content", text: `<tool_call>\n{"name": "${name}", "arguments": ${json}}\n</tool_call>` };
}

function answer(request: ChatRequest, asked: ChatMessage | undefined, behaviour: Behaviour): Piece[] {
  const question = (asked?.text ?? "").trim().split("\n")[0]?.slice(0, 80) ?? "";
  if (behaviour.script === "echo") return [{ kind: "content", text: asked?.text ?? "" }];
  const pieces: Piece[] = [];
  const tools = toolNames(request);
  const lists = /\b(list|show)\b.*\bfiles\b|\b(what|which)\b.*\b(files|folder|directory)\b/i.test(question);
  const tool = lists && request.mayCall ? ["bash", "ls"].find((name) => tools.has(name)) : undefined;
  if (request.thinking) {
    const next = tool ? `I look with ${tool}.` : "A short answer is enough.";
    pieces.push({ kind: "reasoning", text: `The user wrote "${question}". ${next}\n` });
  }
  if (tool) {
    pieces.push({
      kind: "tool",
      name: tool,
      arguments: tool === "bash" ? '{"command":"ls -la"}' : '{"path":"."}',
    });
    return pieces;
  }
  const seen = asked && asked.images.length > 0 ? " with a picture" : "";
  const text =
    `You asked${seen}: "${question}". I am a stand-in and know no more than that, ` +
    "but every token of this came through the same road as a real model's: mutual TLS, llama-swap, a stream.";
  pieces.push({ kind: "content", text });
  return pieces;
}

/** Of many each hundredth is its number, so that they do not look like a loop. */
function shortTokens(count: number): string {
  const isNumber = (at: number): boolean => count > 500 && at % 100 === 0;
  return Array.from({ length: count }, (_, at) => (isNumber(at + 1) ? String(at + 1) : "ok")).join(" ");
}

function toolNames(request: ChatRequest): Set<string> {
  return new Set(
    request.tools.map((tool) => String(isMap(tool) && isMap(tool.function) ? tool.function.name : "")),
  );
}
