import { expect, test } from "vitest";
import { startSim } from "../../sim/server.ts";
import { recordedAnswer } from "../support/canned.ts";
import { Client } from "../support/sim-client.ts";
import { kept } from "../support/wire.ts";

const CONFIG = `models:
  a: { cmd: "llama-server --port \${PORT} --no-reasoning" }
  b: { cmd: "llama-server --port \${PORT} --no-reasoning" }
`;

const recorded = (name: string): unknown => JSON.parse(recordedAnswer("head", name).body);

/** The same with the type of each value in its place. */
function shapeOf(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(shapeOf);
  if (typeof value !== "object" || value === null) return typeof value;
  return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, shapeOf(inner)]));
}

test("is the recorded one while nothing was answered, and has the recorded rows then", async () => {
  const sim = await kept(startSim({ config: CONFIG, speed: 100 }));
  const client = await kept(new Client(sim));
  const activity = async (query = ""): Promise<Record<string, unknown>> =>
    JSON.parse((await client.send(`/api/metrics/activity${query}`)).body) as Record<string, unknown>;
  expect(await activity()).toEqual(recorded("015-api-metrics-activity"));
  for (const model of ["a", "b", "a"]) {
    const body = JSON.stringify({ model, messages: [{ role: "user", content: "sim: tokens 3" }] });
    await client.send("/v1/chat/completions", {
      method: "POST",
      headers: { "content-type": "application/json" },
      body,
    });
  }
  await expect.poll(async () => (await activity()).total).toBe(3);
  const page = await activity("?limit=2");
  expect(page).toMatchObject({ page: 1, limit: 2, total: 3, total_pages: 2 });
  const { data } = recorded("190-activity") as { data: Record<string, unknown>[] };
  const { metadata: _, ...row } = data[0] ?? {};
  expect(shapeOf((page.data as unknown[])[0])).toEqual(shapeOf(row));
  const ids = (answer: Record<string, unknown>): unknown[] =>
    (answer.data as { id: number }[]).map(({ id }) => id);
  expect([ids(page), ids(await activity("?limit=2&page=2")), ids(await activity("?model=b"))]).toEqual([
    [3, 2],
    [1],
    [2],
  ]);
});
