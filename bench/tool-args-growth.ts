/** Whether the cost of a tool call's arguments stays linear in their length. */
import { Decoder } from "../stream/decoder.ts";
import { emptyMessage } from "../stream/message.ts";
import { makeCollector } from "./collector.ts";
import type { Bench, Figure, Measured } from "./figure.ts";
import { modelIdOf, writesOf } from "./fixtures.ts";
import { cpuOf, median, medianRatio } from "./statistics.ts";

const SHORT = 5_000;
const LONG = 20_000;
const TIMES = LONG / SHORT;
const WARM_UPS = 5;

export const TOOL_ARGS_GROWTH: Figure = {
  name: "toolArgsGrowth",
  what: "CPU of the decoder for 20,000 argument deltas / for 5,000; linear is 4",
  limit: { most: 4.4 },
  margin: 0.05,
};

function decode(writes: readonly Buffer[]): void {
  const message = emptyMessage({ api: "ai-server", provider: "ai-server", id: "bench" }, 0);
  const decoder = new Decoder({ message, emit: () => {} });
  for (const bytes of writes) decoder.push(bytes);
  decoder.end();
  const [call] = message.content;
  if (call?.type !== "toolCall" || call.arguments.path !== "src/bench.ts") {
    throw new Error(`The decoder did not read the call: ${JSON.stringify(call).slice(0, 200)}`);
  }
}

export async function measureToolArgsGrowth({ isQuick }: Bench): Promise<Measured[]> {
  const collector = makeCollector();
  const prepare = (deltas: number): Buffer[] =>
    Array.from(writesOf(modelIdOf({ kind: "tool", deltas, eventsPerWrite: 8 })), (text) => Buffer.from(text));
  const short = prepare(SHORT);
  const long = prepare(LONG);
  const shorts: number[] = [];
  const longs: number[] = [];
  for (let round = -WARM_UPS; round < (isQuick ? 15 : 41); round++) {
    collector.young();
    // As often as both take about the same time: what the collector does meanwhile hits both alike.
    const ofShort = await cpuOf(() => {
      for (let time = 0; time < TIMES; time++) decode(short);
    });
    collector.young();
    const ofLong = await cpuOf(() => decode(long));
    if (round < 0) continue;
    shorts.push(ofShort / TIMES);
    longs.push(ofLong);
  }
  const ms = (values: readonly number[]): string => (median(values) / 1000).toFixed(1);
  const detail = `${ms(longs)} ms / ${ms(shorts)} ms, ${longs.length} pairs`;
  return [{ figure: TOOL_ARGS_GROWTH, value: medianRatio(longs, shorts), detail }];
}
