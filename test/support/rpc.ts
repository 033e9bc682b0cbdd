import type { ChildProcess } from "node:child_process";
import { StringDecoder } from "node:string_decoder";
import { type PiOptions, piCommand } from "./pi.ts";
import { killGroup, spawnGroup } from "./processes.ts";

/** One line of pi's JSON event stream or RPC protocol. */
export interface Json {
  [key: string]: unknown;
}

export interface RpcResponse extends Json {
  success: boolean;
  error?: string;
  data?: Json;
}

/** The answer to a dialog: `{ value }`, `{ confirmed }` or `{ cancelled: true }`. */
export type UiHandler = (request: Json) => Json | undefined;

const DIALOGS = new Set(["select", "confirm", "input", "editor"]);

/**
 * Splits JSON lines as pi writes them: at LF alone, since U+2028 and U+2029 may stand inside a string.
 *
 * @throws when a line is not a JSON object, which is how text that strays into the stream is found
 */
export function parseJsonLines(text: string): Json[] {
  const lines = text.split("\n").filter((line) => line !== "");
  return lines.map((line) => {
    try {
      return JSON.parse(line) as Json;
    } catch (error) {
      throw new Error(`Not a JSON line: ${JSON.stringify(line.slice(0, 200))}`, { cause: error });
    }
  });
}

/** Follows a path through parsed JSON; undefined where it leads nowhere. */
export function at(value: unknown, ...path: (string | number)[]): unknown {
  let here = value;
  for (const key of path) {
    if (typeof here !== "object" || here === null) return undefined;
    here = (here as Record<string | number, unknown>)[key];
  }
  return here;
}

/** A real pi in RPC mode. Every record it writes is kept in `events`, in order. */
export class RpcPi {
  readonly events: Json[] = [];
  /** What went wrong with the stream itself; a test that closes pi gets it thrown. */
  private readonly faults: string[] = [];
  private readonly child: ChildProcess;
  private readonly answer: UiHandler;
  private readonly waiting = new Set<() => void>();
  private readonly ended: Promise<number | null>;
  private hasEnded = false;
  private stderrText = "";
  private rest = "";
  private nextId = 1;

  private constructor(child: ChildProcess, answer: UiHandler) {
    this.child = child;
    this.answer = answer;
    const decoder = new StringDecoder("utf8");
    child.stdout?.on("data", (bytes: Buffer) => this.receive(decoder.write(bytes)));
    child.stderr?.setEncoding("utf8").on("data", (text: string) => {
      this.stderrText += text;
    });
    child.stdin?.on("error", (error) => this.faults.push(`stdin: ${error.message}`));
    this.ended = new Promise((resolve) => {
      child.once("close", (code) => {
        this.hasEnded = true;
        resolve(code);
        this.wake();
      });
    });
  }

  /** Starts pi with `--mode rpc` added. `answer` is asked for every dialog; without one, dialogs are cancelled. */
  static async start(options: PiOptions, answer: UiHandler = () => undefined): Promise<RpcPi> {
    const { command, args, cwd, env } = await piCommand({
      ...options,
      args: ["--mode", "rpc", ...options.args],
    });
    return new RpcPi(spawnGroup(command, args, { cwd, env, stdio: "pipe" }), answer);
  }

  get stderr(): string {
    return this.stderrText;
  }

  /** A position in `events`, for `waitFor` and `since`. */
  mark(): number {
    return this.events.length;
  }

  since(mark: number): Json[] {
    return this.events.slice(mark);
  }

  /** The first record at or after `mark` that satisfies `wanted`, waiting for it if it has yet to come. */
  async waitFor(wanted: (event: Json) => boolean, ms = 30_000, mark = 0): Promise<Json> {
    const end = Date.now() + ms;
    let next = mark;
    for (;;) {
      for (; next < this.events.length; next += 1) {
        const event = this.events[next];
        if (event && wanted(event)) return event;
      }
      if (this.hasEnded || Date.now() > end) {
        const seen = this.since(mark).map((event) => event.type ?? event.method);
        const why = this.hasEnded ? "pi has ended" : `${ms} ms went by`;
        throw new Error(`${why}; seen since: ${seen.join(" ")}\nstderr: ${this.stderrText}`);
      }
      await this.anything(end - Date.now());
    }
  }

  /** Sends one command and gives its response; a refused command is not an error of this function. */
  async send(command: Json, ms = 30_000): Promise<RpcResponse> {
    const id = `test-${this.nextId}`;
    this.nextId += 1;
    const mark = this.mark();
    this.write({ ...command, id });
    return (await this.waitFor(
      (event) => event.type === "response" && event.id === id,
      ms,
      mark,
    )) as RpcResponse;
  }

  /** Sends a prompt and waits until pi has nothing more to do; gives every record of that run. */
  async turn(message: string, ms = 60_000): Promise<Json[]> {
    const mark = this.mark();
    const response = await this.send({ type: "prompt", message }, ms);
    if (!response.success) throw new Error(`pi refused the prompt: ${response.error}`);
    await this.waitFor((event) => event.type === "agent_settled", ms, mark);
    return this.since(mark);
  }

  /** Runs a slash command to its end and gives every record that it caused. */
  async command(line: string, ms = 60_000): Promise<Json[]> {
    const mark = this.mark();
    const response = await this.send({ type: "prompt", message: line }, ms);
    if (!response.success) throw new Error(`pi refused ${line}: ${response.error}`);
    return this.since(mark);
  }

  /** Ends pi by closing its stdin, as a client does; kills it after `ms`. Rejects if its output was not clean JSON lines. */
  async close(ms = 15_000): Promise<number | null> {
    this.child.stdin?.end();
    const limit = setTimeout(() => {
      this.faults.push(`pi did not end within ${ms} ms`);
      killGroup(this.child);
    }, ms);
    const code = await this.ended;
    clearTimeout(limit);
    if (this.faults.length > 0) throw new Error(`${this.faults.join("\n")}\nstderr: ${this.stderrText}`);
    return code;
  }

  private receive(text: string): void {
    const lines = (this.rest + text).split("\n");
    this.rest = lines.pop() ?? "";
    for (const line of lines) {
      try {
        const [event] = parseJsonLines(line);
        if (event) this.accept(event);
      } catch (error) {
        this.faults.push((error as Error).message);
      }
    }
    this.wake();
  }

  private accept(event: Json): void {
    this.events.push(event);
    if (event.type !== "extension_ui_request" || !DIALOGS.has(String(event.method))) return;
    const reply = this.answer(event) ?? { cancelled: true };
    this.write({ type: "extension_ui_response", id: event.id, ...reply });
  }

  private write(record: Json): void {
    this.child.stdin?.write(`${JSON.stringify(record)}\n`);
  }

  private wake(): void {
    for (const resume of [...this.waiting]) resume();
  }

  private anything(ms: number): Promise<void> {
    return new Promise((resolve) => {
      const resume = () => {
        clearTimeout(timer);
        this.waiting.delete(resume);
        resolve();
      };
      const timer = setTimeout(resume, Math.max(1, ms));
      this.waiting.add(resume);
    });
  }
}
