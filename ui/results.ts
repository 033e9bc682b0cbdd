/**
 * The results of commands that the terminal shows. They live here and not in the session, whose file and `/share` then
 * carry no ids, paths or logs: its entries hold keys alone.
 */
import { randomUUID } from "node:crypto";
import type { Theme } from "@earendil-works/pi-coding-agent";
import type { Component } from "@earendil-works/pi-tui";
import { record, text } from "../lib/json.ts";

/** The type of the session's entries. */
export const RESULT_ENTRY = "ai-server-result";

/** When so many are kept, the older half is forgotten: each time pi draws its whole screen again. */
const MOST_RESULTS = 200;

type Draw = (theme: Theme) => Component;

export class Results {
  readonly #kept = new Map<string, Draw>();

  /** @returns the data of the result's entry */
  keep(draw: Draw): { key: string } {
    if (this.#kept.size >= MOST_RESULTS)
      for (const key of [...this.#kept.keys()].slice(0, MOST_RESULTS / 2)) this.#kept.delete(key);
    // Another pi may have written the entries of a session that is resumed.
    const key = randomUUID();
    this.#kept.set(key, draw);
    return { key };
  }

  /**
   * The component of an entry, which draws nothing once its result is forgotten.
   *
   * @returns undefined for an entry of an earlier start
   */
  view(data: unknown, theme: Theme): Component | undefined {
    const key = text(record(data)?.key) ?? "";
    const draw = this.#kept.get(key);
    if (draw === undefined) return undefined;
    const kept = this.#kept;
    let drawn: Component | undefined = draw(theme);
    return {
      render(width) {
        if (!kept.has(key)) drawn = undefined;
        return drawn?.render(width) ?? [];
      },
      invalidate: () => drawn?.invalidate(),
    };
  }
}
