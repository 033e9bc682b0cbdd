import fs from "node:fs";
import { syncBuiltinESMExports } from "node:module";
import type { ExtensionCommandContext } from "@earendil-works/pi-coding-agent";
import { KeybindingsManager, TUI_KEYBINDINGS } from "@earendil-works/pi-tui";
import { onTestFinished } from "vitest";
import { type Level, plainLines, type Result } from "../../ui/result.ts";
import { type Asked, answer, type Question, readQuestion, type Screen } from "./question-screen.ts";

export type Mode = "tui" | "rpc" | "print" | "json";

const ESCAPE = "\u001b";
const coloured = (_colour: string, text: string): string => text;
const styled = (text: string): string => text;
const THEME = {
  fg: coloured,
  bg: coloured,
  bold: styled,
  italic: styled,
  underline: styled,
  inverse: styled,
};

export interface JsonAnswer {
  readonly type: string;
  readonly command: string;
  readonly ok: boolean;
  readonly level: Level;
  readonly lines: readonly string[];
  readonly [data: string]: unknown;
}

function linesOf(answers: readonly JsonAnswer[]): string {
  return answers.flatMap(({ lines }) => lines.map((line) => `${line}\n`)).join("");
}

/** A user of commands, with everything that was shown to him. */
export class User {
  readonly mode: Mode;
  readonly notices: { level: Level; text: string }[] = [];
  readonly questions: Question[] = [];
  /** What each of the questions offered. */
  readonly acts: (readonly string[])[] = [];
  readonly choices: { title: string; offered: readonly string[] }[] = [];
  /** What an RPC client shows beside the input; undefined when it goes. */
  readonly statuses: (string | undefined)[] = [];
  stdout = "";
  stderr = "";
  /** Whether he says yes. */
  confirms: (question: Question) => boolean | Promise<boolean> = () => {
    throw new Error("No question was expected");
  };
  /** What he takes from a list. */
  selects: (offered: readonly string[]) => string | undefined = () => undefined;
  /** What he types into a line. */
  types: (title: string) => string | undefined = () => {
    throw new Error("No line was expected");
  };
  /** What he does at a screen of ours. */
  sees: (screen: Screen) => void = () => {};
  #screen: Screen | undefined;
  readonly #looks = new Set<() => void>();

  constructor(mode: Mode) {
    this.mode = mode;
  }

  /** The texts of the notices. */
  get told(): string[] {
    return this.notices.map(({ text }) => text);
  }

  /** The last words on standard error; lines about waiting come only on a slow machine. */
  get errors(): string {
    return this.stderr.replace(/^.*…\n/gm, "");
  }

  /** The objects on standard output in JSON mode, one for each command. */
  get objects(): JsonAnswer[] {
    return this.stdout
      .split("\n")
      .filter((line) => line !== "")
      .map((line) => JSON.parse(line) as JsonAnswer);
  }

  /** What commands without a screen answered: on standard output, in JSON mode in objects that are ok. */
  get answered(): string {
    return this.mode === "json" ? linesOf(this.objects.filter(({ ok }) => ok)) : this.stdout;
  }

  /** The errors of commands without a screen: on standard error, in JSON mode in objects that are not ok. */
  get failed(): string {
    return this.mode === "json" ? linesOf(this.objects.filter(({ ok }) => !ok)) + this.errors : this.errors;
  }

  /** Everything that was shown in any way. */
  get everything(): string {
    const { notices, questions, acts, choices, statuses, stdout, stderr } = this;
    return JSON.stringify({ notices, questions, acts, choices, statuses, stdout, stderr });
  }

  /** Presses Escape at the screen that is open. */
  escape(): void {
    if (this.#screen === undefined) throw new Error("No screen is open");
    this.#screen.handleInput(ESCAPE);
  }

  /** What the open screen shows; empty while there is none. */
  get screen(): string {
    return this.#screen?.render(100).join("\n") ?? "";
  }

  /** Resolves as soon as a screen of ours shows this text. */
  shows(text: string): Promise<void> {
    return new Promise((resolve) => {
      const look = (): void => {
        if (!this.screen.includes(text)) return;
        this.#looks.delete(look);
        resolve();
      };
      this.#looks.add(look);
      look();
    });
  }

  /** As much of pi's own `ctx.ui` as the commands use. */
  readonly ui = {
    theme: THEME,
    notify: (text: string, level: Level = "info") => this.notices.push({ level, text }),
    setStatus: (_key: string, text: string | undefined) => this.statuses.push(text),
    select: async (asked: string, offered: string[]) => {
      const [title = "", ...lines] = asked.split("\n");
      return this.#answers({ title, text: lines.join("\n"), offered });
    },
    input: async (title: string) => this.types(title),
    custom: (make: (...parts: unknown[]) => Screen) =>
      new Promise((resolve, reject) => {
        const done = (result: unknown): void => {
          this.#screen = undefined;
          resolve(result);
        };
        const tui = { requestRender: () => this.#drawn(), terminal: { rows: 24, columns: 80 } };
        const screen = make(tui, this.ui.theme, new KeybindingsManager(TUI_KEYBINDINGS), done);
        this.#screen = screen;
        this.#drawn();
        const asked = readQuestion(screen, tui.terminal);
        if (asked === undefined) this.sees(screen);
        else this.#answers(asked).then((chosen) => answer(screen, asked, chosen), reject);
      }),
  };

  #drawn(): void {
    for (const look of [...this.#looks]) look();
  }

  async #answers({ title, text, offered }: Asked): Promise<string | undefined> {
    if (title.startsWith("Which ")) {
      this.choices.push({ title, offered });
      return this.selects(offered);
    }
    this.questions.push({ title, text });
    this.acts.push(offered);
    return (await this.confirms({ title, text })) ? offered[1] : offered[0];
  }

  /** Keeps what is written to standard output and error, until the test ends; the exit status is then as before. */
  readsOutput(): this {
    const { exitCode } = process;
    onTestFinished(() => {
      process.exitCode = exitCode;
    });
    const { writeSync } = fs;
    const write = (descriptor: number, data: string | Uint8Array, ...rest: unknown[]): number => {
      if (descriptor !== 1 && descriptor !== 2)
        return Reflect.apply(writeSync, fs, [descriptor, data, ...rest]);
      const from = typeof data === "string" || typeof rest[0] !== "number" ? 0 : rest[0];
      const bytes = Buffer.from(data).subarray(from);
      if (descriptor === 1) this.stdout += bytes.toString("utf8");
      else this.stderr += bytes.toString("utf8");
      return bytes.length;
    };
    const put = (value: unknown): void => {
      Object.assign(fs, { writeSync: value });
      syncBuiltinESMExports();
    };
    put(write);
    onTestFinished(() => put(writeSync));
    // What vitest itself has yet to write there is nothing to wait for.
    Object.defineProperty(process.stdout, "writableLength", { value: 0, configurable: true });
    onTestFinished(() => {
      Reflect.deleteProperty(process.stdout, "writableLength");
    });
    return this;
  }
}

/** Keeps the results that pi's terminal would show with the user's notices, without their colours. */
export function keptBy({ ui }: Pick<ExtensionCommandContext, "ui">): (result: Result) => void {
  return (result) => ui.notify(plainLines(result, 78).join("\n"), result.level);
}

/** A user who answers every question in the same way. */
export function saying(answer: boolean, mode: Mode = "rpc"): User {
  const user = new User(mode);
  user.confirms = () => answer;
  return user;
}

/** A user who says yes, and chooses the items that begin with these words. */
export function choosing(...wanted: readonly string[]): User {
  const user = saying(true);
  user.selects = (offered) => offered.find((line) => wanted.some((words) => line.startsWith(words)));
  return user;
}
