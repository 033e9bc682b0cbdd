import type { Json, UiHandler } from "./rpc.ts";

/** A client's side of the dialogs: answers from a list, and keeps what was asked. */
export class Dialogs {
  readonly asked: Json[] = [];
  #answers: UiHandler[] = [];

  /** How the next dialogs are answered, in their order; one that was not expected is cancelled. */
  expect(...answers: UiHandler[]): void {
    this.asked.length = 0;
    this.#answers = answers;
  }

  readonly answer: UiHandler = (request) => {
    this.asked.push(request);
    return this.#answers.shift()?.(request);
  };

  /** The title and the text of a question that was asked. */
  question(index = 0): string {
    return String(this.asked[index]?.title);
  }
}

/** The place of a choice: what changes nothing is the first. */
const choosing =
  (place: 0 | 1): UiHandler =>
  ({ options }) =>
    Array.isArray(options) ? { value: options[place] } : { cancelled: true };

export const yes: UiHandler = choosing(1);
export const no: UiHandler = choosing(0);

/** What the client was told by commands, in order. */
export function noticesIn(seen: readonly Json[]): string[] {
  return seen
    .filter((event) => event.type === "extension_ui_request" && event.method === "notify")
    .map((event) => String(event.message));
}

/** What the extension's status line said, in order; undefined where it was cleared. */
export function statusesIn(seen: readonly Json[]): (string | undefined)[] {
  return seen
    .filter((event) => event.type === "extension_ui_request" && event.method === "setStatus")
    .map((event) => (typeof event.statusText === "string" ? event.statusText : undefined));
}
