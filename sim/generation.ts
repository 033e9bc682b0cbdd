import { callTokens, END_THINK, THINK, tokenize } from "./chat-request.ts";
import type { Clock } from "./clock.ts";
import type { Plan } from "./script.ts";
import type { RunningAnswer, Upstream } from "./upstream.ts";

/** llama-server's `usage` object. */
interface Usage {
  completion_tokens: number;
  prompt_tokens: number;
  total_tokens: number;
  prompt_tokens_details: { cached_tokens: number };
}

export type Step =
  | { type: "progress"; total: number; cache: number; processed: number; time_ms: number }
  | { type: "begin" }
  | { type: "token"; kind: "reasoning" | "content"; text: string }
  | { type: "call"; index: number; name: string; text: string }
  | { type: "arguments"; index: number; text: string }
  | { type: "fault" }
  | { type: "end"; finish: string; usage: Usage; timings: Record<string, number> };

/** llama-server's batch: it reports progress, and notices a disconnected client, only between batches. */
const BATCH_TOKENS = 2048;

/** Tokens after which an unpaced stream lets the event loop turn, so that a disconnect is noticed. */
const BURST_TOKENS = 32;

/**
 * Plays a plan in time: the prompt in batches at the model's prompt rate, then one step a token at its token
 * rate. Afterwards the model's slot holds the prompt and the tokens generated until the caller stopped.
 */
export async function* generate(
  upstream: Upstream,
  prompt: string[],
  plan: Plan,
  running: Pick<RunningAnswer, "isThinkingEnded">,
  maxTokens: number,
  gone: AbortSignal,
): AsyncGenerator<Step> {
  const { clock, behaviour } = upstream;
  const interrupted = AbortSignal.any([upstream.exited, gone]);
  const cached = Math.min(commonPrefix(upstream.slotTokens, prompt), prompt.length - 1);
  const said: string[] = [];
  upstream.slotTokens = prompt;
  await upstream.wait(behaviour.chatDelayMs, interrupted);
  const begun = clock.now();
  yield* readPrompt(upstream, prompt.length, cached, gone);
  const promptMs = clock.now() - begun;
  yield { type: "begin" };
  await upstream.wait(plan.silentMs, interrupted);

  const limit = Math.min(maxTokens, behaviour.slotContext - prompt.length);
  const generating = clock.now();
  let count = 0;
  let visible = 0;
  let finish = plan.pieces.some((piece) => piece.kind === "tool") ? "tool_calls" : "stop";
  try {
    for (const step of steps(plan, said, running)) {
      const isVisible = step.type !== "token" || step.kind === "content";
      if (plan.fault && visible >= plan.fault.after && (isVisible || plan.fault.after === 0)) {
        yield { type: "fault" };
        return;
      }
      if (count >= limit) {
        finish = "length";
        break;
      }
      await pace(clock, behaviour.tokenRate, generating, count, interrupted);
      upstream.assertAlive();
      yield step;
      count++;
      if (isVisible) visible++;
    }
  } finally {
    upstream.slotTokens = prompt.concat(said);
  }
  if (plan.fault) {
    yield { type: "fault" };
    return;
  }
  const usage = {
    completion_tokens: count,
    prompt_tokens: prompt.length,
    total_tokens: prompt.length + count,
    prompt_tokens_details: { cached_tokens: cached },
  };
  const timings = {
    cache_n: cached,
    ...rates("prompt", prompt.length - cached, promptMs),
    ...rates("predicted", count, clock.now() - generating),
  };
  yield { type: "end", finish: plan.finish ?? finish, usage, timings };
}

async function* readPrompt(upstream: Upstream, total: number, cache: number, gone: AbortSignal) {
  const { clock, behaviour } = upstream;
  const begun = clock.now();
  let processed = cache;
  yield { type: "progress", total, cache, processed, time_ms: 0 } as const;
  while (processed < total && !gone.aborted) {
    const batch = Math.min(BATCH_TOKENS, total - processed);
    if (behaviour.promptRate) await upstream.wait((batch * 1000) / behaviour.promptRate, upstream.exited);
    processed += batch;
    const time_ms = Math.round(clock.now() - begun);
    yield { type: "progress", total, cache, processed, time_ms } as const;
  }
}

type TokenStep = Extract<Step, { type: "token" | "call" | "arguments" }>;

/** The plan as single tokens; `said` collects the tokens for the slot. */
function* steps(
  plan: Plan,
  said: string[],
  running: Pick<RunningAnswer, "isThinkingEnded">,
): Generator<TokenStep> {
  let index = 0;
  for (const piece of plan.pieces) {
    if (piece.kind === "tool") {
      // llama-server sends the name with the opening brace, then the arguments bit by bit.
      const opening = piece.arguments.startsWith("{") ? "{" : "";
      yield { type: "call", index, name: piece.name, text: opening };
      for (const text of tokenize(piece.arguments.slice(opening.length)))
        yield { type: "arguments", index, text };
      said.push(...callTokens(piece));
      index++;
      continue;
    }
    if (piece.kind === "reasoning") said.push(THINK);
    for (const text of tokenize(piece.text)) {
      if (piece.kind === "reasoning" && running.isThinkingEnded) break;
      yield { type: "token", kind: piece.kind, text };
      said.push(text);
    }
    if (piece.kind === "reasoning") said.push(END_THINK);
  }
}

async function pace(
  clock: Clock,
  rate: number | undefined,
  begun: number,
  count: number,
  interrupted: AbortSignal,
): Promise<void> {
  const early = rate ? begun + (count * 1000) / rate - clock.now() : 0;
  if (early > 0) await clock.sleep(early, interrupted);
  else if (count % BURST_TOKENS === BURST_TOKENS - 1) await new Promise(setImmediate);
}

function rates(name: string, tokens: number, ms: number): Record<string, number> {
  return {
    [`${name}_n`]: tokens,
    [`${name}_ms`]: ms,
    [`${name}_per_token_ms`]: tokens > 0 ? ms / tokens : 0,
    [`${name}_per_second`]: ms > 0 ? (tokens * 1000) / ms : 0,
  };
}

function commonPrefix(a: string[], b: string[]): number {
  let length = 0;
  while (length < a.length && length < b.length && a[length] === b[length]) length++;
  return length;
}
