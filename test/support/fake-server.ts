import { existsSync, readFileSync } from "node:fs";
import type { Edit } from "../../host/outcome.ts";
import type { LiveContext, ServerProbe } from "../../host/probe.ts";
import type { HostFile } from "../../host/ssh/machine.ts";
import { ServerError } from "../../lib/errors.ts";
import type { RunningModel } from "../../server/models/models.ts";

/** A configuration of one model and what the fake server does with it. */
export function fakeConfig(size: number, more = ""): string {
  return `# fake\nmodels:\n  m:\n    cmd: llama-server -c ${size} ${more}\n`;
}

export function fakePlan(size: number, more = ""): (file: HostFile) => Edit {
  return (file) => ({
    file,
    text: file.text.replace(/^ {4}cmd: .*$/m, () => `    cmd: llama-server -c ${size} ${more}`),
    model: { id: "m", contextSize: size },
  });
}

/** Brings in the model `new`; `more` is said to the server in its command. */
export function fakeAddition(size: number, more = ""): (file: HostFile) => Edit {
  return (file) => ({
    file,
    text: `${file.text}  new:\n    cmd: llama-server -m /m/new.gguf -c ${size} ${more}\n`,
    model: { id: "new", contextSize: size, isAdded: true },
  });
}

/** Takes the model `new` out again, or another. */
export function fakeRemoval(id = "new"): (file: HostFile) => Edit {
  return (file) => ({
    file,
    text: file.text.replace(new RegExp(`^  ${id}:\\n    .*\\n`, "m"), ""),
    removed: { id },
  });
}

function withNew(more = ""): string {
  return `${fakeConfig(1024)}  new:\n    cmd: llama-server -m /m/new.gguf -c 512 ${more}\n`;
}

/** Changes of a file from one text to another; `more` is said to the server in the new one. */
export const FAKE_DEEDS = {
  size: {
    old: fakeConfig(1024),
    plan: (more = "") => fakePlan(2048, more),
    now: (more = "") => fakeConfig(2048, more),
  },
  add: { old: fakeConfig(1024), plan: (more = "") => fakeAddition(512, more), now: withNew },
  remove: { old: withNew(), plan: () => fakeRemoval(), now: () => fakeConfig(1024) },
} as const;

/**
 * A server in memory that reads its file when it is restarted, which it learns from the length of a file that a
 * fake systemctl appends to. In the configuration: `broken` never answers, `unloadable` fails to load, `slow` loads
 * until it is aborted, `half` gives half of the window.
 */
export class FakeServer implements ServerProbe {
  readonly configPath: string;
  readonly restartsPath: string;
  loaded: string[];
  /** Ids in the order in which they were loaded. */
  readonly loads: string[] = [];
  /** A reload that happens without a restart, as -watch-config does. */
  watches = false;
  isStubborn = false;
  /** Its own log says nothing of a reload. */
  isSilent = false;
  /** How many loads fail because the old process still holds the model's port. */
  heldFor = 0;
  /** How often a load was tried. */
  tries = 0;
  /** Models that it finds itself, whatever its file says. */
  found: string[] = [];
  /** How often it was asked to read its file again. */
  reloads = 0;
  /** Absent until `canReload`. */
  reload?: NonNullable<ServerProbe["reload"]>;
  #restarts: number;
  #text: string;
  /** Whether it took the last text that it reloaded. */
  #isTaken = false;

  constructor(configPath: string, restartsPath: string, loaded: string[] = []) {
    this.configPath = configPath;
    this.restartsPath = restartsPath;
    this.loaded = loaded;
    this.#restarts = this.restarts;
    this.#text = readFileSync(configPath, "utf8");
  }

  get restarts(): number {
    return existsSync(this.restartsPath) ? readFileSync(this.restartsPath, "utf8").length : 0;
  }

  /**
   * Makes it one that reads its file again when asked to, which unloads what it changes alone, and refuses a `broken` text; or one
   * that answers so and does nothing (`ignored`), or does not know the question.
   */
  canReload(how: "reloaded" | "ignored" | "not understood"): void {
    this.reload = async () => {
      this.reloads += 1;
      if (how === "not understood") return how;
      const text = readFileSync(this.configPath, "utf8");
      if (text.includes("broken")) {
        throw new ServerError("option 'broken' not recognized", { link: "server", remedy: "none" });
      }
      if (how === "reloaded" && text !== this.#text) {
        const old = new Map(this.loaded.map((id) => [id, this.#commandLine(id)]));
        this.#text = text;
        this.loaded = this.loaded.filter((id) => this.#commandLine(id) === old.get(id));
      }
      return "reloaded";
    };
  }

  async startLine(id: string): Promise<string | undefined> {
    this.#look();
    return this.#commandLine(id);
  }

  async lists(id: string): Promise<boolean | undefined> {
    this.#look();
    return this.#commandLine(id) !== undefined;
  }

  #commandLine(id: string): string | undefined {
    const own = new RegExp(`^  ${id}:\n    cmd: (.*)$`, "m").exec(this.#text)?.[1];
    return own ?? (this.found.includes(id) ? `llama-server -m /models/${id}.gguf` : undefined);
  }

  async answers(): Promise<boolean> {
    this.#look();
    return !this.#text.includes("broken");
  }

  async running(): Promise<RunningModel[]> {
    this.#look();
    if (this.#text.includes("broken")) {
      throw new ServerError("It is down.", { link: "server", remedy: "retry" });
    }
    return this.loaded.map((id) => {
      const commandLine = this.#commandLine(id) ?? "";
      return { id, state: "ready", commandLine, ttlSeconds: 0 };
    });
  }

  async load(id: string, signal: AbortSignal): Promise<void> {
    this.#look();
    this.tries += 1;
    if (this.#text.includes("slow")) {
      await new Promise((_, reject) => {
        signal.addEventListener("abort", () => reject(signal.reason), { once: true });
      });
    }
    const isUnknown = id === "new" && this.#commandLine(id) === undefined;
    if (isUnknown || this.#text.includes("unloadable") || id === "gone" || this.tries <= this.heldFor) {
      throw new ServerError("upstream command exited prematurely", { link: "model", remedy: "none" });
    }
    this.loads.push(id);
    if (!this.loaded.includes(id)) this.loaded.push(id);
  }

  async liveContext(id: string): Promise<LiveContext> {
    const size = Number(/-c (\d+)/.exec(this.#commandLine(id) ?? "")?.[1]);
    return { tokens: this.#text.includes("half") ? size / 2 : size, trained: 131_072 };
  }

  async log(id: string | undefined): Promise<string[]> {
    if (id !== undefined) return ["cudaMalloc failed: out of memory"];
    this.#look();
    if (this.isSilent) return [];
    return this.#isTaken
      ? ["failed to reload config", "configuration reloaded"]
      : ["failed to reload config"];
  }

  #look(): void {
    const text = readFileSync(this.configPath, "utf8");
    const isReload = this.watches && text !== this.#text;
    if (this.restarts === this.#restarts && !isReload) return;
    this.#restarts = this.restarts;
    if (!this.isStubborn) this.#text = text;
    this.#isTaken = isReload;
    this.loaded = [];
  }
}
