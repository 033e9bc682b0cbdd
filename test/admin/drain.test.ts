import { expect, test } from "vitest";
import { drainsRequests } from "../../admin/drain.ts";
import { byPath, cannedServer } from "../support/canned.ts";

const { signal } = new AbortController();

const swap = async (version: string | undefined) =>
  (await cannedServer(byPath({ "/api/version": version === undefined ? 404 : { version } }))).swap;

test.each([
  ["v218", true],
  ["v250", true],
  ["local_0bdb3720", true],
  ["v217", false],
  [undefined, false],
])("whether a restart of llama-swap %s waits for its requests: %s", async (version, waits) => {
  expect(await drainsRequests(await swap(version), signal)).toBe(waits);
});

test("another server does not", async () => {
  const props = { default_generation_settings: {} };
  const { swap } = await cannedServer(
    byPath({ "/running": 404, "/v1/models": { data: [] }, "/props": props }),
  );
  expect(await drainsRequests(swap, signal)).toBe(false);
});
