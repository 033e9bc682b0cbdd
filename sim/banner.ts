import type { Clock } from "./clock.ts";
import type { Exchange } from "./http.ts";

const CHARACTERS_PER_SECOND = 75;
const CHUNK_CHARACTERS = 5;
const TICK_MS = 750;
const REMARK_MS = 5000;
const RULE = "━━━━━";

// llama-swap has some forty of these; a few of our own keep their length and their tone.
const REMARKS = [
  "Dusting off the weights, one tensor at a time",
  "Asking the graphics card nicely",
  "Rehearsing the first token",
  "Looking for the attention it deserves",
];

/**
 * llama-swap's `sendLoadingState`: answers 200 before the model is loaded and passes the time in chunks without
 * `id` or `object`. It says "Done!" whether the load succeeded or not.
 * @param queuePosition from 1 while the request is queued
 * @param until aborted when the wait is over
 */
export async function sendBanner(
  exchange: Exchange,
  modelId: string,
  clock: Clock,
  queuePosition: () => number | undefined,
  until: AbortSignal,
): Promise<void> {
  const { response, gone } = exchange;
  const send = (text: string) => {
    if (gone.aborted) return;
    response.write(`data: ${JSON.stringify({ choices: [{ delta: { reasoning_content: text } }] })}\n\n`);
  };
  const sendInline = async (text: string) => {
    const characters = [...text];
    for (let i = 0; i < characters.length; i += CHUNK_CHARACTERS) {
      const chunk = characters.slice(i, i + CHUNK_CHARACTERS).join("");
      send(chunk);
      const pause = (Buffer.byteLength(chunk) * 1000) / CHARACTERS_PER_SECOND;
      if (i + CHUNK_CHARACTERS < characters.length) await clock.sleep(pause, gone);
    }
  };
  const sendLine = async (text: string) => {
    await sendInline(text);
    send("\n");
  };

  const begun = clock.now();
  response.writeHead(200, {
    "Content-Type": "text/event-stream",
    "Cache-Control": "no-cache",
    Connection: "keep-alive",
  });
  response.flushHeaders();
  await sendLine(RULE);
  await sendLine(`llama-swap loading model: ${modelId}`);
  let remark = 0;
  let nextRemark = 0;
  let told: number | undefined;
  const interrupted = AbortSignal.any([until, gone]);
  for (;;) {
    await clock.sleep(TICK_MS, interrupted);
    if (interrupted.aborted) break;
    const position = queuePosition();
    const news = position !== undefined && position !== told ? `Queue position: #${position}` : undefined;
    told = position;
    if (news === undefined && clock.now() < nextRemark) {
      send(".");
      continue;
    }
    send("\n");
    await sendInline(news ?? REMARKS[remark++ % REMARKS.length] ?? "");
    send(" ");
    nextRemark = clock.now() + REMARK_MS;
  }
  send("\n");
  await sendLine(`Done! (${((clock.now() - begun) / 1000).toFixed(2)}s)`);
  await sendLine(RULE);
  await sendLine(" ");
}
