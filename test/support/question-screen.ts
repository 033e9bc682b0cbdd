import { QuestionView } from "../../ui/question.ts";
import type { Question, Screen } from "./command-user.ts";
import { plainLine } from "./plain-line.ts";

const DOWN = "\u001b[B";
const ENTER = "\r";
const ESCAPE = "\u001b";

/** Large enough that no line of a question in the tests is wrapped or hidden. */
const COLUMNS = 2000;
const ROWS = 500;

/** A question on the screen, with its choices. */
export interface Asked extends Question {
  offered: string[];
}

/** @param terminal the one that the screen asks for its size @returns undefined for another screen than a question */
export function readQuestion(screen: Screen, terminal: { rows: number }): Asked | undefined {
  if (!(screen instanceof QuestionView)) return undefined;
  const { rows } = terminal;
  terminal.rows = ROWS;
  const lines = screen.render(COLUMNS).map(plainLine);
  terminal.rows = rows;
  const end = lines.findLastIndex((line) => line !== "");
  const [title = "", ...text] = lines.slice(0, lines.lastIndexOf("", end - 2)).filter((line) => line !== "");
  const offered = lines.slice(lines.lastIndexOf("", end - 2) + 1, end - 1).map((line) => line.slice(2));
  return { title, text: text.join("\n"), offered };
}

/** Chooses with the keys, as a user does; presses Escape without a choice. */
export function answer(screen: Screen, { offered }: Asked, chosen: string | undefined): void {
  const at = chosen === undefined ? 0 : offered.indexOf(chosen);
  if (at < 0) throw new Error(`Offered is ${offered.join(" or ")}, not ${chosen}`);
  for (let down = 0; down < at; down += 1) screen.handleInput(DOWN);
  screen.handleInput(chosen === undefined ? ESCAPE : ENTER);
}
