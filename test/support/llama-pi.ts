/** Real pi with this extension on a real llama-server, turn after turn. */
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { startLlamaServer, TINY_ID } from "./llama-server.ts";
import { EXTENSION, makeWorkplace, type PiVersion, type Workplace } from "./pi.ts";
import { at, type Json, RpcPi } from "./rpc.ts";

/** One answer of the model, as pi has it: the server's own counts of its prompt, in tokens. */
export interface Answer {
  prompt: number;
  cached: number;
  /** Kinds of its blocks, in order: `thinking`, `text`, `toolCall`. */
  blocks: string[];
}

/** Another extension, since pi takes no `/reload` from its RPC protocol. */
const RELOADER = `export default (pi) => {
  pi.registerCommand("reload-now", { description: "Reload", handler: (_, ctx) => ctx.reload() });
};
`;

/** A llama-server with a folder for the pi processes that talk to it. */
export class LlamaPlace {
  readonly #env: Readonly<Record<string, string>>;
  readonly #stopServer: () => Promise<void>;
  readonly #workplace: Workplace;
  readonly #sessions: LlamaSession[] = [];

  private constructor(
    env: Readonly<Record<string, string>>,
    stopServer: () => Promise<void>,
    workplace: Workplace,
  ) {
    this.#env = env;
    this.#stopServer = stopServer;
    this.#workplace = workplace;
  }

  /**
   * @param args of the llama-server
   * @param env variables of the extension, besides those that lead to the server
   */
  static async start(
    args: readonly string[],
    env: Readonly<Record<string, string>> = {},
  ): Promise<LlamaPlace> {
    const server = await startLlamaServer({ args });
    return LlamaPlace.at({ AI_SERVER_URL: server.url, ...env }, () => server.stop());
  }

  /**
   * The same for servers that run already.
   *
   * @param env the variables of the extension
   * @param stopServer ends them with this place
   */
  static async at(
    env: Readonly<Record<string, string>>,
    stopServer: () => Promise<void>,
  ): Promise<LlamaPlace> {
    const workplace = await makeWorkplace();
    // As the extension advises for a window of this size.
    const room = { reserveTokens: 8_192, keepRecentTokens: 8_192 };
    const compaction = { modelOverrides: { [`ai-server/${TINY_ID}`]: room } };
    await writeFile(join(workplace.agentDir, "settings.json"), JSON.stringify({ compaction }));
    await writeFile(join(workplace.folder, "reloader.mjs"), RELOADER);
    return new LlamaPlace(env, stopServer, workplace);
  }

  /** Has every session that begins from now on read this of its project. */
  async describe(project: string): Promise<void> {
    await writeFile(join(this.#workplace.folder, "AGENTS.md"), project);
  }

  /** The tokens that each slot of the server holds; undefined while one is busy. */
  async tokensHeld(): Promise<number[] | undefined> {
    const slots = (await (await fetch(`${this.#env.AI_SERVER_URL}/slots`)).json()) as Json[];
    if (slots.some((slot) => slot.is_processing === true)) return undefined;
    return slots.map((slot) => Number(slot.n_prompt_tokens ?? 0));
  }

  /** A pi that thinks, with its session in this place's folder; `args` choose which. */
  async session(version: PiVersion, ...args: string[]): Promise<LlamaSession> {
    const reloader = join(this.#workplace.folder, "reloader.mjs");
    const pi = await RpcPi.start({
      version,
      agentDir: this.#workplace.agentDir,
      env: this.#env,
      args: [
        ...["-e", EXTENSION, "-e", reloader],
        ...["--model", `ai-server/${TINY_ID}`, "--thinking", "medium", ...args],
      ],
      offline: false,
    });
    const session = new LlamaSession(pi);
    this.#sessions.push(session);
    return session;
  }

  async stop(): Promise<void> {
    await Promise.all(this.#sessions.map((session) => session.close()));
    await this.#stopServer();
    await this.#workplace.remove();
  }
}

export class LlamaSession {
  readonly #pi: RpcPi;
  #closing: Promise<unknown> | undefined;

  constructor(pi: RpcPi) {
    this.#pi = pi;
  }

  /** @throws {Error} when an answer failed */
  async turn(text: string): Promise<Answer[]> {
    const messages = (await this.#pi.turn(text))
      .filter((event) => event.type === "message_end")
      .map((event) => event.message)
      .filter((message) => at(message, "role") === "assistant");
    return messages.map(answerOf);
  }

  /** @returns milliseconds from the prompt to the answer's first token; the turn is over then too */
  async firstWord(text: string): Promise<{ ms: number; answers: Answer[] }> {
    const mark = this.#pi.mark();
    const begun = performance.now();
    const answers = this.turn(text);
    const isWord = (event: Json): boolean =>
      event.type === "message_update" && /_delta$/.test(String(at(event, "assistantMessageEvent", "type")));
    const [ms] = await Promise.all([
      this.#pi.waitFor(isWord, 60_000, mark).then(() => performance.now() - begun),
      answers,
    ]);
    return { ms, answers: await answers };
  }

  /** Runs a slash command to its end. */
  async command(line: string): Promise<void> {
    await this.#pi.command(line);
  }

  /** As `/reload` does. */
  async reload(): Promise<void> {
    await this.#pi.command("/reload-now");
  }

  /** As `/resume` does, with the session that is open. */
  async resume(): Promise<void> {
    const state = await this.#pi.send({ type: "get_state" });
    const sessionPath = String(state.data?.sessionFile);
    const { success, error } = await this.#pi.send({ type: "switch_session", sessionPath });
    if (!success) throw new Error(`pi did not open its session again: ${error}`);
  }

  async newSession(): Promise<void> {
    await this.#pi.send({ type: "new_session" });
  }

  close(): Promise<unknown> {
    this.#closing ??= this.#pi.close();
    return this.#closing;
  }
}

function answerOf(message: unknown): Answer {
  const [input, cached] = ["input", "cacheRead"].map((name) => Number(at(message, "usage", name)));
  const failure = at(message, "errorMessage");
  if (failure !== undefined) throw new Error(`A turn failed: ${failure}`);
  const content = (at(message, "content") ?? []) as Json[];
  return {
    prompt: (input ?? 0) + (cached ?? 0),
    cached: cached ?? 0,
    blocks: content.map(({ type }) => String(type)),
  };
}
