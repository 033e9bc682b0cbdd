/** Real pi before a stand-in that takes its time, and what its screen shows of that. */
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { readConfig } from "../../config.ts";
import { Http, readText } from "../../server/http/http.ts";
import { type Sim, startSim } from "../../sim/server.ts";
import { EXTENSION, makeWorkplace, type PiVersion, type Workplace } from "./pi.ts";
import { openPi, storeModels } from "./pi-terminal.ts";
import { eventually } from "./processes.ts";
import type { Terminal } from "./terminal.ts";

const COMMAND = `llama-server --port \${PORT} --no-reasoning --ctx-size 65536`;

/** `slow` takes seconds for each of its phases; `queued` lets llama-swap pass the time with its banner, longer than
 * between two looks at what runs. */
const CONFIG = `
models:
  slow:
    cmd: ${COMMAND} --load 3 --prompt-rate 1000 --token-rate 40
    metadata: { context_length: 65536 }
  reader:
    cmd: ${COMMAND} --load 0.1 --prompt-rate 1000 --token-rate 40
    metadata: { context_length: 65536 }
  other:
    cmd: ${COMMAND} --load 0.1 --token-rate 40
    metadata: { context_length: 65536 }
  thinker:
    cmd: llama-server --port \${PORT} --ctx-size 65536 --load 0.1 --token-rate 40
    metadata: { context_length: 65536, thinking: true }
  queued:
    cmd: ${COMMAND} --load 6 --token-rate 40
    metadata: { context_length: 65536 }
    sendLoadingState: true
`;

/** Starts a turn beside the session's own, as a subagent does. */
const SIDE_EXTENSION = `
export default (pi) => pi.registerCommand("side", {
  description: "A turn beside the others",
  handler: async (_argument, ctx) => {
    const messages = [{ role: "user", content: "sim: tokens 400", timestamp: 0 }];
    const auth = await ctx.modelRegistry.getApiKeyAndHeaders(ctx.model);
    const options = auth.ok === false ? {} : { apiKey: auth.apiKey, env: auth.env };
    void ctx.modelRegistry.streamSimple(ctx.model, { messages }, options).result?.();
  },
});
`;

/** Long enough for several batches; llama-server reports each. */
const SYSTEM_PROMPT = "word ".repeat(3000);

export class ActivityPlace {
  readonly sim: Sim;
  readonly version: PiVersion;
  readonly #workplace: Workplace;
  readonly #env: Readonly<Record<string, string>>;
  #terminal: Terminal | undefined;

  private constructor(
    sim: Sim,
    version: PiVersion,
    workplace: Workplace,
    env: Readonly<Record<string, string>>,
  ) {
    this.sim = sim;
    this.version = version;
    this.#workplace = workplace;
    this.#env = env;
  }

  /** @param env variables of the extension, besides those that lead to the server */
  static async open(version: PiVersion, env: Readonly<Record<string, string>> = {}): Promise<ActivityPlace> {
    const [sim, workplace] = await Promise.all([startSim({ config: CONFIG }), makeWorkplace()]);
    const place = new ActivityPlace(sim, version, workplace, env);
    await writeFile(join(workplace.folder, "side.ts"), SIDE_EXTENSION);
    // So that a short conversation can be compacted.
    const settings = { compaction: { enabled: false, reserveTokens: 1000, keepRecentTokens: 50 } };
    await writeFile(join(workplace.agentDir, "settings.json"), JSON.stringify(settings));
    // As an argument it would make tmux's command too long, where the path of this folder is long too.
    await writeFile(join(workplace.agentDir, "APPEND_SYSTEM.md"), SYSTEM_PROMPT);
    await storeModels(place.#options);
    return place;
  }

  get #options() {
    const { sim, version } = this;
    const { agentDir } = this.#workplace;
    const env = {
      AI_SERVER_URL: sim.url,
      AI_SERVER_CERTS_DIR: sim.certsDir,
      // A model of another provider's, which is never asked.
      OPENAI_API_KEY: "sk-none",
      ...this.#env,
    };
    // Offline nothing would be asked at rest, and the footer would stay empty.
    return { version, agentDir, env, offline: false };
  }

  /** @param footer that pi shows once its session has begun */
  async terminal(
    model: string,
    more: readonly string[] = [],
    footer = /^no model loaded/m,
  ): Promise<Terminal> {
    const side = join(this.#workplace.folder, "side.ts");
    const args = ["-e", EXTENSION, "-e", side, "--model", `ai-server/${model}`, ...more];
    const terminal = await openPi({ ...this.#options, args });
    this.#terminal = terminal;
    await terminal.waitFor(footer);
    return terminal;
  }

  /** What another client of the server does. */
  async byAnother(ask: (http: Http) => Promise<unknown>): Promise<void> {
    const env = { AI_SERVER_URL: this.sim.url, AI_SERVER_CERTS_DIR: this.sim.certsDir };
    const http = new Http(readConfig(env, {}, this.#workplace.folder));
    try {
      await ask(http);
    } finally {
      await http.close();
    }
  }

  unloadByAnother(): Promise<void> {
    return this.byAnother(async (http) => {
      const { body } = await http.request({ method: "POST", path: "/api/models/unload" });
      await readText(body, 1000);
    });
  }

  /** A chat of this many tokens. */
  chatByAnother(model: string, tokens: number): Promise<void> {
    return this.byAnother(async (http) => {
      const messages = [{ role: "user", content: `sim: tokens ${tokens}` }];
      const { body } = await http.request({
        method: "POST",
        path: "/v1/chat/completions",
        body: JSON.stringify({ model, messages, stream: true }),
        headers: { "content-type": "application/json" },
      });
      await readText(body, 1_000_000);
    });
  }

  /** Waits until the server has been asked for a chat. */
  async chatRuns(): Promise<void> {
    await eventually(
      "a chat runs",
      () => this.sim.requests.at(-1)?.path.endsWith("/chat/completions") || undefined,
    );
  }

  /** The paths of the requests that are not over. */
  get underWay(): string[] {
    return this.sim.requests
      .filter(({ finishedAt, disconnectedAt }) => (finishedAt ?? disconnectedAt) === undefined)
      .map(({ path }) => path);
  }

  async close(): Promise<void> {
    await this.#terminal?.close();
    await this.sim.close();
    await this.#workplace.remove();
  }
}

const SHOWN_LINES = 9;

/** The lower end of a screen, without what differs from run to run. */
export function screenText(screen: string): string {
  const lines = screen
    .replace(/\/tmp\/pi-ai-server-test-\w+/g, "/tmp/place")
    .replace(/[⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏]/g, "⠋")
    .replace(/\bok(?: +(?:ok|\d+00))*\b/g, "ok ok ok")
    .replace(/\d+(?:\.\d+)?/g, "N")
    // Where a turn was ended decides how much was written, and what was cached.
    .replace(/↓Nk?(?: RNk?)?(?: CHN%)?/g, "↓N")
    .replace(/─{4,}/g, "────")
    .replace(/ {3,}/g, "   ")
    .split("\n")
    .map((line) => line.trimEnd())
    // A narrow answer takes one line or two.
    .filter((line, index, all) => line !== "" && line !== all[index - 1]);
  // What pi says at its start names the folder of this extension.
  const start = lines.findIndex((line) => /^ *(?:.*, )?side\.ts(?:, |$)/.test(line));
  const body = lines.slice(start + 1);
  return `${body.slice(-SHOWN_LINES).join("\n")}\n`;
}
