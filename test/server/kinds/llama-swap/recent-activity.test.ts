import { expect, test } from "vitest";
import { parseActivity, readRecentActivity } from "../../../../server/kinds/llama-swap/metrics.ts";
import { ModelServer } from "../../../../server/model-server.ts";
import { startSim } from "../../../../sim/server.ts";
import { byPath, cannedServer, recordedAnswer } from "../../../support/canned.ts";
import { clientOf, faultOf, kept } from "../../../support/wire.ts";

const PATH = "/api/metrics/activity?limit=50";
const never = new AbortController().signal;
const row = (model: unknown, tokens: unknown): object => ({ id: 1, model, tokens });

test("the recorded llama-swap's rows are turned round, and what it did not measure is not claimed", async () => {
  const { swap } = await cannedServer(byPath({ [PATH]: recordedAnswer("head", "190-activity") }));
  const base = { model: "one-at-a-time" };
  const nothing = { promptRate: undefined, generationRate: undefined };
  const one = { ...base, promptTokens: 3, outputTokens: 1, promptRate: 600, generationRate: undefined };
  expect(await readRecentActivity(swap, never)).toEqual([
    one,
    { ...base, promptTokens: undefined, outputTokens: undefined, ...nothing },
    one,
  ]);
});

test.each([
  ["v217, which has no such route", recordedAnswer("v217", "015-api-metrics-activity"), undefined],
  ["one that has answered nothing", recordedAnswer("head", "015-api-metrics-activity"), []],
  ["a page of another server's", { status: 200, headers: {}, body: "<p>" }, undefined],
])("%s", async (_, answer, read) => {
  const { swap } = await cannedServer(byPath({ [PATH]: answer }));
  expect(await readRecentActivity(swap, never)).toEqual(read);
});

test("a fault of the server is one", async () => {
  const { swap } = await cannedServer(byPath({ [PATH]: 500 }));
  expect((await faultOf(readRecentActivity(swap, never))).status).toBe(500);
});

test.each([[undefined], [[]], [{}], [{ data: {} }]])("%j is no answer", (answer) => {
  expect(parseActivity(answer)).toBeUndefined();
});

test("rows that are none are passed over, and no more than 50 are read", () => {
  const rows = [
    null,
    7,
    row("a\u001b[2J", {}),
    row("a", undefined),
    row(5, {}),
    row("a", { input_tokens: 9 }),
  ];
  expect(parseActivity({ data: rows })).toEqual([
    {
      model: "a",
      promptTokens: 9,
      outputTokens: undefined,
      promptRate: undefined,
      generationRate: undefined,
    },
  ]);
  expect(parseActivity({ data: Array(500).fill(row("a", {})) })).toHaveLength(50);
});

test("the stand-in reports what its models have measured", async () => {
  const config = `models:\n  a: { cmd: "llama-server --port \${PORT} --no-reasoning --token-rate 1000" }\n`;
  const sim = await kept(startSim({ config, speed: 50 }));
  const swap = await kept(new ModelServer(clientOf(sim.url, sim.certsDir)));
  const body = JSON.stringify({
    model: "a",
    messages: [{ role: "user", content: "sim: tokens 20" }],
    stream: true,
  });
  const { body: stream } = await swap.chat(body, {}, never);
  for await (const _ of stream);
  await expect.poll(() => readRecentActivity(swap, never)).toHaveLength(1);
  const [answered] = (await readRecentActivity(swap, never)) ?? [];
  expect(answered).toMatchObject({ model: "a", outputTokens: 20 });
  expect(answered?.generationRate).toBeGreaterThan(0);
});
