import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { onTestFinished } from "vitest";
import type { BackendKind } from "../../server/kinds/backend.ts";
import type { ModelState, Source } from "../../server/models/models.ts";
import type { KindName, KindOptions } from "../../sim/kinds/server.ts";
import { startSim } from "../../sim/server.ts";
import { writeCertificates } from "../support/certificates.ts";
import { startKind } from "../support/kinds.ts";
import { REPLAYED_MODEL, type SwapVersion, startReplay } from "../support/replay.ts";

/** A server that stands, and what can be counted of it. */
export interface Standing {
  /** The variables that lead to it. */
  env: Record<string, string>;
  /** How often a model was loaded. */
  loads(): number | Promise<number>;
  /** Ends the server; what its clients need of files stays until `close`. */
  stop(): Promise<void>;
  close(): Promise<void>;
}

/** A context, and where it is from; `default` where it is not known. */
type Told = readonly [tokens: number, source: Source];

/** One kind of server, how to set it up, and what is true of it. */
export interface Site {
  title: string;
  /** @param options keys that the server asks for; how much faster than real time it is */
  start(options: { apiKeys?: string[]; speed: number }): Promise<Standing>;
  kind: BackendKind;
  name: string;
  /** As `/ai-server-status` shows it. */
  version: RegExp;
  /** What can be chatted with, in the server's order. */
  ids: readonly string[];
  /** The model that the suite uses. */
  id: string;
  /** Before anything was asked of it. */
  first: { state: ModelState; context: Told };
  /** When it has answered a chat. */
  after: { state: ModelState; context: Told };
  /** Loads before the first request: a server that loads its model when it starts. */
  loadsAtStart: number;
  canLoad: boolean;
  /** Whether the requests under way can be seen, and where. */
  sees: "events" | "slots" | "unknown";
  /** Whether it asks for a key when it is given some. */
  hasKeys: boolean;
  /** What a model is asked for an answer that does not end by itself; undefined where none is. */
  endless: string | undefined;
  /** Whether a load takes long enough to be broken off. */
  isSlowToLoad: boolean;
}

/** To a stand-in's model. */
const ENDLESS = "sim: silent 600\nsim: say late";
const WINDOWS = "--ctx-size 8192 --n-ctx-train 32768 --load 0.3 --no-reasoning";
const MODELS = { small: WINDOWS, large: "--ctx-size 32768 --n-ctx-train 131072 --load 0.3 --no-reasoning" };
const SWAP = `
models:
  large: { cmd: "llama-server --port \${PORT} ${MODELS.large}" }
  small: { cmd: "llama-server --port \${PORT} ${MODELS.small}" }
  hidden: { cmd: "llama-server --port \${PORT}", unlisted: true }
  embedder: { cmd: "llama-server --port \${PORT} --embedding", metadata: { chat: false } }
peers:
  other: { proxy: "http://127.0.0.1:1", models: [big] }
selectors:
  fast: { strategy: loaded, targets: [small, large] }
`;
const PRESET = `[*]
load = 0.3
no-reasoning = true
[large]
model = /models/large.gguf
ctx-size = 32768
n-ctx-train = 131072
[small]
model = /models/small.gguf
ctx-size = 8192
n-ctx-train = 32768
alias = little
[empty]
ctx-size = 4096
`;

async function startSwap(options: { apiKeys?: string[]; speed: number }): Promise<Standing> {
  const dir = await mkdtemp(join(tmpdir(), "conformance-test-"));
  await writeCertificates(join(dir, "certs"));
  const sim = await startSim({ dir, config: SWAP, ...options });
  let stopping: Promise<void> | undefined;
  const stop = (): Promise<void> => {
    stopping ??= sim.close();
    return stopping;
  };
  const close = async (): Promise<void> => {
    await stop();
    await rm(dir, { recursive: true, force: true });
  };
  return {
    env: { AI_SERVER_URL: sim.url, AI_SERVER_CERTS_DIR: sim.certsDir },
    loads: () => Object.values(sim.starts).reduce((sum, count) => sum + count, 0),
    stop,
    close,
  };
}

const kindOf =
  (kind: KindName, more: KindOptions): Site["start"] =>
  (options) =>
    startKind(kind, { ...more, ...options });

const UNKNOWN: Told = [32_768, "default"];
const LIVE: Told = [8192, "live"];

/** What is true of a server that has a list of models and nothing else of its own. */
const PLAIN: Omit<Site, "title" | "start" | "name" | "version"> = {
  kind: "other",
  ids: ["small", "large"],
  id: "small",
  first: { state: "unknown", context: UNKNOWN },
  after: { state: "unknown", context: UNKNOWN },
  loadsAtStart: 2,
  canLoad: false,
  sees: "unknown",
  hasKeys: true,
  endless: ENDLESS,
  isSlowToLoad: true,
};

function replayed(version: SwapVersion, shown: RegExp, after: Told): Site {
  return {
    title: `llama-swap ${version} as recorded`,
    start: async () => {
      const replay = await startReplay(version);
      return { ...replay, stop: replay.close };
    },
    kind: "llama-swap",
    name: "llama-swap",
    version: shown,
    ids: [],
    id: REPLAYED_MODEL,
    first: { state: "unloaded", context: UNKNOWN },
    after: { state: "ready", context: after },
    loadsAtStart: 0,
    canLoad: true,
    sees: "unknown",
    hasKeys: false,
    endless: undefined,
    isSlowToLoad: false,
  };
}

/** The stand-in as each kind, and the recordings of real servers. */
export const SITES: readonly Site[] = [
  {
    title: "llama-swap",
    start: startSwap,
    kind: "llama-swap",
    name: "llama-swap",
    version: /llama-swap 250/,
    ids: ["fast", "large", "other/big", "small"],
    id: "small",
    first: { state: "unloaded", context: UNKNOWN },
    after: { state: "ready", context: LIVE },
    loadsAtStart: 0,
    canLoad: true,
    sees: "events",
    hasKeys: true,
    endless: ENDLESS,
    isSlowToLoad: true,
  },
  {
    title: "llama.cpp's router",
    start: kindOf("router", { preset: PRESET }),
    kind: "router",
    name: "llama.cpp's router",
    version: /llama\.cpp's router b11669/,
    ids: ["empty", "large", "small"],
    id: "small",
    first: { state: "unloaded", context: [8192, "command line"] },
    after: { state: "ready", context: LIVE },
    loadsAtStart: 0,
    canLoad: true,
    sees: "slots",
    hasKeys: true,
    endless: ENDLESS,
    isSlowToLoad: true,
  },
  {
    title: "one llama-server",
    start: kindOf("llama-server", { models: { small: WINDOWS } }),
    kind: "llama-server",
    name: "llama-server",
    version: /llama-server b11669/,
    ids: ["small"],
    id: "small",
    first: { state: "ready", context: LIVE },
    after: { state: "ready", context: LIVE },
    loadsAtStart: 1,
    canLoad: false,
    sees: "slots",
    hasKeys: true,
    endless: ENDLESS,
    isSlowToLoad: true,
  },
  {
    ...PLAIN,
    title: "vLLM",
    start: kindOf("vllm", { models: MODELS }),
    name: "vLLM",
    version: /vLLM/,
    first: { state: "unknown", context: [8192, "declared"] },
    after: { state: "unknown", context: [8192, "declared"] },
  },
  {
    ...PLAIN,
    title: "Ollama",
    start: kindOf("ollama", { models: MODELS }),
    name: "Ollama",
    version: /Ollama 0\.12\.6/,
    first: { state: "unloaded", context: [8192, "declared"] },
    after: { state: "ready", context: LIVE },
    loadsAtStart: 0,
    canLoad: true,
    hasKeys: false,
  },
  {
    ...PLAIN,
    title: "LM Studio",
    start: kindOf("lm-studio", { models: MODELS }),
    name: "LM Studio",
    version: /LM Studio/,
    first: { state: "unloaded", context: UNKNOWN },
    after: { state: "ready", context: LIVE },
    loadsAtStart: 0,
    canLoad: true,
  },
  {
    ...PLAIN,
    title: "LM Studio 0.3",
    start: kindOf("lm-studio-0.3", { models: MODELS }),
    name: "LM Studio",
    version: /LM Studio/,
    first: { state: "unloaded", context: UNKNOWN },
    after: { state: "ready", context: LIVE },
    loadsAtStart: 0,
  },
  {
    ...PLAIN,
    title: "a server with chat/completions alone",
    start: kindOf("plain", { models: MODELS }),
    name: "The server",
    version: /· a chat\/completions server/,
  },
  {
    ...PLAIN,
    title: "a server that answers what it does not know with a page",
    start: kindOf("html", { models: MODELS }),
    name: "The server",
    version: /· a chat\/completions server/,
  },
  replayed("v170", /llama-swap$/m, UNKNOWN),
  replayed("v217", /llama-swap 217/, UNKNOWN),
  replayed("head", /llama-swap local_0bdb3720/, [16_384, "live"]),
];

/** Sets a site up until the test ends. */
export async function stand(
  site: Site,
  options: { apiKeys?: string[]; speed?: number } = {},
): Promise<Standing> {
  const standing = await site.start({ speed: 10, ...options });
  onTestFinished(() => standing.close());
  return standing;
}
