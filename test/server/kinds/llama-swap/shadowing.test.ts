import { expect, test } from "vitest";
import { shadowingModel } from "../../../../server/kinds/llama-swap/llama-swap.ts";
import { byPath, cannedServer, recordedAnswer } from "../../../support/canned.ts";
import { faultOf } from "../../../support/wire.ts";

const limit = (): AbortSignal => AbortSignal.timeout(5000);

test("looks for no other model where the id has no slash", async () => {
  const { swap, requests } = await cannedServer(byPath({}));
  expect(await shadowingModel(swap, "org", limit())).toBeUndefined();
  expect(requests).toEqual([]);
});

test.each(["v170", "v217"] as const)("llama-swap %s routes org/slash-model to org", async (version) => {
  const answers = {
    "/v1/models": recordedAnswer(version, "004-v1-models"),
    "/api/version": recordedAnswer(version, "003-version"),
    "/running": recordedAnswer(version, "006-running-empty"),
  };
  const { swap } = await cannedServer(byPath(answers));
  expect(await shadowingModel(swap, "org/slash-model", limit())).toBe("org");
  expect(await shadowingModel(swap, "sp ace/ünï", limit())).toBeUndefined();
});

test("a newer llama-swap routes to the longest id", async () => {
  const { swap, requests } = await cannedServer(
    byPath({ "/v1/models": recordedAnswer("head", "004-v1-models") }),
  );
  expect(await shadowingModel(swap, "org/slash-model", limit())).toBeUndefined();
  expect(requests).toEqual(["GET /v1/models"]);
});

test("fails where the list of models cannot be read", async () => {
  const { swap } = await cannedServer(byPath({ "/v1/models": 503 }));
  expect((await faultOf(shadowingModel(swap, "a/b", limit()))).message).toContain("HTTP 503");
});
