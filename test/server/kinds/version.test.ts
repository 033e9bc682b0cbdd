import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { releaseOf } from "../../../server/kinds/backend.ts";
import { byPath, cannedServer, recordedAnswer } from "../../support/canned.ts";
import { faultOf } from "../../support/wire.ts";

const PROPS: unknown = JSON.parse(
  readFileSync(new URL("../../fixtures/llama-server/s01-get-props.json", import.meta.url), "utf8"),
);

async function versionOf(answers: Record<string, unknown>): Promise<unknown[]> {
  const { swap } = await cannedServer(byPath({ "/running": 404, "/v1/models": { data: [] }, ...answers }));
  const { name, version } = await swap.version(AbortSignal.timeout(5000));
  return [name, version];
}

const RUNNING = { running: [] };

describe("the version", () => {
  test.each([
    ["head", "local_0bdb3720"],
    ["v217", "217"],
  ] as const)("of llama-swap %s is what it says", async (recording, version) => {
    const answer = recordedAnswer(recording, "003-version");
    expect(await versionOf({ "/running": RUNNING, "/api/version": answer })).toEqual(["llama-swap", version]);
  });

  test("of llama-swap v170 is not known, but its kind", async () => {
    const running = recordedAnswer("v170", "006-running-empty");
    expect(
      await versionOf({ "/api/version": recordedAnswer("v170", "003-version"), "/running": running }),
    ).toEqual(["llama-swap", undefined]);
  });

  test("of one whose /running is elsewhere neither; the list shows its kind", async () => {
    const models = recordedAnswer("v170", "004-v1-models");
    expect(await versionOf({ "/v1/models": models })).toEqual(["llama-swap", undefined]);
  });

  test("of a llama-server is its build", async () => {
    expect(await versionOf({ "/props": PROPS })).toEqual(["llama-server", "b11669-Debian"]);
  });

  test("of the router is its build too", async () => {
    expect(await versionOf({ "/props": { role: "router", build_info: "b1-x" } })).toEqual([
      "llama.cpp's router",
      "b1-x",
    ]);
  });

  test("of Ollama is its own", async () => {
    const answers = { "/api/tags": { models: [] }, "/api/version": { version: "0.5.1" } };
    expect(await versionOf(answers)).toEqual(["Ollama", "0.5.1"]);
  });

  test.each([
    [{}],
    [
      {
        "/api/version": [],
        "/running": { running: 5 },
        "/v1/models": { data: [null] },
        "/props": { build_info: 7 },
      },
    ],
    [{ "/api/version": 405, "/running": 400, "/props": 501 }],
  ])("%j is unknown", async (answers) => {
    expect(await versionOf(answers)).toEqual(["a chat/completions server", undefined]);
  });

  test("of vLLM is its own", async () => {
    const answers = {
      "/v1/models": { data: [{ id: "m", owned_by: "vllm" }] },
      "/version": { version: "0.11.2" },
    };
    expect(await versionOf(answers)).toEqual(["vLLM", "0.11.2"]);
  });

  test("is one clean line of bounded length", async () => {
    const version = `v1\u001b[31m\n${"x".repeat(5000)}`;
    const [, shown] = await versionOf({ "/running": RUNNING, "/api/version": { version, commit: "abc" } });
    expect(shown).toMatch(/^v1 x{97}…$/);
  });

  test("of a server that cannot be asked is a sentence", async () => {
    const { swap } = await cannedServer(byPath({ "/running": 502 }));
    expect((await faultOf(swap.version(AbortSignal.timeout(5000)))).message).toContain("HTTP 502");
  });
});

test.each([
  ["v250", 250],
  ["217", 217],
  ["local_0bdb3720", undefined],
  ["0", undefined],
  ["v1.2", undefined],
  [undefined, undefined],
])("the release of %j is %j", (version, release) => {
  expect(releaseOf(version)).toBe(release);
});
