/** Characters of the stream's end that are kept, for errors which the server writes there without `data:`. */
const TAIL_CHARACTERS = 32 * 1024;

/** The end of a stream as it came, for what is no SSE in it. */
export class StreamTail {
  readonly #pieces: string[] = [];
  #length = 0;
  /** Whether it has lost its beginning. */
  #isCut = false;

  add(piece: string): void {
    this.#pieces.push(piece);
    this.#length += piece.length;
    while (this.#length > TAIL_CHARACTERS && this.#pieces.length > 1) {
      this.#length -= this.#pieces.shift()?.length ?? 0;
      this.#isCut = true;
    }
  }

  /** Lines that are no SSE: llama-swap and llama.cpp's router write errors so. Empty where there are none. */
  bareText(): string {
    const lines = this.#pieces.join("").split(/\r\n|\n|\r/);
    // The rest of a line is not a line of its own.
    if (this.#isCut) lines.shift();
    return lines
      .filter(
        (line) =>
          line.trim() !== "" &&
          !/^\uFEFF?(data|event|id|retry)?:/.test(line) &&
          !/^(d|da|dat|data)$/.test(line),
      )
      .join("\n")
      .trim();
  }
}
