/** A long prompt and what follows on it: how fast the model reads and writes, and what its server says meanwhile. */
import type { Api, Model } from "@earendil-works/pi-ai";
import { counted, rateWords, shortTokens, spent } from "../../../lib/figures.ts";
import { number, record } from "../../../lib/json.ts";
import { type Finding, fault, ok, unchecked, warning } from "../finding.ts";
import type { Visit } from "../visit.ts";
import { type Answer, ask, longSystem, user } from "./request.ts";

const WRITTEN_TOKENS = 64;
const FOLLOWING_TOKENS = 16;

/** Says to write on: many models end a short answer too early for a rate. */
const COUNT = "Please count endlessly, in words: one, two, three, and so on. Write nothing else.";

/** Of an answer shorter than this nothing is said of its pieces. */
const LEAST_TOKENS = 20;
/** A model that writes them faster than this leaves no time to see what holds them back. */
const LEAST_MS = 300;
/** Of the time that the model writes, so much lies between the first piece and the last. */
const SPREAD_SHARE = 0.5;
const LEAST_PIECES = 3;

const REUSED_SHARE = 0.9;

/** @returns the first answer; undefined where the model gives none */
export async function* answers(
  visit: Visit,
  model: Model<Api>,
  say: (doing: string) => void,
): AsyncGenerator<Finding, Answer | undefined> {
  const opening = [longSystem(model.contextWindow), user(COUNT)];
  say("a long prompt");
  const first = await ask(visit, model, { messages: opening, maxTokens: WRITTEN_TOKENS });
  if (first.failure !== undefined || first.firstMs === undefined) {
    yield noAnswer(model, first.failure);
    return undefined;
  }
  yield* figuresOf(first, first.firstMs, model.contextWindow);
  say("a second prompt with the same beginning");
  const messages = [...opening, first.message, user("Go on.")];
  const second = await ask(visit, model, { messages, maxTokens: FOLLOWING_TOKENS });
  yield prefix(promptOf(first), second);
  return first;
}

function noAnswer({ id }: Model<Api>, failure: string | undefined): Finding {
  const next = `/ai-server-logs ${id} shows what the model's process says.`;
  return fault("first-token", "First token", failure ?? "the answer is empty", next);
}

/** What one answer shows. Pure. */
export function figuresOf(answer: Answer, firstMs: number, contextWindow: number): Finding[] {
  return [
    ok(
      "first-token",
      "First token",
      `after ${brief(firstMs)}, with a prompt of ${counted(promptOf(answer), "token")}`,
    ),
    reading(answer, firstMs, contextWindow),
    writing(answer, firstMs),
    usage(answer),
    pieces(answer, firstMs),
    progress(answer),
  ];
}

/** Milliseconds below a second: what is looked at here often takes less than a tenth. */
function brief(milliseconds: number): string {
  return milliseconds < 1000 ? `${Math.round(milliseconds)} ms` : spent(milliseconds);
}

function promptOf({ message }: Answer): number {
  return message.usage.input + message.usage.cacheRead;
}

function rate(value: unknown): number | undefined {
  const perSecond = number(value);
  return perSecond !== undefined && perSecond > 0 ? perSecond : undefined;
}

function reading(answer: Answer, firstMs: number, contextWindow: number): Finding {
  const own = (1000 * answer.message.usage.input) / Math.max(1, firstMs);
  const perSecond = rate(answer.timings?.prompt_per_second) ?? own;
  const whole = spent((1000 * contextWindow) / Math.max(1, perSecond));
  const full = `at that rate a full window of ${shortTokens(contextWindow)} takes ${whole}`;
  return ok("reading", "Reading", `${rateWords(perSecond)} tok/s; ${full}`);
}

function writing({ message, timings, lastMs }: Answer, firstMs: number): Finding {
  const { output } = message.usage;
  const own = lastMs > firstMs ? (1000 * (output - 1)) / (lastMs - firstMs) : undefined;
  const perSecond = rate(timings?.predicted_per_second) ?? rate(own);
  if (perSecond === undefined)
    return unchecked("writing", "Writing", `${counted(output, "token")} came at once, too fast for a rate`);
  return ok("writing", "Writing", `${rateWords(perSecond)} tok/s, measured on ${counted(output, "token")}`);
}

function usage(answer: Answer): Finding {
  const [check, subject] = ["usage", "Usage"];
  const { output } = answer.message.usage;
  if (answer.usage === undefined && answer.timings === undefined) {
    const seen = "the server reports no usage: pi's figures of the context are estimates";
    const next =
      "Let the server send it: it is asked for with stream_options.include_usage, which a proxy may remove.";
    return warning(check, subject, seen, next);
  }
  return ok(check, subject, `${promptOf(answer)} read, ${output} written, as the server counts`);
}

/** Whether the answer came as it was written. */
function pieces({ message, timings, pieces: came, lastMs }: Answer, firstMs: number): Finding {
  const [check, subject] = ["answer-stream", "Answer stream"];
  const { output } = message.usage;
  const spread = lastMs - firstMs;
  const writtenMs = number(timings?.predicted_ms);
  if (output < LEAST_TOKENS)
    return unchecked(check, subject, `the answer of ${counted(output, "token")} is too short to judge`);
  const share = writtenMs === undefined ? 1 : spread / Math.max(1, writtenMs);
  const seen = `${output} tokens came in ${counted(came, "piece")} over ${brief(spread)}`;
  if (came >= LEAST_PIECES && share >= SPREAD_SHARE) return ok(check, subject, seen);
  if (writtenMs === undefined || writtenMs < LEAST_MS)
    return unchecked(check, subject, `${seen}, too fast to see whether something holds them back`);
  const held = `${seen}, and took ${spent(writtenMs)} to write: something on the way holds the stream back`;
  const next = "Set flush_interval -1 in Caddy's reverse_proxy, and turn buffering off in any other proxy.";
  return warning(check, subject, held, next);
}

function progress({ reports }: Answer): Finding {
  const [check, subject] = ["progress", "Progress"];
  if (reports > 0)
    return ok(
      check,
      subject,
      `the server reports how far it is with a prompt (${counted(reports, "report")})`,
    );
  return unchecked(check, subject, "the server does not report it; pi shows none while a prompt is read");
}

/** How much of a prompt the server still has when the next one begins in the same way. Pure. */
export function prefix(prompt: number, second: Answer): Finding {
  const [check, subject] = ["prefix", "Prompt cache"];
  if (second.failure !== undefined)
    return fault(check, subject, `the second request failed: ${second.failure}`, "Run this again.");
  const details = record(second.usage?.prompt_tokens_details);
  const isReported =
    second.message.usage.cacheRead > 0 ||
    (number(details?.cached_tokens) ?? number(second.timings?.cache_n)) !== undefined;
  if (!isReported) return unchecked(check, subject, "the server does not report cached tokens");
  const cached = Math.min(prompt, second.message.usage.cacheRead);
  const percent = Math.floor((100 * cached) / Math.max(1, prompt));
  const seen = `${cached} of ${prompt} tokens of the first prompt were not read again (${percent} %)`;
  if (cached >= REUSED_SHARE * prompt) return ok(check, subject, seen);
  const next =
    "Run this again: another client may have taken the slot. If it stays so, look for --no-cache-prompt or a proxy that sets cache_prompt, and give a model with sliding-window or recurrent attention --swa-full or more --ctx-checkpoints.";
  return warning(check, subject, seen, next);
}
