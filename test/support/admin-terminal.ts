import { readFileSync } from "node:fs";
import { expect } from "vitest";
import { processesWith, type Terminal } from "./terminal.ts";

/** A screen's words in their order, wherever its lines were broken. A word that was cut in two is not found in it. */
export function wordsOf(screen: string): string {
  return screen.replace(/\s+/g, " ");
}

/** pi waits for input, and none was given. */
export const EMPTY_EDITOR = /^─{20,}\n\n─{20,}$/m;

/** Empties pi's editor, and leaves what a failed test has left open. */
export async function clearEditor(terminal: Terminal): Promise<void> {
  const screen = await terminal.screen();
  // In an empty one Escape, pressed twice, has a meaning of its own.
  if (EMPTY_EDITOR.test(screen)) return;
  await terminal.press(/^─{20,}$/m.test(screen) ? "C-u" : "Escape");
  await terminal.waitFor(EMPTY_EDITOR, 5_000);
}

/** Submits a line as soon as pi takes input again: what is typed into a screen that is closing is lost. */
export async function enter(terminal: Terminal, line: string): Promise<void> {
  await terminal.waitFor(EMPTY_EDITOR);
  await terminal.submit(line);
}

/** Answers the question on the screen by its choices' words. */
export async function choose(terminal: Terminal, words: string): Promise<void> {
  await terminal.waitFor(new RegExp(`^[→ ] ${words}$`, "m"));
  // One key after the other, each seen: a key that comes before the question is none of its own.
  for (;;) {
    const screen = await terminal.waitFor(/^→ (.+)$/m);
    const marked = /^→ (.+)$/m.exec(screen)?.[1];
    if (marked === words) break;
    await terminal.press("Down");
    await terminal.waitUntil("another choice is marked", (now) => /^→ (.+)$/m.exec(now)?.[1] !== marked);
  }
  await terminal.press("Enter");
}

/** pi takes input, and a turn works. */
export async function expectTurn(terminal: Terminal, word: string): Promise<void> {
  await enter(terminal, `sim: say ${word}.`);
  const screen = await terminal.waitFor(new RegExp(`^ *${word}\\.`, "m"));
  expect(screen).not.toMatch(/^ +at .*:\d+:\d+|Extension .*error|\bundefined\b|\[object /m);
}

/** The process of pi itself in a workplace; it changes its own command line. */
export function piProcess(agentDir: string): number {
  const ids = processesWith(agentDir);
  const parentOf = (id: number): number =>
    Number(/^PPid:\t(\d+)$/m.exec(readFileSync(`/proc/${id}/status`, "utf8"))?.[1]);
  const id = ids.find((one) => !ids.includes(parentOf(one)));
  if (id === undefined) throw new Error("pi does not run");
  return id;
}
