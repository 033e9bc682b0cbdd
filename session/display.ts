/** The working line and the footer of a session in the terminal. */
import { constants } from "node:fs";
import { open } from "node:fs/promises";
import type { Api, Model } from "@earendil-works/pi-ai";
import type { ExtensionContext } from "@earendil-works/pi-coding-agent";
import type { Activities } from "../activity/activities.ts";
import { isOffline, PROVIDER_ID, readIndicator, type Variables } from "../config.ts";
import type { Ticker } from "../lib/clock.ts";
import { sentenceOf } from "../lib/errors.ts";
import { duration } from "../lib/figures.ts";
import { cleanText } from "../lib/text.ts";
import type { AiServer } from "../provider/ai-server.ts";
import { runsAs } from "../provider/pi-models.ts";
import { Footer } from "./footer.ts";
import { Indicator, type IndicatorSettings } from "./indicator.ts";

/** For a look that the user did not ask for. */
const LOOK_MS = 5000;

/** Only a window that the model itself reported: it may have been loaded with another one than declared. */
function liveWindow({ models }: Pick<AiServer, "models">, id: string): number | undefined {
  const served = models.find(({ aiServer }) => aiServer.runsAs === id);
  const source = served?.aiServer.context.source;
  return source === "live" || source === "last seen" ? served?.contextWindow : undefined;
}

export interface DisplayParts {
  ctx: ExtensionContext;
  aiServer: AiServer;
  activities: Activities;
  env: Variables;
  agentDir: string;
  onReadyChanged(): void;
  clock: Ticker;
}

export class Display {
  readonly #parts: DisplayParts;
  readonly #indicator: Indicator | undefined;
  readonly #footer: Footer;
  #own: string | undefined;
  #doing: string | undefined;

  /** @param looks undefined where the working line is left to pi */
  constructor(parts: DisplayParts, looks: Pick<IndicatorSettings, "mode" | "quotes"> | undefined) {
    this.#parts = parts;
    const { ctx, aiServer, activities, onReadyChanged, clock } = parts;
    this.#footer = new Footer({
      ui: ctx.ui,
      running: () => this.#running(),
      onLook: (ready) => activities.seeReady(ready),
      onReadyChanged,
      windowOf: (id) => liveWindow(aiServer, id),
      clock,
    });
    if (looks === undefined) return;
    const settings = { ...looks, onHeldUp: () => this.#footer.forget() };
    const sessionId = ctx.sessionManager.getSessionId();
    this.#indicator = new Indicator(ctx.ui, activities, settings, sessionId, clock);
  }

  select(model: Model<Api> | undefined): void {
    const isOurs = model?.provider === PROVIDER_ID;
    if (this.#indicator) this.#indicator.isOurs = isOurs;
    this.#own = isOurs ? (runsAs(model) ?? model.id) : undefined;
    this.#footer.select(isOffline(this.#parts.env) ? undefined : this.#own);
  }

  turnStarts(): void {
    this.#indicator?.turnStarts();
  }

  agentRuns(isRunning: boolean): void {
    if (this.#indicator) this.#indicator.isAgentRunning = isRunning;
    if (isRunning) this.#footer.turnBegins();
    else this.#look();
  }

  /** A command may have loaded or unloaded a model. */
  commandEnds(): void {
    this.#look();
  }

  /** @param doing what the server does before a turn comes; undefined: nothing any more */
  worksAhead(doing: string | undefined): void {
    const hasEnded = doing === undefined && this.#doing !== undefined;
    this.#doing = doing;
    this.#footer.works(doing);
    if (hasEnded) this.#look();
  }

  compacts(isCompacting: boolean): void {
    if (this.#indicator) this.#indicator.isCompacting = isCompacting;
  }

  modelsChanged(): void {
    this.#footer.showAgain();
  }

  /**
   * What the first turn with an unloaded model will cost.
   *
   * @returns a sentence; undefined where it is loaded, or nothing is known
   */
  async loadNotice(model: Model<Api>): Promise<string | undefined> {
    const { aiServer, env } = this.#parts;
    const id = runsAs(model);
    if (id === undefined || isOffline(env)) return undefined;
    const running = await this.#running();
    if (running === undefined || running.some((one) => one.id === id)) return undefined;
    const expected = await aiServer.remembered.expectedLoadMs(aiServer.config(), id);
    const time = expected === undefined ? "" : `, which takes about ${duration(expected)}`;
    const others = running.map((one) => one.id).join(", ");
    const cost = others === "" ? "" : `; it may unload ${others}`;
    return `${model.name} is not loaded: the first turn loads it${time}${cost}.`;
  }

  /** Idempotent. */
  close(): void {
    this.#indicator?.close();
    this.#footer.close();
  }

  #look(): void {
    if (!isOffline(this.#parts.env)) void this.#footer.look();
  }

  async #running() {
    return (await this.#parts.aiServer.server()).runningNow(AbortSignal.timeout(LOOK_MS));
  }
}

export async function openDisplay(parts: DisplayParts): Promise<Display> {
  const { mode, quotesFile } = readSettings(parts);
  if (mode === "off") return new Display(parts, undefined);
  const own = mode === "quotes" && quotesFile !== undefined ? await readQuotes(quotesFile) : [];
  return new Display(parts, { mode, quotes: own.length > 0 ? own : QUOTES });
}

function readSettings({ ctx, env, agentDir }: DisplayParts) {
  try {
    return readIndicator(env, agentDir);
  } catch (error) {
    ctx.ui.notify(sentenceOf(error), "warning");
    return { mode: "activity", quotesFile: undefined } as const;
  }
}

const MAX_QUOTES_BYTES = 64 * 1024;
const MAX_QUOTE_LENGTH = 120;

/** Shown where the user names no file. */
export const QUOTES: readonly string[] = [
  "Counting the tokens one by one",
  "Your own electrons at work",
  "No cloud was asked",
  "The fans know what they do",
  "Good things take a few layers",
  "Somewhere in this house it is getting warmer",
];

/** The lines of a file that are quotes: neither empty nor comments. None where it cannot be read. */
export async function readQuotes(path: string): Promise<string[]> {
  try {
    // Opening a pipe without a writer would block for ever.
    const file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK);
    try {
      const { buffer, bytesRead } = await file.read(Buffer.alloc(MAX_QUOTES_BYTES), 0, MAX_QUOTES_BYTES, 0);
      return buffer
        .toString("utf8", 0, bytesRead)
        .split("\n")
        .map((line) => cleanText(line, MAX_QUOTE_LENGTH))
        .filter((line) => line !== "" && !line.startsWith("#"));
    } finally {
      await file.close();
    }
  } catch {
    return [];
  }
}
