import { describe, expect, test } from "vitest";
import { byPath, cannedServer, recordedAnswer } from "../../support/canned.ts";
import { llamaServerBody } from "../../support/recorded.ts";
import { faultOf } from "../../support/wire.ts";

const HTML = { status: 200, headers: { "content-type": "text/html" }, body: "<html>Everything</html>" };
const PLAIN = { data: [{ id: "m", object: "model", owned_by: "me" }] };

async function recognised(answers: Record<string, unknown>) {
  const { swap, requests } = await cannedServer(byPath({ "/running": 404, ...answers }));
  const { kind, name, load, unload, follow } = await swap.backend();
  return { kind, name, can: [load, unload, follow].map((ability) => ability !== undefined), requests };
}

describe("the kind of server", () => {
  test("llama-swap is recognised by /running, and nothing more is asked", async () => {
    const running = recordedAnswer("v170", "006-running-empty");
    expect(await recognised({ "/running": running })).toEqual({
      kind: "llama-swap",
      name: "llama-swap",
      can: [true, true, true],
      requests: ["GET /running"],
    });
  });

  test("llama-swap with another AI_SERVER_RUNNING_PATH is recognised by its list", async () => {
    expect((await recognised({ "/v1/models": recordedAnswer("v217", "004-v1-models") })).kind).toBe(
      "llama-swap",
    );
  });

  test("llama.cpp's router is recognised by its list, and asking loads nothing", async () => {
    expect(await recognised({ "/v1/models": llamaServerBody("r01-models") })).toEqual({
      kind: "router",
      name: "llama.cpp's router",
      can: [true, true, true],
      requests: ["GET /running", "GET /v1/models"],
    });
  });

  test("a router without models is recognised by its role", async () => {
    const answers = { "/v1/models": { data: [] }, "/props": llamaServerBody("r01-props") };
    expect((await recognised(answers)).kind).toBe("router");
  });

  test("one llama-server neither loads nor unloads", async () => {
    const answers = {
      "/v1/models": llamaServerBody("s01-get-v1_models"),
      "/props": llamaServerBody("s01-get-props"),
    };
    expect(await recognised(answers)).toMatchObject({ kind: "llama-server", can: [false, false, false] });
  });

  test.each<[string, Record<string, unknown>, string, boolean]>([
    ["vLLM", { "/v1/models": { data: [{ id: "m", owned_by: "vllm" }] } }, "vLLM", false],
    ["Ollama", { "/v1/models": PLAIN, "/api/tags": { models: [] } }, "Ollama", true],
    ["LM Studio", { "/v1/models": PLAIN, "/api/v1/models": { models: [{ key: "m" }] } }, "LM Studio", true],
    [
      "LM Studio before 0.4.0",
      { "/v1/models": PLAIN, "/api/v0/models": { data: [{ id: "m", state: "loaded" }] } },
      "LM Studio",
      false,
    ],
    ["one that has nothing else", { "/v1/models": PLAIN }, "The server", false],
    [
      "one that answers every path with a page",
      { "/v1/models": PLAIN, "/running": HTML, "/props": HTML },
      "The server",
      false,
    ],
    [
      "one that knows no such route",
      { "/v1/models": PLAIN, "/running": 405, "/props": 501 },
      "The server",
      false,
    ],
  ])("%s", async (_, answers, name, loads) => {
    expect(await recognised(answers)).toMatchObject({ kind: "other", name, can: [loads, loads, false] });
  });

  test.each([
    [401, "demands an API key"],
    [403, "HTTP 403"],
    [502, "HTTP 502"],
  ])("%i to the first question is a sentence", async (status, words) => {
    const { swap } = await cannedServer(byPath({ "/running": status }));
    expect((await faultOf(swap.backend())).message).toContain(words);
  });

  test("is asked again after a failure, and once for all who ask", async () => {
    let fails = true;
    const { swap, requests } = await cannedServer((request, response) => {
      if (fails) response.writeHead(502).end();
      else byPath({})(request, response);
    });
    await faultOf(swap.backend());
    fails = false;
    const [a, b] = await Promise.all([swap.backend(), swap.backend()]);
    expect(a.kind).toBe("llama-swap");
    expect(b).toBe(a);
    expect(requests).toHaveLength(2);
  });

  test("is another one after the next discovery, where the server is", async () => {
    let isSwap = true;
    const router = byPath({ "/running": 404, "/v1/models": llamaServerBody("r01-models") });
    const { swap } = await cannedServer((request, response) =>
      (isSwap ? byPath({ "/v1/models": { data: [] } }) : router)(request, response),
    );
    await swap.discover(new Map());
    expect((await swap.backend()).kind).toBe("llama-swap");
    isSwap = false;
    await swap.discover(new Map());
    expect((await swap.backend()).kind).toBe("router");
  });
});
