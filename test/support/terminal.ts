import { existsSync, readdirSync, readFileSync } from "node:fs";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { eventually, run, runOk } from "./processes.ts";

/** Milliseconds. Only ends what hangs: a busy machine may need many times as long as a quiet one. */
const HANGS_MS = 30_000;

export interface TerminalOptions {
  command: string;
  args: readonly string[];
  cwd: string;
  env: Readonly<Record<string, string>>;
  columns: number;
  rows?: number;
}

/** A program in a real terminal of a given size, inside a tmux server of its own. */
export class Terminal {
  private readonly socket: string;
  private readonly folder: string;
  private readonly exitFile: string;

  private constructor(folder: string) {
    this.folder = folder;
    this.socket = join(folder, "tmux");
    this.exitFile = join(folder, "exit-code");
  }

  static async start(options: TerminalOptions): Promise<Terminal> {
    const { command, args, cwd, env, columns, rows = 50 } = options;
    const terminal = new Terminal(await mkdtemp(join(tmpdir(), "tmux-test-")));
    // tmux hands its own environment to the program, so the program gets a whole one of its own.
    const variables = Object.entries({ ...env, TERM: "tmux-256color", COLORTERM: "truecolor" });
    const words = ["env", "-i", ...variables.map(([name, value]) => `${name}=${value}`), command, ...args];
    // The exit code goes to a file: tmux forgets it when the terminal is closed before the program is reaped.
    const line = `${words.map(shellQuote).join(" ")}; echo $? > ${shellQuote(terminal.exitFile)}`;
    // Kept open after the program's end, so that its last screen and its exit code can still be read.
    const session = ["new-session", "-d", "-x", `${columns}`, "-y", `${rows}`, "-c", cwd, line];
    await terminal.tmux("start-server", ";", "set-option", "-g", "remain-on-exit", "on", ";", ...session);
    return terminal;
  }

  /** The lines on the screen, without trailing spaces. */
  async screen(): Promise<string> {
    return (await this.tmux("capture-pane", "-p")).trimEnd();
  }

  /** The screen with its colours, as ANSI sequences. @param spaces whether those at a line's end are kept */
  async colors({ spaces = false } = {}): Promise<string> {
    return (await this.tmux("capture-pane", "-e", ...(spaces ? ["-N"] : []), "-p")).trimEnd();
  }

  /** The screen and all that scrolled off its top. */
  async history(): Promise<string> {
    return (await this.tmux("capture-pane", "-p", "-S", "-")).trimEnd();
  }

  /** Types text as it is. */
  async type(text: string): Promise<void> {
    await this.tmux("send-keys", "-l", "--", text);
  }

  /** Presses keys by tmux's names for them: Enter, Escape, C-c, Tab. */
  async press(...keys: string[]): Promise<void> {
    await this.tmux("send-keys", ...keys);
  }

  /** Gives the terminal another size, as when its window is dragged. */
  async resize(columns: number, rows: number): Promise<void> {
    await this.tmux("resize-window", "-x", `${columns}`, "-y", `${rows}`);
  }

  /** Pastes a line into pi's editor, so that pi offers no completion, and presses Enter once it is seen there. */
  async submit(line: string): Promise<void> {
    await this.tmux("set-buffer", "--", line, ";", "paste-buffer", "-p", "-d");
    await this.waitUntil(`the editor shows ${line}`, (screen) => editorOf(screen).includes(line));
    await this.press("Enter");
    await this.waitUntil(`the editor has given ${line} away`, (screen) => !editorOf(screen).includes(line));
  }

  /** Waits until the screen shows `wanted`, and gives that screen. */
  async waitFor(wanted: RegExp, ms = HANGS_MS): Promise<string> {
    return this.waitUntil(`the screen shows ${wanted}`, (screen) => wanted.test(screen), ms);
  }

  /** Waits until the screen shows `wanted`, or has shown it and scrolled it off. */
  async waitForPast(wanted: RegExp): Promise<void> {
    await eventually(
      `the screen has shown ${wanted}`,
      async () => wanted.test(await this.history()) || undefined,
      HANGS_MS,
    ).catch(async (error: Error) => {
      throw new Error(`${error.message}\nThe screen was:\n${await this.screen()}`);
    });
  }

  async waitUntil(what: string, wanted: (screen: string) => boolean, ms = HANGS_MS): Promise<string> {
    let last = "";
    try {
      return await eventually(
        what,
        async () => {
          last = await this.screen();
          return wanted(last) ? last : undefined;
        },
        ms,
      );
    } catch (error) {
      throw new Error(`${(error as Error).message}\nThe screen was:\n${last}`);
    }
  }

  /** The exit code once the program has ended; rejects when it has not after `ms`. */
  async exitCode(ms = HANGS_MS): Promise<number> {
    const status = async () => {
      const text = await readFile(this.exitFile, "utf8").catch(() => "");
      return text.endsWith("\n") ? Number(text) : undefined;
    };
    try {
      return await eventually("the program in the terminal ends", status, ms);
    } catch (error) {
      throw new Error(`${(error as Error).message}\nThe screen was:\n${await this.screen()}`);
    }
  }

  /** Ends the terminal and whatever still runs in it. */
  async close(): Promise<void> {
    await run("tmux", ["-S", this.socket, "kill-server"]);
    await rm(this.folder, { recursive: true, force: true });
  }

  private async tmux(...args: string[]): Promise<string> {
    const env = { PATH: process.env.PATH ?? "", HOME: this.folder, LANG: "C.UTF-8", TERM: "xterm-256color" };
    return (await runOk("tmux", ["-u", "-f", "/dev/null", "-S", this.socket, ...args], { env })).stdout;
  }
}

/** What stands in pi's editor: the lines between the last two rules. */
function editorOf(screen: string): string {
  const lines = screen.split("\n");
  // While pi works, the upper rule carries a word.
  const isRule = (line: string) => /^──.*──$/.test(line);
  const end = lines.findLastIndex(isRule);
  const begin = lines.slice(0, Math.max(0, end)).findLastIndex(isRule);
  return lines.slice(begin + 1, Math.max(0, end)).join("\n");
}

function shellQuote(word: string): string {
  return `'${word.replaceAll("'", "'\\''")}'`;
}

/**
 * The ids of the processes whose environment holds `text`, such as a test's own agent folder: what a program
 * has left running, however it was started. Linux only.
 */
export function processesWith(text: string): number[] {
  if (!existsSync("/proc/self/environ")) throw new Error("/proc is needed to look for processes");
  const ids = readdirSync("/proc").filter((name) => /^\d+$/.test(name));
  return ids.map(Number).filter((id) => {
    try {
      return id !== process.pid && readFileSync(`/proc/${id}/environ`, "utf8").includes(text);
    } catch {
      return false; // ended meanwhile, or another user's
    }
  });
}
