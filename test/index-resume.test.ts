import { createHook } from "node:async_hooks";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { stripVTControlCharacters } from "node:util";
import type { Api, Model, TranscriptContext } from "@earendil-works/pi-ai";
import type { ExtensionContext } from "@earendil-works/pi-coding-agent";
import { KeybindingsManager, TUI_KEYBINDINGS } from "@earendil-works/pi-tui";
import { afterAll, afterEach, beforeAll, beforeEach, expect, test, vi } from "vitest";
import extension from "../index.ts";
import { ModelServer } from "../server/model-server.ts";
import { type Sim, startSim } from "../sim/server.ts";
import { unchanged } from "./support/clock.ts";
import { FakePi } from "./support/fake-pi.ts";
import { FakeTerminal } from "./support/fake-terminal.ts";
import { REPOSITORY } from "./support/pi.ts";
import { eventually } from "./support/sim-client.ts";
import { clientOf } from "./support/wire.ts";

const CMD = `llama-server --port \${PORT} -c 131072 --no-reasoning`;
const CONFIG = `
models:
  quick: { cmd: "${CMD} --load 0.1 --token-rate 100" }
  loader: { cmd: "${CMD} --load 60 --token-rate 1" }
  reader: { cmd: "${CMD} --load 0.1 --prompt-rate 2000" }
  slow: { cmd: "${CMD} --load 60" }
`;
const LONG = "word ".repeat(12_000);

let sim: Sim;
let agentDir: string;
/** Sockets and processes, a word for each; before anything of ours is open vitest has some of its own. */
const handles = (): string[] =>
  process.getActiveResourcesInfo().filter((kind) => /TCP|TLS|Process/.test(kind));
let before: readonly string[];

/** Timers that our code has set, by their ids; also those that keep no process alive. */
const timers = new Map<number, string>();
const OURS = new RegExp(`${REPOSITORY}(?!node_modules|test/|sim/)[^\\s)]+`);
const hook = createHook({
  init(id, type) {
    const stack = type === "Timeout" ? (new Error().stack ?? "") : "";
    // That of a signal goes with the signal, and does nothing else.
    const [place] = stack.includes("AbortSignal.timeout") ? [] : (OURS.exec(stack) ?? []);
    if (place !== undefined) timers.set(id, place);
  },
  destroy: (id) => timers.delete(id),
});
beforeAll(() => void hook.enable());
afterAll(() => void hook.disable());

beforeEach(async () => {
  before = handles();
  agentDir = mkdtempSync(join(tmpdir(), "index-resume-"));
  sim = await startSim({ config: CONFIG });
  vi.stubEnv("PI_CODING_AGENT_DIR", agentDir);
  vi.stubEnv("PI_OFFLINE", undefined);
  vi.stubEnv("AI_SERVER_URL", sim.url);
  vi.stubEnv("AI_SERVER_CERTS_DIR", sim.certsDir);
});
afterEach(async () => {
  vi.unstubAllEnvs();
  rmSync(agentDir, { recursive: true, force: true });
  await sim.close();
});

interface Screen {
  render(width: number): string[];
  handleInput(data: string): void;
}

/** A session of pi in the terminal on `quick`, from its start to its end. */
class Session {
  readonly pi = new FakePi();
  readonly terminal = new FakeTerminal();
  readonly #aborted = new AbortController();
  readonly #ctx: ExtensionContext;
  readonly #work: Promise<unknown>[] = [];
  #screen: Screen | undefined;

  constructor() {
    const base = this.terminal.context();
    const ui = { ...base.ui, theme: { ...base.ui.theme, bold: (text: string) => text } };
    const modelRegistry = {
      ...base.modelRegistry,
      getProviderAuth: async () => ({ env: {} }),
      find: () => undefined,
    };
    this.#ctx = Object.create(base, {
      ui: { value: { ...ui, custom: this.#custom.bind(this) } },
      modelRegistry: { value: modelRegistry },
    }) as ExtensionContext;
  }

  async start(reason: "startup" | "resume"): Promise<void> {
    await extension(this.pi.api);
    await this.pi.refresh({ allowNetwork: true });
    this.terminal.model = this.#model("quick");
    await this.pi.emit("session_start", this.#ctx, { type: "session_start", reason });
    await expect.poll(() => this.terminal.statuses.length).toBeGreaterThan(0);
  }

  /** A turn, which pi's agent aborts when the session ends. @returns its text */
  async turn(id: string, text: string): Promise<string> {
    await this.pi.emit("agent_start", this.#ctx);
    await this.pi.emit("turn_start", this.#ctx);
    return this.#ask(id, text, this.#aborted.signal);
  }

  /** Begins a compaction, which pi does not abort. */
  async compact(id: string, text: string): Promise<void> {
    await this.pi.emit("session_before_compact", this.#ctx);
    void this.#ask(id, text, undefined);
  }

  async #ask(id: string, text: string, signal: AbortSignal | undefined): Promise<string> {
    const context = { messages: [{ role: "user", content: text, timestamp: 0 }] };
    const options = { sessionId: "session", ...(signal === undefined ? {} : { signal }) };
    const stream = this.pi.provider.streamSimple(
      this.#model(id),
      context as unknown as TranscriptContext,
      options,
    );
    this.#work.push(stream.result());
    const { content } = await stream.result();
    return content.map((block) => (block.type === "text" ? block.text : "")).join("");
  }

  openPanel(argument = ""): void {
    const run = this.pi.commands.get("ai-server")?.handler(argument, this.#ctx);
    this.#work.push(Promise.resolve(run));
  }

  press(key: string): void {
    this.#screen?.handleInput(key);
  }

  async says(wanted: RegExp): Promise<void> {
    const lines = (): string => [...this.terminal.messages, ...this.terminal.widgets.flat()].join("\n");
    await expect.poll(lines, { timeout: 8000, interval: 10 }).toMatch(wanted);
  }

  async shows(wanted: RegExp): Promise<void> {
    const screen = (): string => stripVTControlCharacters(this.#screen?.render(100).join("\n") ?? "");
    await expect.poll(screen, { timeout: 8000, interval: 10 }).toMatch(wanted);
  }

  /** As pi ends it: the agent is aborted, the extension told, and every touch of the context throws from then on. */
  async end(reason: "resume" | "quit"): Promise<void> {
    this.#aborted.abort();
    const ended = this.pi.emit("session_shutdown", this.#ctx, { type: "session_shutdown", reason });
    await ended;
    this.terminal.end();
    await Promise.all(this.#work);
    expect(this.#screen).toBeUndefined();
  }

  #model(id: string): Model<Api> {
    const model = this.pi.provider.getModels().find((one) => one.id === id);
    if (model === undefined) throw new Error(`there is no ${id}`);
    return model as Model<Api>;
  }

  #custom(make: (...parts: unknown[]) => Screen): Promise<unknown> {
    return new Promise((resolve) => {
      const done = (result: unknown): void => {
        this.#screen = undefined;
        resolve(result);
      };
      const tui = { terminal: { rows: 40, columns: 100 }, requestRender: () => {} };
      this.#screen = make(tui, this.#ctx.ui.theme, new KeybindingsManager(TUI_KEYBINDINGS), done);
    });
  }
}

/** A chat of another client's. @returns ends it */
async function chatOfAnother(id: string): Promise<() => Promise<void>> {
  const other = new ModelServer(clientOf(sim.url, sim.certsDir));
  const messages = [{ role: "user", content: "sim: tokens 5000" }];
  const body = JSON.stringify({ model: id, stream: true, messages });
  const answer = await other.chat(body, {}, new AbortController().signal);
  return async () => {
    answer.body.destroy();
    await other.close();
  };
}

const PHASES: Record<string, (session: Session) => Promise<(() => Promise<void>) | undefined>> = {
  "at rest": async () => undefined,
  connecting: async (session) => {
    void session.turn("quick", "sim: say One.");
    await session.says(/Waiting for the server/);
    return undefined;
  },
  waiting: async (session) => {
    const leave = await chatOfAnother("quick");
    void session.turn("slow", "sim: say One.");
    await session.says(/Waiting for quick/);
    return leave;
  },
  loading: async (session) => {
    void session.turn("slow", "sim: say One.");
    await session.says(/Loading slow · \d/);
    return undefined;
  },
  "reading the prompt": async (session) => {
    void session.turn("reader", LONG);
    await session.says(/Reading prompt · [1-9]/);
    return undefined;
  },
  "generating after a load": async (session) => {
    void session.turn("loader", "sim: tokens 5000");
    await session.says(/Loading loader/);
    sim.setSpeed(200);
    await session.says(/\d+ tok\/s · \d+ tokens/);
    return undefined;
  },
  retrying: async (session) => {
    const headers = { "retry-after": "30" };
    sim.failNext({ path: "/v1/chat/completions", status: 429, body: "Too many requests", headers });
    void session.turn("quick", "sim: say One.");
    await session.says(/Asking again in 30 s/);
    return undefined;
  },
  compacting: async (session) => {
    await session.compact("quick", "sim: tokens 5000");
    await session.says(/\d+ tok\/s · \d+ tokens/);
    expect(session.terminal.widgets.length).toBeGreaterThan(0);
    return undefined;
  },
  "the panel is open": async (session) => {
    session.openPanel();
    await session.shows(/live · [\s\S]*In flight: nothing/);
    return undefined;
  },
  "the panel loads a model": async (session) => {
    session.openPanel("slow");
    await session.shows(/→ slow[\s\S]*In flight: nothing/);
    session.press("\r");
    await session.shows(/Loading slow\n/);
    return undefined;
  },
};

/** Soon, and for good: what is asked later than the end has opened a connection of its own. */
async function nothingIsOpen(): Promise<void> {
  const underWay = (): unknown[] =>
    sim.requests.filter(({ finishedAt, disconnectedAt }) => (finishedAt ?? disconnectedAt) === undefined);
  await eventually(() => expect([underWay(), sim.connections]).toEqual([[], 0]), 5000);
  await eventually(() => expect([...timers.values()]).toEqual([]), 5000);
  await unchanged(() => [sim.requests.length, sim.connections]);
}

// pi throws at every touch of an old context, and vitest fails on every unhandled rejection.
test.each(Object.keys(PHASES))(
  "/resume while %s leaves nothing open, and the next session works",
  async (name) => {
    const first = new Session();
    await first.start("startup");
    const leave = await PHASES[name]?.(first);
    await first.end("resume");
    await leave?.();
    await nothingIsOpen();

    const second = new Session();
    await second.start("resume");
    sim.setSpeed(1000);
    expect(await second.turn("quick", "sim: say Resumed.")).toBe("Resumed.");
    await second.says(/Waiting for the server/);
    await second.end("quit");
    await nothingIsOpen();
    await sim.close();
    await eventually(() => expect(handles()).toEqual(before), 5000);
  },
);
