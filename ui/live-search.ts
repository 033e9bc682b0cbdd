/** A search while its words are typed: asks when they rest, and drops answers that come too late. */
import type { Clock } from "../lib/clock.ts";
import { sentenceOf } from "../lib/errors.ts";

export type Search<T> = (words: string, signal: AbortSignal) => Promise<readonly T[]>;

/** What a search shows. */
export type SearchState = "waiting" | "searching" | "found" | { readonly problem: string };

/** How long the words must rest: a search is a request, and rates are limited. */
const REST_MS = 350;
const LEAST_CHARACTERS = 2;

export class LiveSearch<T> {
  readonly #search: Search<T>;
  readonly #clock: Pick<Clock, "sleep">;
  readonly #onChange: () => void;
  /** Of this search alone: it is short, and what it shows may not change under the user. */
  readonly #answers = new Map<string, readonly T[]>();
  readonly #closed = new AbortController();
  #asking = new AbortController();
  #found: readonly T[] = [];
  #state: SearchState = "waiting";

  /** @param onChange called when an answer or a fault has come */
  constructor(search: Search<T>, clock: Pick<Clock, "sleep">, onChange: () => void) {
    this.#search = search;
    this.#clock = clock;
    this.#onChange = onChange;
  }

  /** What the last answer had: while the next one is awaited, that of earlier words. */
  get found(): readonly T[] {
    return this.#found;
  }

  get state(): SearchState {
    return this.#state;
  }

  /** Takes the words as they are now. */
  type(text: string): void {
    this.#asking.abort();
    const words = text.trim();
    const known = this.#answers.get(words.toLowerCase());
    if (words.length < LEAST_CHARACTERS) this.#become([], "waiting");
    else if (known !== undefined) this.#become(known, "found");
    else void this.#ask(words);
  }

  /** Ends what is under way. */
  close(): void {
    this.#closed.abort();
    this.#asking.abort();
  }

  #become(found: readonly T[], state: SearchState): void {
    this.#found = found;
    this.#state = state;
  }

  async #ask(words: string): Promise<void> {
    if (this.#closed.signal.aborted) return;
    const asking = new AbortController();
    this.#asking = asking;
    this.#state = "searching";
    try {
      await this.#clock.sleep(REST_MS, asking.signal);
      const found = await this.#search(words, asking.signal);
      if (asking.signal.aborted) return;
      this.#answers.set(words.toLowerCase(), found);
      this.#become(found, "found");
    } catch (error) {
      if (asking.signal.aborted) return;
      this.#become([], { problem: sentenceOf(error) });
    }
    this.#onChange();
  }
}
