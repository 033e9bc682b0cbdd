import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { readConfig } from "../../config.ts";
import { Http, readText } from "../../server/http/http.ts";
import { readChatRequest, renderPrompt } from "../../sim/chat-request.ts";
import { readBehaviour } from "../../sim/flags.ts";
import { type RequestRecord, type Sim, startSim } from "../../sim/server.ts";
import { writeCertificates } from "./certificates.ts";
import { silentServer, type TcpServer } from "./network.ts";
import { at } from "./rpc.ts";

const COMMAND = `llama-server --port \${PORT} --load 0.2`;

/** Models that between them have what the suites on real pi need; the id of the last has every odd character. */
const CONFIG = `
models:
  thinker:
    cmd: ${COMMAND} -m /models/thinker.gguf --ctx-size 65536 --token-rate 5000
    metadata: { context_length: 65536, thinking: true }
  seer:
    cmd: ${COMMAND} -m /models/seer.gguf --ctx-size 32768 --mmproj /models/seer-mmproj.gguf --no-reasoning
    capabilities: { in: [text, image], out: [text], context: 32768 }
  slow:
    cmd: ${COMMAND} -m /models/slow.gguf --ctx-size 65536 --token-rate 60 --no-reasoning
    metadata: { context_length: 65536 }
  small:
    cmd: ${COMMAND} -m /models/small.gguf --ctx-size 16384 --no-reasoning
    metadata: { context_length: 16384 }
  bge-embedding:
    cmd: ${COMMAND} -m /models/bge.gguf --embedding
  "org/Größe:Q4":
    cmd: ${COMMAND} -m /models/groesse.gguf --ctx-size 32768 --no-reasoning
    metadata: { context_length: 32768 }
`;

const COMMANDS = new Map(
  [...CONFIG.matchAll(/^ {2}"?([^\s"].*?)"?:\n {4}cmd: (.*)$/gm)].map(([, id, cmd]) => [id, cmd]),
);

/** The body of a chat request, as far as the suites look into it. */
export interface ChatBody {
  model: string;
  messages: { role: string; content?: unknown; tool_calls?: unknown }[];
}

/** The stand-in on a fixed port with the models above, which can go away and come back. */
export class StandIn {
  /** The ids of the models that can chat, in the server's order. */
  readonly modelIds = ["org/Größe:Q4", "seer", "slow", "small", "thinker"];
  readonly url: string;
  /** The variables of a client with the right certificate. */
  readonly env: Record<string, string>;
  private sim: Sim;
  private readonly tls: "mutual" | "none";
  private readonly folder: string;

  constructor(sim: Sim, tls: "mutual" | "none", folder: string) {
    this.sim = sim;
    this.tls = tls;
    this.folder = folder;
    this.url = sim.url;
    this.env = { AI_SERVER_URL: sim.url, AI_SERVER_CERTS_DIR: sim.certsDir };
  }

  /** Every request since the server last started. */
  get requests(): readonly RequestRecord[] {
    return this.sim.requests;
  }

  chats(): RequestRecord[] {
    return this.sim.requests.filter((request) => request.path.endsWith("/v1/chat/completions"));
  }

  lastChat(): ChatBody {
    const last = this.chats().at(-1);
    if (!last) throw new Error("The stand-in got no chat request");
    return JSON.parse(last.body) as ChatBody;
  }

  /** How many tokens the last request's prompt had, by the stand-in's own tokenizer. */
  lastPromptTokens(): number {
    const body = this.lastChat();
    const behaviour = readBehaviour(COMMANDS.get(body.model) ?? "");
    return renderPrompt(readChatRequest(JSON.stringify(body), behaviour)).length;
  }

  /** The ids of the models that are loaded or loading. */
  async running(): Promise<unknown[]> {
    const answer = await this.ask((http) => http.json("/running", { timeoutMs: 5_000 }));
    const list = at(answer, "running");
    return Array.isArray(list) ? list.map((entry: unknown) => at(entry, "model")) : [];
  }

  async unloadAll(): Promise<void> {
    await this.ask(async (http) => {
      const { body } = await http.request({ method: "POST", path: "/api/models/unload" });
      await readText(body, 1_000);
    });
  }

  /** Runs `body` while nothing listens on the port. */
  async whileDown(body: () => Promise<void>): Promise<void> {
    await this.sim.close();
    try {
      await body();
    } finally {
      await this.restart();
    }
  }

  /** Runs `body` while connections are taken and never answered. */
  async whileSilent(body: (silent: TcpServer) => Promise<void>): Promise<void> {
    await this.sim.close();
    const silent = await silentServer(Number(new URL(this.url).port));
    try {
      await body(silent);
    } finally {
      await silent.stop();
      await this.restart();
    }
  }

  /** Runs `body` on a changed config.yaml. */
  async withConfig(change: (yaml: string) => string, body: () => Promise<void>): Promise<void> {
    await this.configure(change(CONFIG));
    try {
      await body();
    } finally {
      await this.configure(CONFIG);
    }
  }

  async stop(): Promise<void> {
    await this.sim.close();
    await rm(this.folder, { recursive: true, force: true });
  }

  private async configure(yaml: string): Promise<void> {
    await writeFile(join(this.folder, "config.yaml"), yaml);
    await this.sim.reload();
  }

  private async restart(): Promise<void> {
    const port = Number(new URL(this.url).port);
    this.sim = await startSim({ dir: this.folder, port, tls: this.tls });
  }

  private async ask<T>(use: (http: Http) => Promise<T>): Promise<T> {
    const http = new Http(readConfig(this.env, {}, this.folder));
    try {
      return await use(http);
    } finally {
      await http.close();
    }
  }
}

/** Starts it behind mutual TLS, or as plain http for a suite that puts Caddy in front. */
export async function startStandIn(options: { tls?: "mutual" | "none" } = {}): Promise<StandIn> {
  const { tls = "mutual" } = options;
  const folder = await mkdtemp(join(tmpdir(), "stand-in-test-"));
  await writeCertificates(join(folder, "certs"));
  return new StandIn(await startSim({ dir: folder, config: CONFIG, tls }), tls, folder);
}
