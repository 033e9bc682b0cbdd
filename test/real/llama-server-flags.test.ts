import { expect, test } from "vitest";
import { contextPerSlot, findContext, planContextChange } from "../../host/config/config-file.ts";
import { judgeContext } from "../../host/probe.ts";
import { llamaServerProblem, startLlamaServer } from "../support/llama-server.ts";
import { realSuite } from "../support/programs.ts";
import { at } from "../support/rpc.ts";
import { TRAINED_CONTEXT } from "../support/tiny-model.ts";

const config = (args: string): string => `models:\n  a:\n    cmd: llama-server -m a.gguf ${args}\n`;

/** What a real llama-server that is started with these arguments gives to one request. */
async function window(args: string): Promise<number> {
  const server = await startLlamaServer({ args: args.split(" ") });
  try {
    const props: unknown = await (await fetch(`${server.url}/props`)).json();
    return Number(at(props, "default_generation_settings", "n_ctx"));
  } finally {
    await server.stop();
  }
}

realSuite(llamaServerProblem(), "the flags of a real llama-server", () => {
  test.each([
    "-c 16384 -np 4 --kv-unified-per-slot 2000",
    "-c 1024 -np 4 --kv-unified-per-slot 2048",
    "-c 16384 --kv-unified --kv-unified-per-slot 2048",
    "--ctx_size 4000 -np 1",
  ])("%s: a request gets what is read in them", async (args) => {
    const tokens = await window(args);
    const { tokens: asked = 0, slots } = findContext(config(args), "yaml", "a");
    expect(contextPerSlot(asked, slots)).toBe(tokens);
    const live = { tokens, trained: TRAINED_CONTEXT };
    expect(judgeContext(asked, `llama-server ${args}`, live)).toMatchObject({
      kind: "as asked",
      expected: tokens,
    });
  });

  test.each(["-ctx-size 4096", "--ctx 4096", "--n-ctx 4096", "--max-model-len 4096"])(
    "does not start with %s, which is refused here too",
    async (args) => {
      await expect(window(args)).rejects.toThrow(`invalid argument: ${args.split(" ")[0]}`);
      expect(() => planContextChange(config(args), "yaml", "a", 8192)).toThrow("has no flag");
    },
  );

  test("does not start with a number after an equals sign, and none is written so", async () => {
    await expect(window("--ctx-size=4096")).rejects.toThrow("invalid argument: --ctx-size=4096");
    expect(planContextChange(config("--temp=1 --port=1"), "yaml", "a", 8192).text).toContain(
      " --ctx-size 8192",
    );
    expect(planContextChange(config("--ctx-size=4096"), "yaml", "a", 8192).warnings).toEqual([
      'llama-server does not start with "--ctx-size=…": it takes the number after a space.',
    ]);
  });
});
