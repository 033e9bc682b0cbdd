/** A line that is typed unseen: pi's own input shows what is typed. */
import {
  type Component,
  type Focusable,
  Input,
  visibleWidth,
  wrapTextWithAnsi,
} from "@earendil-works/pi-tui";
import { cleanLine } from "../lib/text.ts";
import { fitted, flow, keyHint, keyNames, type ViewParts } from "./layout.ts";
import type { Screen } from "./output.ts";
import { inWholeTerminal } from "./whole-terminal.ts";

export interface SecretPrompt {
  title: string;
  /** What was wrong with the last one, as a sentence; may be empty. */
  fault: string;
}

interface SecretParts extends ViewParts {
  prompt: SecretPrompt;
  answer: (text: string | undefined) => void;
}

/** Shows a bullet for each character. */
class SecretView implements Component, Focusable {
  focused = false;
  readonly #parts: SecretParts;
  readonly #input = new Input();

  constructor(parts: SecretParts) {
    this.#parts = parts;
  }

  invalidate(): void {
    this.#input.invalidate();
  }

  render(width: number): string[] {
    const { prompt, theme, keys, tui } = this.#parts;
    const typed = "•".repeat(visibleWidth(this.#input.getValue()));
    const hints = [
      ...keyHint(keyNames(keys, "tui.select.confirm"), "continue"),
      ...keyHint(keyNames(keys, "tui.select.cancel"), "cancel"),
    ];
    const lines = [
      ...wrapTextWithAnsi(cleanLine(prompt.title), width).map((line) => theme.fg("accent", theme.bold(line))),
      ...(prompt.fault === "" ? [] : wrapTextWithAnsi(cleanLine(prompt.fault), width)).map((line) =>
        theme.fg("warning", line),
      ),
      "",
      fitted(`> ${typed}▏`, width),
      "",
      ...flow(hints, width).map((line) => theme.fg("dim", line)),
    ];
    while (lines.length < tui.terminal.rows) lines.push("");
    return lines.slice(0, tui.terminal.rows);
  }

  handleInput(data: string): void {
    const { keys, answer, tui } = this.#parts;
    if (keys.matches(data, "tui.select.cancel")) answer(undefined);
    else if (keys.matches(data, "tui.select.confirm")) answer(this.#input.getValue() || undefined);
    else {
      this.#input.handleInput(data);
      tui.requestRender();
    }
  }
}

/**
 * Asks for a secret: in the terminal unseen, an RPC client by its own input.
 *
 * @returns undefined where the user gives none
 */
export async function askSecret(
  screen: Screen,
  prompt: SecretPrompt,
  ended: AbortSignal,
): Promise<string | undefined> {
  if (ended.aborted) return undefined;
  const title = [cleanLine(prompt.fault), cleanLine(prompt.title)].filter(Boolean).join(" ");
  if (screen.mode !== "tui") return (await screen.ui.input(title, undefined, { signal: ended })) || undefined;
  return inWholeTerminal<string>(
    screen,
    ended,
    (terminal, answer) => new SecretView({ ...terminal, prompt, answer }),
    prompt.title,
  );
}
