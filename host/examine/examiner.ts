/** What the doctor looks at on the server's machine, and the three things that it may do there. */
import type { Answer, HostRequest } from "../ssh/protocol.ts";
import type { FirstCall, Shell } from "../ssh/shell.ts";
import type { HostError } from "../ssh/ssh-faults.ts";
import { examineFault, withoutShellFault } from "./examine-faults.ts";
import { type FoundFile, factsInAnswer, foundInAnswer, type MachineFacts } from "./facts.ts";

/** Milliseconds: to look at everything, a dozen programs with 5 s each at most; for one of the other verbs. */
const LOOK_MS = 60_000;
const STEP_MS = 20_000;

/** Paths of one request: each takes a program of its own there. */
const MOST_PATHS = 1000;

/** Over a `Shell`. All but `reach` need a login that may run more than `ai-server-admin`. */
export class Examiner {
  readonly #shell: Pick<Shell, "ask" | "settings" | "firstCall">;

  constructor(shell: Pick<Shell, "ask" | "settings" | "firstCall">) {
    this.#shell = shell;
  }

  /** Whether this way may look at more than `ai-server-admin` shows. */
  get isDirect(): boolean {
    const { host, mode } = this.#shell.settings;
    return mode === "direct" || host === "local";
  }

  /** How the login went: with the first call of the session, which this is where there was none. @throws {HostError} */
  async reach(signal?: AbortSignal): Promise<FirstCall> {
    if (this.#shell.firstCall === undefined) {
      await this.#shell.ask({ verb: ["status"] }, { timeoutMs: STEP_MS, signal });
    }
    return this.#shell.firstCall ?? { ms: 0, noise: "" };
  }

  /** Reads what there is to know about the machine. @throws {HostError} */
  async look(modelsFolder: string, signal?: AbortSignal): Promise<MachineFacts> {
    const content = Buffer.from(`${modelsFolder}\n`);
    return factsInAnswer(await this.#ask({ verb: ["examine"], content }, LOOK_MS, signal));
  }

  /**
   * Whether files of models are there and can be read. Opens none of them.
   *
   * @param paths on the server, as the command of a model has them: absolute, `~` is not expanded
   * @returns one for each path, in their order
   * @throws {HostError} with the code `not-allowed` for a key with a forced command
   */
  async files(paths: readonly string[], signal?: AbortSignal): Promise<FoundFile[]> {
    const found = new Map<string, FoundFile>();
    const askable = [...new Set(paths)].filter((path) => /^\/[^\p{Cc}]*$/u.test(path));
    for (let from = 0; from < askable.length; from += MOST_PATHS) {
      const some = askable.slice(from, from + MOST_PATHS);
      const content = Buffer.from(some.map((path) => `${path}\n`).join(""));
      const answer = foundInAnswer(await this.#ask({ verb: ["files"], content }, STEP_MS, signal));
      for (const [at, path] of some.entries()) {
        const seen = answer.get(at);
        if (seen !== undefined) found.set(path, { path, ...seen });
      }
    }
    return paths.map((path) => found.get(path) ?? { path, kind: "unasked", bytes: 0 });
  }

  /** Lets the units of this user run without a login. @throws {HostError} */
  async enableLingering(signal?: AbortSignal): Promise<void> {
    await this.#ask({ verb: ["linger"] }, STEP_MS, signal);
  }

  /** Lets the unit start with the machine. @throws {HostError} */
  async enableUnit(signal?: AbortSignal): Promise<void> {
    await this.#ask({ verb: ["enable"] }, STEP_MS, signal);
  }

  /** Writes the unit's file, whole or not at all; one that exists stays as it is. @throws {HostError} */
  async writeUnit(text: string, signal?: AbortSignal): Promise<void> {
    await this.#ask({ verb: ["unit"], content: Buffer.from(text) }, STEP_MS, signal);
  }

  async #ask(request: HostRequest, timeoutMs: number, signal: AbortSignal | undefined): Promise<Answer> {
    if (!this.isDirect) throw withoutShellFault(this.#shell.settings.host);
    const answer = await this.#shell.ask({ ...request, isExamine: true }, { timeoutMs, signal });
    if (answer.error !== undefined) throw this.#fault(answer.error, answer.detail);
    return answer;
  }

  #fault(code: string, detail: string): HostError {
    const { host } = this.#shell.settings;
    return examineFault(code, detail, host === "local" ? "this machine" : host);
  }
}
