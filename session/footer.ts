/** The server in pi's footer while nothing runs: one short status. */

import type { ExtensionContext } from "@earendil-works/pi-coding-agent";
import type { Ticker } from "../lib/clock.ts";
import { shortTokens } from "../lib/figures.ts";
import type { RunningModel } from "../server/models/models.ts";

/** Between two looks of an idle session. */
const INTERVAL_MS = 30_000;

const KEY = "ai-server";

/** The context that a running model itself has reported. */
export type WindowOf = (id: string) => number | undefined;

/**
 * `Qwen3.6-35B ready · 128k`; of several loaded models pi's own first.
 *
 * @param doing what the server does for pi's own model before a turn comes
 */
export function footerLine(
  running: readonly RunningModel[] | undefined,
  own: string | undefined,
  windowOf: WindowOf,
  doing?: string,
): string | undefined {
  if (own !== undefined && doing !== undefined) return `${own} ${doing}`;
  if (running === undefined) return undefined;
  const [first, ...others] = [...running].sort((a, b) => Number(b.id === own) - Number(a.id === own));
  if (first === undefined) return "no model loaded";
  const window = windowOf(first.id);
  const words = [`${first.id} ${first.state}`];
  if (first.state === "ready" && window !== undefined) words.push(shortTokens(window));
  if (others.length > 0) words.push(`and ${others.length} more`);
  return words.join(" · ");
}

export interface FooterParts {
  ui: Pick<ExtensionContext["ui"], "setStatus" | "theme">;
  /** The running models; undefined where the server does not report them. */
  running(): Promise<readonly RunningModel[] | undefined>;
  onLook(ready: readonly string[]): void;
  /** Called when other models are ready than at the last look, or with other command lines. */
  onReadyChanged(): void;
  windowOf: WindowOf;
  clock: Ticker;
}

/** Looks every 30 s while pi's model is one of the server's. */
export class Footer {
  readonly #parts: FooterParts;
  #own: string | undefined;
  #stopLooking: (() => void) | undefined;
  #isClosed = false;
  #running: readonly RunningModel[] | undefined;
  #ready: string | undefined;
  #doing: string | undefined;

  constructor(parts: FooterParts) {
    this.#parts = parts;
  }

  /** @param own the id under which the server runs pi's model; undefined while another provider's is selected */
  select(own: string | undefined): void {
    this.#own = own;
    this.#stopLooking?.();
    if (own === undefined) this.#show(undefined);
    else void this.look();
  }

  /** Looks at once. Never rejects. */
  async look(): Promise<void> {
    this.#stopLooking?.();
    if (this.#isClosed || this.#own === undefined) return;
    const running = await this.#parts.running().catch(() => undefined);
    if (this.#isClosed || this.#own === undefined) return;
    this.#running = running;
    this.showAgain();
    const loaded = (running ?? []).filter(({ state }) => state === "ready");
    this.#parts.onLook(loaded.map(({ id }) => id));
    // Restarted with another command line, a model may have another window.
    const ready = loaded
      .map(({ id, commandLine }) => JSON.stringify([id, commandLine]))
      .toSorted()
      .join("\n");
    if (this.#ready !== undefined && ready !== this.#ready) this.#parts.onReadyChanged();
    this.#ready = ready;
    this.#stopLooking?.();
    this.#stopLooking = this.#parts.clock.every(INTERVAL_MS, () => void this.look());
  }

  /** @param doing what the server does before a turn comes; undefined: nothing any more */
  works(doing: string | undefined): void {
    this.#doing = doing;
    this.showAgain();
  }

  /** A turn begins: it loads its model, so a last look at a model that was not ready is out of date. */
  turnBegins(): void {
    if (this.#running?.some(({ id, state }) => id === this.#own && state === "ready")) return;
    this.forget();
  }

  /** The last look is out of date. */
  forget(): void {
    if (this.#isClosed || this.#own === undefined || this.#running === undefined) return;
    this.#running = undefined;
    this.#show(undefined);
  }

  /** Shows the last look again, with the contexts known by now. */
  showAgain(): void {
    if (this.#isClosed || this.#own === undefined) return;
    this.#show(footerLine(this.#running, this.#own, this.#parts.windowOf, this.#doing));
  }

  /** Idempotent. */
  close(): void {
    this.#isClosed = true;
    this.#stopLooking?.();
    this.#show(undefined);
  }

  #show(text: string | undefined): void {
    try {
      const { ui } = this.#parts;
      ui.setStatus(KEY, text && ui.theme.fg("dim", text));
    } catch {
      // The session has ended.
    }
  }
}
