/** Whether what is shown of a turn's speed is what a real llama-server says of it. */
import { normalizeContext } from "@earendil-works/pi-ai";
import type { Activity } from "../activity/turn-activity.ts";
import { llamaServerProblem, startLlamaServer, TINY_ID } from "../test/support/llama-server.ts";
import { SCRIPTS, TRAINED_CONTEXT } from "../test/support/tiny-model.ts";
import type { Bench, Figure, Measured } from "./figure.ts";
import { RateTap, type ServerProgress, type ServerTimings } from "./rate-tap.ts";
import { ExtensionTurns } from "./turns.ts";

/** As often as the working line is drawn. */
const LOOK_MS = 250;
/**
 * A shown rate is that of the last four seconds, the server's that of the whole: in a shorter phase both are the same.
 * The answer's is at the speed of the trial, which halves until then at the most.
 */
const SECONDS = { prompt: 3, answer: 2 };
/** A report that passed so recently may not have been read yet. */
const UNDER_WAY_MS = 50;
/** Enough to measure how fast this machine is. */
const TRIAL = { words: 3000, tokens: 300 };
const TOKENS_A_WORD = 1.5;
const MOST = { words: TRAINED_CONTEXT / 2, tokens: TRAINED_CONTEXT / 4 };
const SESSION = "bench";

/** Small batches, so that the server reports them more often than the display reads. */
const SERVER_ARGS = ["-np", "1", "--batch-size", "128", "--ubatch-size", "16"];

export const RATE_ERROR: Figure = {
  name: "rateError",
  what: "largest relative error of the shown rates, and of the shown part of the prompt, against llama-server's own; phases under 4 s",
  limit: { most: 0.1 },
  margin: 0.5,
};

/** What was shown at a moment, by `performance.now`. */
export interface Look {
  at: number;
  activity: Activity;
}

export interface RateErrors {
  /** Of the last one shown of a phase. */
  promptRate: number;
  tokenRate: number;
  /** Of the whole prompt, the largest of all looks. */
  share: number;
}

/**
 * @param progress what the server said, the oldest first
 * @throws {Error} where a phase was too short for a rate to be shown
 */
export function rateErrors(
  looks: readonly Look[],
  progress: readonly ServerProgress[],
  timings: ServerTimings,
): RateErrors {
  const lastRate = (kind: "prompt" | "generating"): number | undefined =>
    looks.flatMap(({ activity }) => (activity.kind === kind ? (activity.perSecond ?? []) : [])).at(-1);
  return {
    promptRate: relativeError(lastRate("prompt"), timings.promptPerSecond),
    tokenRate: relativeError(lastRate("generating"), timings.perSecond),
    share: Math.max(...looks.map((look) => shareError(look, progress))),
  };
}

function relativeError(shown: number | undefined, told: number): number {
  if (shown === undefined) throw new Error("A phase was too short for a rate to be shown");
  return Math.abs(shown - told) / told;
}

function shareError({ at, activity }: Look, progress: readonly ServerProgress[]): number {
  if (activity.kind !== "prompt") return 0;
  const shown = (activity.processed - activity.cached) / (activity.total - activity.cached);
  const told = progress.filter((report) => report.at <= at);
  const possible = told.filter((_, index) => (told[index + 1]?.at ?? at) >= at - UNDER_WAY_MS);
  return Math.min(...possible.map(({ share }) => Math.abs(share - shown)));
}

function prompt(words: number): string {
  return Array.from({ length: words }, (_, at) => (at % 2 === 0 ? "read" : " the")).join("");
}

/**
 * One turn, looked at as the working line does.
 *
 * @param beginning of the prompt; after another one nothing is cached
 */
async function watch(
  turns: ExtensionTurns,
  beginning: string,
  words: number,
  tokens: number,
): Promise<Look[]> {
  const looks: Look[] = [];
  const content = `${beginning} ${prompt(words)} ${SCRIPTS.endless.cue}`;
  const context = normalizeContext({ messages: [{ role: "user", content, timestamp: 1_795_187_080_000 }] });
  const ticks = setInterval(() => {
    const turn = turns.activities.front(SESSION)?.turn;
    if (turn) looks.push({ at: performance.now(), activity: turn.look() });
  }, LOOK_MS);
  try {
    for await (const event of turns.stream(TINY_ID, context, { sessionId: SESSION, maxTokens: tokens })) {
      if (event.type === "error") throw new Error(`A turn failed: ${event.error.errorMessage}`);
    }
  } finally {
    clearInterval(ticks);
  }
  return looks;
}

function timingsOf({ timings }: RateTap): ServerTimings {
  if (timings === undefined) throw new Error("llama-server sent no timings");
  return timings;
}

/** Why there is nothing to measure against here, or undefined. */
export const ratesProblem = llamaServerProblem;

/** @throws {Error} when a turn failed, or showed no rate */
export async function measureRates({ certsDir }: Bench): Promise<Measured[]> {
  const server = await startLlamaServer({ args: SERVER_ARGS });
  const tap = await RateTap.start(server.url);
  const env = {
    AI_SERVER_URL: tap.url,
    AI_SERVER_CERTS_DIR: certsDir,
    AI_SERVER_SSH_HOST: "local",
    AI_SERVER_LOOP_GUARD: "off",
  };
  const turns = new ExtensionTurns(env);
  try {
    await watch(turns, "short", TRIAL.words, TRIAL.tokens);
    const trial = timingsOf(tap);
    tap.progress.length = 0;
    const trialSeconds = (TOKENS_A_WORD * TRIAL.words) / trial.promptPerSecond;
    // The time grows with the square of the length at the most.
    const words = Math.round(TRIAL.words * Math.sqrt(SECONDS.prompt / trialSeconds));
    const tokens = Math.round(trial.perSecond * SECONDS.answer);
    const looks = await watch(turns, "long", Math.min(words, MOST.words), Math.min(tokens, MOST.tokens));
    const timings = timingsOf(tap);
    const { promptRate, tokenRate, share } = rateErrors(looks, tap.progress, timings);
    const detail =
      `prompt rate ${promptRate.toFixed(3)} of ${timings.promptPerSecond.toFixed(0)} tok/s, ` +
      `answer ${tokenRate.toFixed(3)} of ${timings.perSecond.toFixed(0)} tok/s, part read ${share.toFixed(3)}`;
    return [{ figure: RATE_ERROR, value: Math.max(promptRate, tokenRate, share), detail }];
  } finally {
    await turns.close();
    await tap.stop();
    await server.stop();
  }
}
