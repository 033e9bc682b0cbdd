import { expect, test } from "vitest";
import { mistakenFor } from "../../server/meant-model.ts";
import { byPath, cannedServer, recordedAnswer } from "../support/canned.ts";
import { faultOf } from "../support/wire.ts";

const limit = (): AbortSignal => AbortSignal.timeout(5000);

test("an id without a slash is asked for nowhere", async () => {
  const { swap, requests } = await cannedServer(byPath({}));
  expect(await mistakenFor(swap, "org", limit())).toBeUndefined();
  expect(requests).toEqual([]);
});

test.each(["v170", "v217"] as const)("llama-swap %s takes org/slash-model for org", async (version) => {
  const answers = {
    "/v1/models": recordedAnswer(version, "004-v1-models"),
    "/api/version": recordedAnswer(version, "003-version"),
    "/running": recordedAnswer(version, "006-running-empty"),
  };
  const { swap } = await cannedServer(byPath(answers));
  expect(await mistakenFor(swap, "org/slash-model", limit())).toBe("org");
  expect(await mistakenFor(swap, "sp ace/ünï", limit())).toBeUndefined();
});

test("a newer one takes the longest id", async () => {
  const { swap, requests } = await cannedServer(
    byPath({ "/v1/models": recordedAnswer("head", "004-v1-models") }),
  );
  expect(await mistakenFor(swap, "org/slash-model", limit())).toBeUndefined();
  expect(requests).toEqual(["GET /v1/models"]);
});

test("without a list nothing is claimed", async () => {
  const { swap } = await cannedServer(byPath({ "/v1/models": 503 }));
  expect((await faultOf(mistakenFor(swap, "a/b", limit()))).message).toContain("HTTP 503");
});
