import { rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type Clock, makeClock } from "../clock.ts";
import { Door, type DoorOptions, type Failure } from "../door.ts";
import type { Exchange, RequestRecord } from "../http.ts";
import { LlamaError, replyLlamaError } from "../llama-replies.ts";
import { inFolder, type StandInServer } from "../server.ts";
import { ProcessGone } from "../upstream.ts";
import type { Kind, Surroundings } from "./kind.ts";
import { LlamaServer } from "./llama-server.ts";
import { LmStudio } from "./lm-studio.ts";
import { Ollama } from "./ollama.ts";
import { Plain } from "./plain.ts";
import { Router } from "./router.ts";
import { Vllm } from "./vllm.ts";

/** Every kind of server except llama-swap; `html` answers unknown routes with a page and 200. */
export type KindName =
  | "router"
  | "llama-server"
  | "vllm"
  | "ollama"
  | "lm-studio"
  | "lm-studio-0.3"
  | "plain"
  | "html";

export interface KindOptions extends DoorOptions {
  /** Holds the certificates, and a router's `preset.ini`. Default: a temporary one, removed by close(). */
  dir?: string;
  /** Flags as in `sim/flags.ts` by model id; a llama-server has the first. Not for a router. */
  models?: Readonly<Record<string, string>>;
  /** Text of a router's preset file. */
  preset?: string;
  /** `--models-max` of a router. Default 1. */
  maximum?: number;
  /** Where a router downloads models from: the address of a stand-in for Hugging Face. */
  hub?: string;
  /** How many times faster than real time models load, read and speak. Default 1. */
  speed?: number;
  apiKeys?: string[];
}

/** A running stand-in of one of these kinds. */
export interface KindSim extends StandInServer {
  /** The router's preset file. */
  readonly presetPath: string;
  /** Lets a llama-server's or router's model sleep, as it does after `--sleep-idle-seconds`. */
  sleep(id: string): void;
}

const MODELS = {
  small: "--ctx-size 8192 --n-ctx-train 32768 --load 0.2 --no-reasoning",
  thinker: "--ctx-size 32768 --n-ctx-train 131072 --load 0.2",
};

const PRESET = `[*]
load = 0.2
n-ctx-train = 32768

[small]
model = /models/small.gguf
ctx-size = 8192
no-reasoning = true

[thinker]
model = /models/thinker.gguf
ctx-size = 32768
alias = mind
`;

/** Starts a stand-in of this kind on 127.0.0.1, behind the same TLS as that of llama-swap. */
export function startKindSim(name: KindName, options: KindOptions = {}): Promise<KindSim> {
  return inFolder(options, async (dir, certsDir) => {
    if (name === "router") writeFileSync(join(dir, "preset.ini"), options.preset ?? PRESET);
    const running = new RunningKind(name, dir, certsDir, options);
    await running.listen();
    return running;
  });
}

function makeKind(name: KindName, presetPath: string, options: KindOptions, around: Surroundings): Kind {
  const { models = MODELS, maximum = 1, hub } = options;
  const [id = "", flags = ""] = Object.entries(models)[0] ?? [];
  switch (name) {
    case "router":
      return new Router(presetPath, maximum, around, hub);
    case "llama-server":
      return new LlamaServer(id, flags, around);
    case "vllm":
      return new Vllm(models, around);
    case "ollama":
      return new Ollama(models, around);
    case "lm-studio":
    case "lm-studio-0.3":
      return new LmStudio(models, around, name === "lm-studio-0.3");
    case "plain":
    case "html":
      return new Plain(models, around, name === "html");
  }
}

class RunningKind implements KindSim {
  readonly dir: string;
  readonly certsDir: string;
  readonly presetPath: string;
  readonly starts: Record<string, number> = {};
  readonly #options: KindOptions;
  readonly #clock: Clock;
  readonly #kind: Kind;
  readonly #door: Door;

  constructor(name: KindName, dir: string, certsDir: string, options: KindOptions) {
    this.dir = dir;
    this.certsDir = certsDir;
    this.presetPath = join(dir, "preset.ini");
    this.#options = options;
    this.#clock = makeClock(options.speed ?? 1);
    this.#kind = makeKind(name, this.presetPath, options, {
      clock: this.#clock,
      started: (id) => {
        this.starts[id] = (this.starts[id] ?? 0) + 1;
      },
    });
    this.#door = new Door(
      certsDir,
      options,
      (exchange) => this.#handle(exchange),
      () => {},
    );
  }

  get url(): string {
    return this.#door.url;
  }

  get port(): number {
    return this.#door.port;
  }

  get requests(): RequestRecord[] {
    return this.#door.requests;
  }

  listen(): Promise<void> {
    return this.#door.listen();
  }

  failNext(failure: Failure): void {
    this.#door.failNext(failure);
  }

  setSpeed(speed: number): void {
    this.#clock.setSpeed(speed);
  }

  sleep(id: string): void {
    this.#kind.sleep?.(id);
  }

  async close(): Promise<void> {
    await this.#kind.close();
    await this.#door.close();
    if (this.#options.dir === undefined) rmSync(this.dir, { recursive: true, force: true });
  }

  async #handle(exchange: Exchange): Promise<void> {
    const [path = "/", query] = exchange.path.split("?");
    const { routes, unknown, unauthorized, open } = this.#kind;
    const { apiKeys = [] } = this.#options;
    const [, key = ""] = exchange.headers.authorization?.split(" ") ?? [];
    if (apiKeys.length > 0 && !open.includes(path) && !apiKeys.includes(key)) return unauthorized(exchange);
    const method = exchange.method === "HEAD" ? "GET" : exchange.method;
    const handle = routes[`${method} ${path}`] ?? unknown;
    try {
      await handle(exchange, new URLSearchParams(query));
    } catch (error) {
      if (error instanceof ProcessGone) exchange.response.destroy();
      else if (error instanceof LlamaError) replyLlamaError(exchange, error);
      else throw error;
    }
  }
}
