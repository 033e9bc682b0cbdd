/** How long a session's first prompt waits for the first token, with what it begins with read ahead and without. */
import { LlamaPlace } from "../test/support/llama-pi.ts";
import { llamaServerProblem } from "../test/support/llama-server.ts";
import { eventually } from "../test/support/processes.ts";
import type { Bench, Figure, Measured } from "./figure.ts";
import { median, medianRatio } from "./statistics.ts";

const VERSION = "1.6.0";
const ROUNDS = 7;
const QUICK_ROUNDS = 3;

/** Words of a project's instructions, which with pi's own prompt and tools make about 6,000 tokens. */
const WORDS = 3400;
const LEAST_TOKENS = 6000;

export const FIRST_WORD_WARM: Figure = {
  name: "firstWordWarm",
  what: "time from the first prompt of a session in real pi to the first token of a real llama-server with a beginning of 6,000 tokens: AI_SERVER_WARM=read over off",
  limit: { most: 0.3 },
  margin: 0.25,
};

/** Why there is nothing to measure on here, or undefined. */
export const firstWordProblem = llamaServerProblem;

interface FirstWord {
  ms: number;
  /** Tokens of the prompt, and how many of them the server had read before. */
  prompt: number;
  cached: number;
}

/** Of a new session on a server that has just been started. */
async function firstWord(warm: "off" | "read"): Promise<FirstWord> {
  const place = await LlamaPlace.start(["-np", "1"], { AI_SERVER_WARM: warm });
  try {
    await place.describe(Array.from({ length: WORDS }, (_, at) => (at % 2 === 0 ? "read" : "the")).join(" "));
    const session = await place.session(VERSION);
    // Either way the session has begun, and is connected.
    await session.command("/ai-server-status");
    const isRead = async (): Promise<number | undefined> =>
      (await place.tokensHeld())?.find((tokens) => tokens >= LEAST_TOKENS);
    if (warm === "read") await eventually("the beginning is read", isRead);
    const { ms, answers } = await session.firstWord("What is this?");
    const [{ prompt = 0, cached = 0 } = {}] = answers;
    return { ms, prompt, cached };
  } finally {
    await place.stop();
  }
}

/** @throws {Error} when the prompt is shorter than the figure says, or was not read as its setting says */
export async function measureFirstWord({ isQuick }: Bench): Promise<Measured[]> {
  const [off, read]: [FirstWord[], FirstWord[]] = [[], []];
  for (let round = 0; round < (isQuick ? QUICK_ROUNDS : ROUNDS); round += 1) {
    off.push(await firstWord("off"));
    read.push(await firstWord("read"));
  }
  for (const { prompt, cached } of [...off, ...read])
    if (prompt < LEAST_TOKENS)
      throw new Error(`The prompt has only ${prompt} tokens, ${cached} of them cached`);
  if (off.some(({ cached }) => cached > 0))
    throw new Error("Something was read ahead with AI_SERVER_WARM=off");
  const [cold, warm] = [off, read].map((words) => words.map(({ ms }) => ms)) as [number[], number[]];
  const left = Math.max(...read.map(({ prompt, cached }) => prompt - cached));
  const detail = `off ${median(cold).toFixed(0)} ms, read ${median(warm).toFixed(0)} ms, medians of ${cold.length}; of ${read[0]?.prompt} tokens at most ${left} were left to read`;
  return [{ figure: FIRST_WORD_WARM, value: medianRatio(warm, cold), detail }];
}
