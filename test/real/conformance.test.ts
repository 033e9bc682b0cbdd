import { afterAll } from "vitest";
import { ModelServer } from "../../server/model-server.ts";
import { conforms } from "../conformance/checks.ts";
import type { Standing } from "../conformance/sites.ts";
import {
  type LlamaServer,
  llamaServerProblem,
  startLlamaServer,
  startRouter,
  TINY_ID,
  TINY_MODEL,
} from "../support/llama-server.ts";
import { realSuite } from "../support/programs.ts";
import { at } from "../support/rpc.ts";
import { SCRIPTS } from "../support/tiny-model.ts";
import { clientOf } from "../support/wire.ts";

const PRESET = `version = 1
[*]
threads = 1
[large]
model = ${TINY_MODEL}
ctx-size = 8192
parallel = 1
[small]
model = ${TINY_MODEL}
ctx-size = 32768
parallel = 2
[empty]
ctx-size = 4096
`;

/** The states of a server's models, by id; none where the list has none. */
async function statesOf({ url }: LlamaServer): Promise<Map<string, unknown>> {
  const client = new ModelServer(clientOf(url, "/nowhere"));
  try {
    const answer = await client.http.json("/v1/models", { timeoutMs: 5000 });
    const data = at(answer, "data") as unknown[];
    return new Map(data.map((entry) => [String(at(entry, "id")), at(entry, "status", "value")]));
  } finally {
    await client.close();
  }
}

/**
 * Servers that are used one after another: starting one takes longer than most tests. One that a test ends, or that
 * asks for keys, is its own.
 */
class Shared {
  readonly #start: (args: readonly string[]) => Promise<LlamaServer>;
  #server: LlamaServer | undefined;

  constructor(start: (args: readonly string[]) => Promise<LlamaServer>) {
    this.#start = start;
  }

  async stand(apiKeys: readonly string[]): Promise<Standing> {
    const isOwn = apiKeys.length > 0;
    const server = isOwn ? await this.#start(["--api-key", apiKeys.join(",")]) : await this.#use();
    let isStopped = false;
    const stop = async (): Promise<void> => {
      if (isStopped) return;
      isStopped = true;
      if (!isOwn) this.#server = undefined;
      await server.stop();
    };
    return {
      env: { AI_SERVER_URL: server.url, AI_SERVER_LOOP_GUARD: "off" },
      loads: async () =>
        [...(await statesOf(server)).values()].filter((state) => state !== "unloaded").length,
      stop,
      close: async () => (isOwn || isStopped ? stop() : this.#unloadAll(server)),
    };
  }

  async end(): Promise<void> {
    await this.#server?.stop();
  }

  async #use(): Promise<LlamaServer> {
    this.#server ??= await this.#start([]);
    return this.#server;
  }

  async #unloadAll(server: LlamaServer): Promise<void> {
    const client = new ModelServer(clientOf(server.url, "/nowhere"));
    try {
      const backend = await client.backend();
      await backend.unload?.(undefined, AbortSignal.timeout(5000));
      while (backend.unload && ((await client.runningNow()) ?? []).length > 0) {
        await new Promise((resolve) => setTimeout(resolve, 20));
      }
    } finally {
      await client.close();
    }
  }
}

realSuite(llamaServerProblem(), "a real llama-server", () => {
  const shared = new Shared((args) => startLlamaServer({ args: ["-np", "2", "-c", "32768", ...args] }));
  afterAll(() => shared.end());
  conforms({
    title: "with one model",
    start: ({ apiKeys = [] }) => shared.stand(apiKeys),
    kind: "llama-server",
    name: "llama-server",
    version: /llama-server \S+/,
    ids: [TINY_ID],
    id: TINY_ID,
    first: { state: "ready", context: [16_384, "live"] },
    after: { state: "ready", context: [16_384, "live"] },
    loadsAtStart: 1,
    canLoad: false,
    sees: "slots",
    hasKeys: true,
    endless: SCRIPTS.endless.cue,
    isSlowToLoad: false,
  });
});

realSuite(llamaServerProblem(), "a real llama.cpp router", () => {
  const shared = new Shared((args) => startRouter({ preset: PRESET, args }));
  afterAll(() => shared.end());
  conforms({
    title: "with a preset",
    start: ({ apiKeys = [] }) => shared.stand(apiKeys),
    kind: "router",
    name: "llama.cpp's router",
    version: /llama\.cpp's router \S+/,
    ids: ["empty", "large", "small"],
    id: "small",
    first: { state: "unloaded", context: [16_384, "command line"] },
    after: { state: "ready", context: [16_384, "live"] },
    loadsAtStart: 0,
    canLoad: true,
    sees: "slots",
    hasKeys: true,
    endless: SCRIPTS.endless.cue,
    isSlowToLoad: false,
  });
});
