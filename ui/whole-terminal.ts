import type { Theme } from "@earendil-works/pi-coding-agent";
import type { Component, KeybindingsManager, TUI } from "@earendil-works/pi-tui";
import type { Screen } from "./output.ts";

/** The whole terminal: only an overlay gets the keys for paging in pi's fullscreen mode. */
export const WHOLE_TERMINAL = {
  overlay: true,
  overlayOptions: { width: "100%", maxHeight: "100%", anchor: "top-left" },
} as const;

/** What pi gives to a component. */
export interface Terminal {
  tui: TUI;
  theme: Theme;
  keys: KeybindingsManager;
}

/**
 * Shows a component in the whole terminal until it answers, or the session ends.
 *
 * @param make gives the component; its signal aborts when the component is no longer shown
 * @param question what pi waits for, where that is an answer
 * @returns undefined where the session ends
 */
export async function inWholeTerminal<T>(
  { ui }: Pick<Screen, "ui">,
  ended: AbortSignal,
  make: (terminal: Terminal, answer: (value: T | undefined) => void, closed: AbortSignal) => Component,
  question?: string,
): Promise<T | undefined> {
  if (ended.aborted) return undefined;
  const closed = new AbortController();
  const blocked = question === undefined ? {} : { blocked: { kind: "question", message: question } as const };
  try {
    return await ui.custom<T | undefined>(
      (tui, theme, keys, done) => {
        ended.addEventListener("abort", () => done(undefined), { once: true, signal: closed.signal });
        return make({ tui, theme, keys }, done, closed.signal);
      },
      { ...WHOLE_TERMINAL, ...blocked },
    );
  } catch (error) {
    // A session that ends closes its screens.
    if (ended.aborted) return undefined;
    throw error;
  } finally {
    closed.abort();
  }
}
