/** pi's working line while a turn of this provider runs. */
import type { ExtensionContext } from "@earendil-works/pi-coding-agent";
import type { Activities } from "../activity/activities.ts";
import { turnLine } from "../activity/activity-line.ts";
import type { Activity, TurnActivity } from "../activity/turn-activity.ts";
import type { Ticker } from "../lib/clock.ts";
import { duration } from "../lib/figures.ts";

/** Figures that change more often cannot be read. */
const TICK_MS = 250;

/** The least time between two lines, however many turns begin and end. */
const LEAST_MS = 100;

const KEY = "ai-server";

/** Activities that make the last look at the model out of date. */
const HELD_UP: ReadonlySet<Activity["kind"]> = new Set(["waiting", "loading", "down"]);

export interface IndicatorSettings {
  /** `quotes`: one quote for each turn, followed by the activity. */
  mode: "activity" | "quotes";
  /** For `quotes`; not empty. */
  quotes: readonly string[];
  /** Called, maybe often, while the turn in front waits for its model. */
  onHeldUp(): void;
}

type IndicatorUi = Pick<ExtensionContext["ui"], "setWorkingMessage" | "setWidget" | "theme">;

/** Shows what the turn in front of the user does. Lives as long as a session in the terminal. */
export class Indicator {
  readonly #ui: IndicatorUi;
  readonly #activities: Activities;
  readonly #settings: IndicatorSettings;
  readonly #sessionId: string | undefined;
  readonly #clock: Ticker;
  readonly #stopListening: () => void;
  #stopTicking: (() => void) | undefined;
  #isOurs = false;
  #isAgentRunning = false;
  #isCompacting = false;
  #shown: string | undefined;
  #shownAt = Number.NEGATIVE_INFINITY;
  #isWidgetShown = false;
  #quoted: { turn: TurnActivity; quote: string; since: number } | undefined;

  constructor(
    ui: IndicatorUi,
    activities: Activities,
    settings: IndicatorSettings,
    sessionId: string | undefined,
    clock: Ticker,
  ) {
    this.#ui = ui;
    this.#activities = activities;
    this.#settings = settings;
    this.#sessionId = sessionId;
    this.#clock = clock;
    this.#stopListening = activities.onChange(() => this.#follow());
    this.#follow();
  }

  /** Whether pi's model is one of ours: only then the working line is ours. */
  set isOurs(isOurs: boolean) {
    if (isOurs === this.#isOurs) return;
    this.#isOurs = isOurs;
    this.#shown = undefined;
    // Without a message of ours pi would show its own.
    this.#quietly(() => (isOurs ? this.#ui.setWorkingMessage("") : this.#ui.setWorkingMessage()));
  }

  /** pi shows the working line while its agent runs. */
  set isAgentRunning(isRunning: boolean) {
    this.#isAgentRunning = isRunning;
    this.#tick();
  }

  /** pi replaces the working line with its own while it compacts, also during its agent's run. */
  set isCompacting(isCompacting: boolean) {
    this.#isCompacting = isCompacting;
    this.#tick();
  }

  /** pi sets its own message again for each turn of its agent. */
  turnStarts(): void {
    this.#isCompacting = false;
    if (!this.#isOurs) return;
    this.#shown = undefined;
    this.#shownAt = Number.NEGATIVE_INFINITY;
    this.#quietly(() => this.#ui.setWorkingMessage(""));
    this.#tick();
  }

  /** Gives pi its own line back. Idempotent. */
  close(): void {
    this.#stopListening();
    this.#endTicks();
    this.#hideWidget();
    if (this.#isOurs) this.#quietly(() => this.#ui.setWorkingMessage());
    this.#isOurs = false;
  }

  #follow(): void {
    if (this.#activities.front(this.#sessionId) === undefined) {
      this.#rest();
      return;
    }
    this.#stopTicking ??= this.#clock.every(TICK_MS, () => this.#tick());
    this.#tick();
  }

  #rest(): void {
    this.#endTicks();
    this.#hideWidget();
    if (this.#isOurs && this.#shown !== undefined) this.#quietly(() => this.#ui.setWorkingMessage(""));
    this.#shown = undefined;
  }

  #endTicks(): void {
    this.#stopTicking?.();
    this.#stopTicking = undefined;
  }

  #tick(): void {
    const front = this.#activities.front(this.#sessionId);
    if (front === undefined || this.#clock.now() - this.#shownAt < LEAST_MS) return;
    const { turn, others } = front;
    const activity = turn.look();
    if (HELD_UP.has(activity.kind)) this.#settings.onHeldUp();
    const line = this.#quotedLine(turn, turnLine(activity, turn.subject.name, others));
    const isWidget = !this.#isAgentRunning || this.#isCompacting || !this.#isOurs;
    if (line === this.#shown && isWidget === this.#isWidgetShown) return;
    this.#shown = line;
    this.#shownAt = this.#clock.now();
    if (isWidget) {
      this.#isWidgetShown = true;
      this.#quietly(() => this.#ui.setWidget(KEY, [this.#coloured(line)]));
    } else {
      this.#hideWidget();
      this.#quietly(() => this.#ui.setWorkingMessage(this.#coloured(line)));
    }
  }

  /** pi's own colour for this line is that of its editor's border, which is hard to read. */
  #coloured(line: string): string {
    return this.#ui.theme.fg("muted", line);
  }

  #quotedLine(turn: TurnActivity, line: string): string {
    const { mode, quotes } = this.#settings;
    if (mode !== "quotes") return line;
    if (this.#quoted?.turn !== turn) {
      const quote = quotes[Math.floor(Math.random() * quotes.length)] ?? "";
      this.#quoted = { turn, quote, since: this.#clock.now() };
    }
    const { quote, since } = this.#quoted;
    return `⚙ ${quote} · ${duration(this.#clock.now() - since)} · ${line}`;
  }

  #hideWidget(): void {
    if (!this.#isWidgetShown) return;
    this.#isWidgetShown = false;
    this.#quietly(() => this.#ui.setWidget(KEY, undefined));
  }

  /** A context whose session has ended throws, which must not end pi. */
  #quietly(act: () => void): void {
    try {
      act();
    } catch {
      this.#endTicks();
    }
  }
}
