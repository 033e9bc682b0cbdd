import { DynamicBorder, keyHint, type Theme } from "@earendil-works/pi-coding-agent";
import {
  CancellableLoader,
  Container,
  type KeybindingsManager,
  Spacer,
  Text,
  type TUI,
} from "@earendil-works/pi-tui";
import { duration } from "../lib/figures.ts";
import { notify, type Screen } from "./output.ts";

/** When a wait is shown, and how its time goes on. */
export interface Pace {
  /** A wait is shown only if it lasts, so that quick answers do not flicker. */
  shownAfterMs: number;
  tickMs: number;
  now(): number;
}
const PACE: Pace = { shownAfterMs: 500, tickMs: 1000, now: () => performance.now() };

/** From then on the elapsed time is shown. */
const TIMED_FROM_MS = 1000;
/** The key under which an RPC client gets the status. */
const STATUS_KEY = "ai-server";

/** What a slow command may do with the screen. */
export interface Waiting {
  /** Aborts when the user presses Escape, and when the session ends. */
  readonly signal: AbortSignal;
  /**
   * Shows what is being waited for, with the elapsed time.
   *
   * @param expectedMs about how long it takes, if known
   * @param elapsedMs how long it has lasted, if it began earlier
   */
  say(text: string, expectedMs?: number, elapsedMs?: number): void;
  /** Shows a dialog or a view in the place of the waiting screen. */
  ask<T>(dialog: () => Promise<T>): Promise<T>;
}

/** What is being waited for, since when, and about how long it takes, in milliseconds. */
export interface Said {
  readonly text: string;
  readonly since: number;
  readonly expectedMs: number | undefined;
}

/** The time goes on under the same words, unless `elapsedMs` says when it began: a load may begin again. */
export function saidNow(
  before: Said | undefined,
  {
    text,
    expectedMs,
    elapsedMs,
  }: { text: string; expectedMs?: number | undefined; elapsedMs?: number | undefined },
  now: number,
): Said {
  const goesOn = text === before?.text && elapsedMs === undefined;
  return { text, expectedMs, since: goesOn ? before.since : now - (elapsedMs ?? 0) };
}

class Wait implements Waiting {
  readonly #screen: Screen;
  readonly #pace: Pace;
  readonly #cancelled = new AbortController();
  readonly #left = Promise.withResolvers<undefined>();
  /** Removes the listeners from the session, which has many waits. */
  readonly #over = new AbortController();
  readonly signal: AbortSignal;
  #said: Said;
  #timer: NodeJS.Timeout | undefined;
  #isShown = false;
  #isOver = false;
  #loader: CancellableLoader | undefined;
  #close: (() => void) | undefined;

  constructor(screen: Screen, ended: AbortSignal, pace: Pace) {
    this.#screen = screen;
    this.#pace = pace;
    this.#said = saidNow(undefined, { text: "Asking the server" }, pace.now());
    this.signal = AbortSignal.any([this.#cancelled.signal, ended]);
    const { signal } = this.#over;
    this.signal.addEventListener("abort", () => this.#refresh(), { once: true, signal });
    ended.addEventListener("abort", () => this.#leave(), { once: true, signal });
    this.#wait();
  }

  /** Resolves when the user stops waiting: at the second Escape, or when the session ends. */
  get left(): Promise<undefined> {
    return this.#left.promise;
  }

  say(text: string, expectedMs?: number, elapsedMs?: number): void {
    const isNew = text !== this.#said.text;
    this.#said = saidNow(this.#said, { text, expectedMs, elapsedMs }, this.#pace.now());
    if (this.#isShown && (isNew || this.#screen.mode === "tui")) this.#refresh();
  }

  async ask<T>(dialog: () => Promise<T>): Promise<T> {
    this.#hide();
    try {
      return await dialog();
    } finally {
      if (!this.#isOver) this.#wait();
    }
  }

  end(): void {
    this.#isOver = true;
    this.#over.abort();
    this.#hide();
  }

  #wait(): void {
    this.#timer = setTimeout(() => this.#show(), this.#pace.shownAfterMs);
  }

  #show(): void {
    this.#isShown = true;
    if (this.#screen.mode === "tui") this.#open();
    this.#refresh();
    if (this.#screen.mode === "tui") this.#timer = setInterval(() => this.#refresh(), this.#pace.tickMs);
  }

  #hide(): void {
    clearTimeout(this.#timer);
    if (!this.#isShown) return;
    this.#isShown = false;
    this.#close?.();
    if (this.#screen.mode === "rpc") this.#quietly(() => this.#screen.ui.setStatus(STATUS_KEY, undefined));
  }

  #open(): void {
    const opened = this.#screen.ui.custom<void>((tui, theme, keybindings, done) => {
      this.#close = () => {
        this.#loader = undefined;
        this.#close = undefined;
        done();
      };
      return this.#component(tui, theme, keybindings);
    });
    // A session that ends closes its screens.
    opened.catch(() => this.#leave());
  }

  #component(
    tui: TUI,
    theme: Theme,
    keybindings: Pick<KeybindingsManager, "matches">,
  ): Container & { dispose(): void; handleInput(data: string): void } {
    const border = (): DynamicBorder => new DynamicBorder((text) => theme.fg("border", text));
    const loader = new CancellableLoader(
      tui,
      (text) => theme.fg("accent", text),
      (text) => theme.fg("muted", text),
      this.#message(),
    );
    this.#loader = loader;
    const screen = new Container();
    for (const child of [
      border(),
      loader,
      new Spacer(1),
      new Text(keyHint("tui.select.cancel", "cancel"), 1, 0),
      new Spacer(1),
      border(),
    ])
      screen.addChild(child);
    return Object.assign(screen, {
      dispose: () => loader.dispose(),
      handleInput: (data: string) => {
        if (keybindings.matches(data, "tui.select.cancel")) this.#escape();
      },
    });
  }

  /** The first Escape stops the work, which may have to be undone; the second one stops waiting for it. */
  #escape(): void {
    if (this.#cancelled.signal.aborted) this.#leave();
    else this.#cancelled.abort(new Error("Cancelled"));
  }

  #leave(): void {
    this.#isOver = true;
    this.#hide();
    this.#left.resolve(undefined);
  }

  #message(): string {
    const { text, since, expectedMs } = this.#said;
    const elapsed = this.#pace.now() - since;
    const expected = expectedMs === undefined ? "" : ` of about ${duration(expectedMs)}`;
    const time = elapsed < TIMED_FROM_MS && expected === "" ? "…" : ` · ${duration(elapsed)}${expected}`;
    const stopping = this.signal.aborted
      ? "\nStopping. Press Escape again to leave; a notice will say how it ended."
      : "";
    return `${text}${time}${stopping}`;
  }

  #refresh(): void {
    if (!this.#isShown) return;
    if (this.#screen.mode === "tui") this.#loader?.setMessage(this.#message());
    else if (this.#screen.mode === "rpc")
      this.#quietly(() => this.#screen.ui.setStatus(STATUS_KEY, `${this.#said.text}…`));
    else notify(this.#screen, `${this.#said.text}…`, "info");
  }

  #quietly(act: () => void): void {
    try {
      act();
    } catch {
      // The session has ended.
    }
  }
}

/**
 * Runs work that may take long. In the terminal a screen with focus shows the wait and takes Escape, since pi's own
 * input does not work while a command runs; an RPC client gets a status, print and JSON mode a line on standard error
 * for each new text.
 *
 * @param ended the session's end
 * @returns the result of `work`; undefined if the user stopped waiting: the work then ends in the background
 * @throws what `work` throws
 */
export async function whileWaiting<T>(
  screen: Screen,
  ended: AbortSignal,
  work: (waiting: Waiting) => Promise<T>,
  pace: Pace = PACE,
): Promise<T | undefined> {
  const wait = new Wait(screen, ended, pace);
  const result = work(wait).finally(() => wait.end());
  return Promise.race([result, wait.left]);
}
