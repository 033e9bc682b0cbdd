import {
  appendFileSync,
  copyFileSync,
  existsSync,
  readdirSync,
  readFileSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { RemoteMachine } from "../../host/ssh/machine.ts";
import { type Answer, type HostRequest, readAnswer, sha256 } from "../../host/ssh/protocol.ts";
import type { AskLimits, Shell, ShellSettings } from "../../host/ssh/shell.ts";
import { FILE, type LocalHost } from "./local-host.ts";
import { UNIT } from "./machine-row.ts";

/** An answer of the script's own that is an error. */
class Refusal extends Error {
  readonly detail: string;

  constructor(code: string, detail = "") {
    super(code);
    this.detail = detail;
  }
}

/**
 * Answers the verbs of `ai-server-admin` as the script does, on the same folder but without a process, for tests of
 * what a change makes of the answers. It takes no lock and checks no rights: those tests need the script itself.
 */
export class InProcessShell implements Pick<Shell, "ask" | "settings"> {
  readonly settings: ShellSettings;
  /** What `systemctl show` prints. */
  unit = UNIT("llama-swap -config config.yaml");
  journal = "llama-swap: cannot read config";
  /** Why a restart fails; undefined where it succeeds. */
  restartFault: string | undefined;
  /** A file that grows by a character with each restart. */
  readonly restarts: string;
  readonly #path: string;
  readonly #folder: string;
  /** The second of the next backup. */
  #clock = Math.floor(Date.now() / 1000) * 1000;

  constructor(host: LocalHost) {
    this.settings = host.settings();
    this.#path = host.path;
    this.#folder = host.folder;
    this.restarts = join(host.tools, "restarts");
  }

  machine(): RemoteMachine {
    return new RemoteMachine(this, 5000);
  }

  async ask(request: HostRequest, { signal }: AskLimits): Promise<Answer> {
    signal?.throwIfAborted();
    // Never in the same turn as the call: a signal may come in between, as with a process.
    await new Promise(setImmediate);
    signal?.throwIfAborted();
    const { answer } = readAnswer(["n begin", ...this.#answered(request), "n end"].join("\n"), "n");
    if (answer === undefined) throw new Error("The answer has no end");
    return answer;
  }

  #answered(request: HostRequest): string[] {
    try {
      return this.#run(request);
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      return [`error ${error.message}`, ...block("detail", error.detail)];
    }
  }

  #run({ verb: [verb, first = "", second = ""], content }: HostRequest): string[] {
    switch (verb) {
      case "read":
        return shown(FILE, first === "" ? this.#path : this.#backup(first));
      case "list":
        return this.#stamps().map((stamp) => {
          const path = this.#backup(stamp);
          return `backup ${stamp} ${statSync(path).size} ${sha256(readFileSync(path))}`;
        });
      case "write":
        return this.#replace(content ?? Buffer.alloc(0), first);
      case "restore":
        return this.#replace(readFileSync(this.#backup(first)), second);
      case "restart":
        if (this.restartFault !== undefined) throw new Refusal("restart-failed", this.restartFault);
        appendFileSync(this.restarts, "r");
        return [];
      case "status":
        return [
          ...(this.unit.includes("LoadState=not-found") ? ["problem no-unit"] : []),
          ...block("show", this.unit),
        ];
      case "logs":
        return block("logs", this.journal);
      default:
        throw new Refusal("not-allowed");
    }
  }

  #replace(content: Buffer, expected: string): string[] {
    if (sha256(readFileSync(this.#path)) !== expected) throw new Refusal("changed");
    const hash = sha256(content);
    if (hash === expected) return [`hash ${hash}`];
    const stamp = new Date(this.#clock).toISOString().replace(/[-:]|\.\d+/g, "");
    this.#clock += 1000;
    copyFileSync(this.#path, `${this.#path}.bak-${stamp}`);
    writeFileSync(this.#path, content);
    return [`stamp ${stamp}`, `hash ${hash}`];
  }

  #backup(stamp: string): string {
    const path = `${this.#path}.bak-${stamp}`;
    if (!existsSync(path)) throw new Refusal("no-backup");
    return path;
  }

  #stamps(): string[] {
    const prefix = `${FILE}.bak-`;
    const names = readdirSync(this.#folder).filter((name) => name.startsWith(prefix));
    return names.map((name) => name.slice(prefix.length)).sort();
  }
}

function shown(name: string, path: string): string[] {
  const encoded = Buffer.from(name).toString("base64");
  return [`file ${encoded} -rw-r-----`, "content", readFileSync(path).toString("base64"), "."];
}

function block(key: string, text: string): string[] {
  return text === "" ? [] : [key, Buffer.from(text).toString("base64"), "."];
}
