import { expect, test } from "vitest";
import { drainOf, drainWords } from "../../commands/drain.ts";
import type { Preview } from "../../host/outcome.ts";
import { byPath, cannedServer } from "../server/canned.ts";

const { signal } = new AbortController();
const SENTENCE =
  "From then on llama-swap refuses new requests and lets those in flight go on for up to 30 s, so that the restart may take 35 s more.";

const swap = async (version: string | undefined) =>
  (await cannedServer(byPath({ "/api/version": version === undefined ? 404 : { version } }))).swap;

test.each([
  ["v218", [SENTENCE]],
  ["v250", [SENTENCE]],
  ["local_0bdb3720", [SENTENCE]],
  ["v217", []],
  [undefined, []],
])("the drain of llama-swap %s before a restart", async (version, lines) => {
  expect(await drainWords(await swap(version), signal)).toEqual(lines);
});

test("another server has none", async () => {
  const props = { default_generation_settings: {} };
  const { swap } = await cannedServer(
    byPath({ "/running": 404, "/v1/models": { data: [] }, "/props": props }),
  );
  expect(await drainWords(swap, signal)).toEqual([]);
});

test.each([
  [{}, 1],
  [{ loaded: [] }, 0],
  [{ reloads: true }, 0],
  [{ unit: { watchesConfig: true } }, 0],
])("a change with %j has %i lines of it", async (more, count) => {
  const preview = { loaded: [{ id: "a" }], unit: { watchesConfig: false }, reloads: false, ...more };
  const waiting = { signal, say: () => {}, ask: <T>(dialog: () => Promise<T>) => dialog() };
  expect(await drainOf({ waiting }, await swap("v250"), preview as unknown as Preview)).toHaveLength(count);
});
