import { afterEach, describe, expect, test } from "vitest";
import { type ConfigFormat, findContexts, planContextChange } from "../../host/config/config-file.ts";
import { type Sim, startSim } from "../../sim/server.ts";
import { docsBlock } from "../support/docs.ts";

const QWEN = "Qwen_Qwen3.6-35B-A3B-Q8_0";
const MINIMAX = "MiniMax-M2.7-IQ3_XXS";
const ADDED = "Qwen3-Coder-30B";

const config = docsBlock("server.md", "config");
const preset = docsBlock("server.md", "preset");

/** The configuration with the block of a new model at the end of `models:`. */
const extended = config.replace("\nhooks:", `\n${docsBlock("server.md", "add")}\nhooks:`);

let sim: Sim | undefined;
afterEach(() => sim?.close());

async function serve(text: string): Promise<Sim> {
  sim = await startSim({ config: text, tls: "none", speed: 1000 });
  return sim;
}

const SIZES = [
  [QWEN, 262144],
  [MINIMAX, 131072],
] as const;

describe.each<[string, ConfigFormat, string, readonly (readonly [string, number])[]]>([
  ["the configuration", "yaml", config, SIZES],
  ["the configuration with a model added", "yaml", extended, [...SIZES, [ADDED, 131072]]],
  ["the router's preset", "ini", preset, SIZES],
])("%s", (_what, format, text, sizes) => {
  test("has every model's context size where it can be found", () => {
    const found = findContexts(text, format);
    expect(found.map(({ model, tokens, problem }) => [model, tokens, problem])).toEqual(
      sizes.map(([model, tokens]) => [model, tokens, undefined]),
    );
  });

  test.each(sizes)("lets the context size of %s be changed, with all that follows", (id, tokens) => {
    const { text: changed, warnings } = planContextChange(text, format, id, 65536);
    expect(changed).not.toBe(text);
    expect(changed.replaceAll("65536", String(tokens))).toBe(text);
    expect(warnings).toEqual([]);
  });
});

test("the documented configuration starts, preloads one model, and declares both", async () => {
  const { url } = await serve(config);
  const models: unknown = await (await fetch(`${url}/v1/models`)).json();
  expect(models).toMatchObject({
    data: [
      { id: MINIMAX, context_length: 131072 },
      { id: QWEN, context_length: 262144 },
    ],
  });
  await expect.poll(() => sim?.starts, { timeout: 10_000 }).toEqual({ [QWEN]: 1 });
  const loaded = await fetch(`${url}/upstream/${MINIMAX}/health`);
  expect(loaded.status).toBe(200);
  const running: unknown = await (await fetch(`${url}/running`)).json();
  expect(running).toMatchObject({
    running: [
      {
        model: MINIMAX,
        ttl: 1800,
        cmd: expect.stringMatching(/^\/home\/\S+ --port \d+ --jinja [\s\S]*\n-m \S+00001-of-00003\.gguf/),
      },
    ],
  });
});

test("a documented peer's model is listed, answers, and loads nothing here", async () => {
  const peers = docsBlock("several-machines.md", "peers");
  const { url } = await serve(`${config.replace(/\nhooks:[\s\S]*/, "")}\n${peers}`);
  const id = `office/${MINIMAX}`;
  const models: unknown = await (await fetch(`${url}/v1/models`)).json();
  expect(models).toMatchObject({
    data: expect.arrayContaining([
      expect.objectContaining({ id, meta: { llamaswap: { type: "peer", peerID: "office" } } }),
    ]),
  });
  const body = JSON.stringify({ model: id, messages: [{ role: "user", content: "Hi" }] });
  const headers = { "content-type": "application/json" };
  expect((await fetch(`${url}/v1/chat/completions`, { method: "POST", headers, body })).status).toBe(200);
  expect(sim?.starts).toEqual({});
});

test("an added model loads", async () => {
  const { url } = await serve(extended);
  expect((await fetch(`${url}/upstream/${ADDED}/health`)).status).toBe(200);
});

test("a model that declares itself as documented is listed with its declarations, and not loaded", async () => {
  const { url } = await serve(docsBlock("models.md", "declare"));
  const models: unknown = await (await fetch(`${url}/v1/models`)).json();
  expect(models).toMatchObject({
    data: [
      {
        id: "Qwen3.6-35B",
        context_length: 131072,
        meta: { llamaswap: { thinking: "switch", max_output_tokens: 32768, keeps_thinking: false } },
      },
    ],
  });
  expect(sim?.starts).toEqual({});
});

test("without --port the documented configuration does not start", async () => {
  const broken = config.replace(`--port \${PORT}`, "");
  await expect(startSim({ config: broken, tls: "none" })).rejects.toThrow(/PORT/);
});

test("the documented unit is stopped more patiently than llama-swap stops itself, in 35 s", () => {
  const seconds = /^TimeoutStopSec=(\d+)$/m.exec(docsBlock("server.md", "unit"))?.[1];
  expect(Number(seconds)).toBeGreaterThan(35);
});
