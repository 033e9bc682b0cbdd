/** What it costs to show what a turn does: its CPU with the working line's ticks against without them. */
import type { ExtensionContext } from "@earendil-works/pi-coding-agent";
import { Loader, type TUI } from "@earendil-works/pi-tui";
import { REAL_CLOCK } from "../lib/clock.ts";
import { Indicator } from "../session/indicator.ts";
import { makeCollector } from "./collector.ts";
import type { Bench, Figure, Measured } from "./figure.ts";
import { modelIdOf } from "./fixtures.ts";
import { cpuOf, median, medianRatio } from "./statistics.ts";
import { ExtensionTurns, expectedCharacters } from "./turns.ts";

/** Three seconds at 200 tokens a second: most of it is waiting, as in real turns. */
const MODEL = modelIdOf({ kind: "text", deltas: 600, eventsPerWrite: 1, pauseMs: 5 });
const WIDTH = 100;
const SESSION = "bench";

export const ACTIVITY_CPU: Figure = {
  name: "activityCpuRatio",
  what: "CPU of a turn with the activity shown / without; 600 tokens, 200 a second, pi-tui's spinner in both",
  limit: { most: 1.15 },
  margin: 0.05,
};

/** pi's working line, drawn at each change as pi draws it. */
function workingLine(): Loader {
  let loader: Loader | undefined;
  const ui = { requestRender: () => loader?.render(WIDTH) } as unknown as TUI;
  const plain = (text: string): string => text;
  loader = new Loader(ui, plain, plain, "Working");
  return loader;
}

async function oneTurn(turns: ExtensionTurns, isShown: boolean): Promise<number> {
  const loader = workingLine();
  const messages: string[] = [];
  const setWorkingMessage = (message = ""): void => {
    messages.push(message);
    loader.setMessage(message);
  };
  const theme = { fg: (_colour: string, text: string): string => `\u001b[38;5;244m${text}\u001b[39m` };
  const ui = { setWorkingMessage, setWidget: () => {}, theme } as unknown as ExtensionContext["ui"];
  const settings = { mode: "activity" as const, quotes: [], onHeldUp: () => {} };
  const cpu = await cpuOf(async () => {
    const indicator = isShown
      ? new Indicator(ui, turns.activities, settings, SESSION, REAL_CLOCK)
      : undefined;
    if (indicator) {
      indicator.isOurs = true;
      indicator.isAgentRunning = true;
    }
    await turns.turn(MODEL, { sessionId: SESSION });
    indicator?.close();
  });
  loader.stop();
  const rates = messages.filter((message) => / tok\/s · /.test(message)).length;
  if (isShown !== rates > 5) throw new Error(`The working line showed ${rates} rates`);
  return cpu;
}

/**
 * A block is shown, bare, bare, shown, or the reverse: whatever grows or shrinks steadily meanwhile, such as compiled
 * code or other load, adds the same to both sides. On a busy machine single pairs gave ratios from 0.87 to 1.44.
 *
 * @throws {Error} when a turn failed, or the working line did not show it
 */
export async function measureActivity({ server, isQuick }: Bench): Promise<Measured[]> {
  const turns = new ExtensionTurns(server.env);
  const collector = makeCollector();
  const [shown, bare]: [number[], number[]] = [[], []];
  expectedCharacters(MODEL);
  const cpuOfTurn = (isShown: boolean): Promise<number> => {
    collector.young();
    return oneTurn(turns, isShown);
  };
  try {
    for (const isShown of [true, false]) await cpuOfTurn(isShown);
    for (let block = 0; block < (isQuick ? 5 : 9); block += 1) {
      const outer = block % 2 === 0;
      const cpu = { outer: await cpuOfTurn(outer), inner: await cpuOfTurn(!outer) };
      cpu.inner += await cpuOfTurn(!outer);
      cpu.outer += await cpuOfTurn(outer);
      shown.push((outer ? cpu.outer : cpu.inner) / 2);
      bare.push((outer ? cpu.inner : cpu.outer) / 2);
    }
  } finally {
    await turns.close();
  }
  const ms = (values: readonly number[]): string => (median(values) / 1000).toFixed(0);
  const detail = `${ms(shown)} ms / ${ms(bare)} ms, ${shown.length} blocks of four turns`;
  return [{ figure: ACTIVITY_CPU, value: medianRatio(shown, bare), detail }];
}
