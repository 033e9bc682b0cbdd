import { conforms } from "../conformance/checks.ts";
import type { Standing } from "../conformance/sites.ts";
import { startLlamaSwap } from "../support/llama-swap.ts";
import { SCRIPTS } from "../support/tiny-model.ts";

const program = process.env.LLAMA_SWAP;
if (!program) throw new Error("LLAMA_SWAP is not set: it names the llama-swap to test against");

/** A build of one's own counts as the newest. */
const release = Number(/v(\d+)$/.exec(program)?.[1] ?? Number.POSITIVE_INFINITY);

const CONFIG = `
healthCheckTimeout: 15
models:
  large: { cmd: "serve --port \${PORT} -c 16384 -np 1" }
  small: { cmd: "serve --port \${PORT} -c 32768 -np 2" }
  hidden: { cmd: "serve --port \${PORT}", unlisted: true }
`;

async function start({ apiKeys = [] }: { apiKeys?: string[] }): Promise<Standing> {
  const keys = apiKeys.length === 0 ? "" : `apiKeys: ${JSON.stringify(apiKeys)}\n`;
  const swap = await startLlamaSwap(program ?? "", keys + CONFIG);
  return {
    env: { AI_SERVER_URL: swap.url, AI_SERVER_LOOP_GUARD: "off" },
    loads: swap.starts,
    stop: swap.stop,
    close: swap.stop,
  };
}

conforms({
  title: `a real llama-swap, ${program}`,
  start,
  kind: "llama-swap",
  name: "llama-swap",
  version: /llama-swap/,
  ids: ["large", "small"],
  id: "small",
  first: { state: "unloaded", context: [32_768, "default"] },
  after: { state: "ready", context: [16_384, "live"] },
  loadsAtStart: 0,
  canLoad: true,
  // Before v218 the first request after a load keeps the model from answering anything else.
  sees: release >= 235 ? "events" : release >= 218 ? "slots" : "unknown",
  hasKeys: release >= 179,
  endless: SCRIPTS.endless.cue,
  isSlowToLoad: false,
});
