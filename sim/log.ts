const HISTORY_BYTES = 100 * 1024;

/** One of llama-swap's logs: the last 100 KiB, and its followers. */
export class Log {
  #history = "";
  readonly #followers = new Set<(text: string) => void>();
  readonly #parent: Log | undefined;

  /** @param parent a log that gets every line too, as the upstream log gets each model's */
  constructor(parent?: Log) {
    this.#parent = parent;
  }

  get history(): string {
    return this.#history;
  }

  /** Appends one line; the line break is added here. */
  line(text: string): void {
    const line = `${text}\n`;
    this.#history = (this.#history + line).slice(-HISTORY_BYTES);
    for (const follower of this.#followers) follower(line);
    this.#parent?.line(text);
  }

  /** Calls `follower` for every later line. @returns a function that ends it */
  follow(follower: (text: string) => void): () => void {
    this.#followers.add(follower);
    return () => this.#followers.delete(follower);
  }
}
