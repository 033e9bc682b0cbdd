/**
 * The results of commands that the terminal shows. They live here and not in the session, whose file and `/share` then
 * carry no ids, paths or logs: its entries hold keys alone.
 */
import { randomUUID } from "node:crypto";
import type { Component } from "@earendil-works/pi-tui";
import { record, text } from "../lib/json.ts";
import type { Colours } from "./layout.ts";
import type { Result } from "./result.ts";
import { ResultView } from "./result-view.ts";

/** When so many are kept, the older half is forgotten: each time pi draws its whole screen again. */
const MOST_RESULTS = 200;

export class Results {
  readonly #kept = new Map<string, Result>();

  /** @returns the data of the result's entry */
  keep(result: Result): { key: string } {
    if (this.#kept.size >= MOST_RESULTS)
      for (const key of [...this.#kept.keys()].slice(0, MOST_RESULTS / 2)) this.#kept.delete(key);
    // Another pi may have written the entries of a session that is resumed.
    const key = randomUUID();
    this.#kept.set(key, result);
    return { key };
  }

  /**
   * The component of an entry, which draws nothing once its result is forgotten.
   *
   * @returns undefined for an entry of an earlier start
   */
  view(data: unknown, theme: Colours): Component | undefined {
    const key = text(record(data)?.key) ?? "";
    return this.#kept.has(key) ? new ResultView(() => this.#kept.get(key), theme) : undefined;
  }
}
