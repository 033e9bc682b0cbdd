/** The turns of this pi, for the terminal and `/ai-server-last`. */
import type { TurnActivity, TurnFigures } from "./turn-activity.ts";

const KEPT_FIGURES = 20;

/** The running turns, and the figures of the last ones. */
export class Activities {
  readonly #running = new Set<TurnActivity>();
  readonly #ended: TurnFigures[] = [];
  readonly #answered = new Set<string>();
  readonly #loaded = new Set<string>();
  readonly #listeners = new Set<() => void>();
  #ready: readonly string[] = [];
  /** By a model's id, the models that were ready at the same time: an embedding model may stay beside every other. */
  readonly #beside = new Map<string, Set<string>>();

  /** Called when a turn begins or ends, or a command begins to change the server. @returns removes the listener */
  onChange(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  begin(turn: TurnActivity): void {
    this.#running.add(turn);
    this.notify();
  }

  /** @param figures undefined for a turn that failed */
  end(turn: TurnActivity, figures: TurnFigures | undefined): void {
    if (!this.#running.delete(turn)) return;
    if (turn.takeLoad()) this.#loaded.add(turn.subject.id);
    if (figures !== undefined) {
      this.#ended.push(figures);
      this.#answered.add(turn.subject.id);
      this.#ready = [];
    }
    if (this.#ended.length > KEPT_FIGURES) this.#ended.shift();
    this.notify();
  }

  /** The turn to show: the session's own, else the oldest; and how many others there are. */
  front(sessionId: string | undefined): { turn: TurnActivity; others: number } | undefined {
    const turns = [...this.#running];
    const turn =
      turns.find(({ subject }) => sessionId !== undefined && subject.sessionId === sessionId) ?? turns[0];
    return turn && { turn, others: turns.length - 1 };
  }

  /** Whether a model was loaded in a turn since the last call. */
  takeLoad(id: string): boolean {
    const turns = [...this.#running].filter(({ subject }) => subject.id === id);
    const loads = turns.map((turn) => turn.takeLoad());
    return this.#loaded.delete(id) || loads.includes(true);
  }

  /** Whether a model has answered since pi's start. */
  hasAnswered(id: string): boolean {
    return this.#answered.has(id);
  }

  /** @param ids of the models that are ready between turns */
  seeReady(ids: readonly string[]): void {
    this.#ready = ids;
    for (const id of ids) this.#beside.set(id, new Set([...this.beside(id), ...ids]));
  }

  /** The models that were ready at the same time as this one. */
  beside(id: string): ReadonlySet<string> {
    return this.#beside.get(id) ?? new Set();
  }

  /** A model that was seen ready since the last answer, where the one with this id was not. */
  seenInsteadOf(id: string): string | undefined {
    if (this.#ready.includes(id)) return undefined;
    return this.#ready.find((other) => !this.beside(id).has(other));
  }

  /** The figures of the last turns, the latest last. */
  get figures(): readonly TurnFigures[] {
    return this.#ended;
  }

  /** Calls the listeners. */
  notify(): void {
    for (const listener of [...this.#listeners]) {
      try {
        listener();
      } catch {
        // A failing display must not end a turn.
      }
    }
  }
}
