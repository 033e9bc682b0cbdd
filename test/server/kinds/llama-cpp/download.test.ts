import { readFileSync } from "node:fs";
import type { IncomingMessage, ServerResponse } from "node:http";
import { expect, test } from "vitest";
import type { DownloadProgress } from "../../../../server/kinds/backend.ts";
import { parseRouterDownloads, parseRouterModels } from "../../../../server/kinds/llama-cpp/list.ts";
import { cannedServer } from "../../../support/canned.ts";
import { fastClock } from "../../../support/clock.ts";
import { llamaServerBody } from "../../../support/recorded.ts";
import { faultOf } from "../../../support/wire.ts";

const NAME = "maker/Tiny-GGUF:Q4_K_M";
const VISION = "maker/Vision-GGUF:Q4_K_M";
const NEVER = new AbortController().signal;
const EVENTS = readFileSync(
  new URL("../../../fixtures/llama-server/r05-models-sse.sse", import.meta.url),
  "utf8",
);

const recorded = (name: string): string => JSON.stringify(llamaServerBody(name));

const eventsOf = (name: string): string =>
  EVENTS.split(/(?<=\n\n)/)
    .filter((frame) => frame.includes(name))
    .join("");

interface Place {
  /** What the list shows, one answer after another; the last one for ever. */
  lists: string[];
  /** Sent to each client of the events; undefined: there are none. */
  events?: string | undefined;
  posted?: (response: ServerResponse) => void;
}

const RECORDED = {
  before: '{"data":[{"id":"tiny","status":{"value":"unloaded","args":["--model","x"]}}]}',
  during: recorded("r05-models-downloading"),
  after: recorded("r05-models-downloaded"),
};

/** A router that answers as recorded. */
async function router({ lists, events, posted = (response) => response.end('{"success":true}') }: Place) {
  const bodies: string[] = [];
  const answer = (request: IncomingMessage, response: ServerResponse): void => {
    const path = request.url ?? "";
    if (request.method === "POST" || request.method === "DELETE") {
      request.setEncoding("utf8").on("data", (body: string) => bodies.push(body));
      request.on("end", () => posted(response));
    } else if (path === "/v1/models") {
      response.end(lists.length > 1 ? lists.shift() : lists[0]);
    } else if (path === "/models/sse" && events !== undefined) {
      response.writeHead(200, { "content-type": "text/event-stream" });
      response.write(events || ":\n\n");
    } else response.writeHead(404).end('{"error":{"code":404}}');
  };
  const { swap, requests } = await cannedServer(answer);
  const backend = await swap.backend();
  requests.length = 0;
  const said: DownloadProgress[] = [];
  const download = (name: string, signal = NEVER): Promise<string> =>
    backend.download?.(name, { report: (one) => said.push(one), signal, clock: fastClock(200) }) ??
    Promise.reject(new Error("no download"));
  return { backend, requests, bodies, said, download };
}

test("a recorded download: under way it is no model to use, then it is one that can be deleted", () => {
  const [during, after] = [RECORDED.during, RECORDED.after].map((text) => JSON.parse(text));
  expect([parseRouterDownloads(during), parseRouterDownloads(after)]).toEqual([[NAME], []]);
  expect(parseRouterModels(during)).toMatchObject([{ id: NAME, problem: "downloading" }, { id: "tiny" }]);
  const [model, tiny] = parseRouterModels(after);
  expect(model).toMatchObject({ id: NAME, problem: undefined, isFound: true, isDownloaded: true });
  expect([tiny?.isDownloaded, parseRouterModels(during)[0]?.isDownloaded]).toEqual([undefined, undefined]);
});

test("the events of all its files add up", async () => {
  const { before, during, after } = RECORDED;
  const place = await router({ lists: [before, before, during, during, after], events: eventsOf(NAME) });
  expect(await place.download(NAME)).toBe(NAME);
  expect(place.bodies).toEqual([JSON.stringify({ model: NAME })]);
  expect(place.said).toHaveLength(7);
  expect(place.said[3]).toEqual({ doneBytes: 344_064, totalBytes: 768_160 });

  const vision = during.replaceAll(NAME, VISION);
  const two = await router({ lists: [before, before, vision, vision, before], events: eventsOf(VISION) });
  const fault = await faultOf(two.download(VISION));
  expect(fault.message).toMatch(/^The router did not download maker\/Vision-GGUF:Q4_K_M: .* HF_TOKEN /);
  expect(two.said.slice(0, 2)).toEqual([
    { doneBytes: 0, totalBytes: 1_000_000 },
    { doneBytes: 0, totalBytes: 1_768_160 },
  ]);
});

test("without events the list alone shows the end", async () => {
  const { before, during, after } = RECORDED;
  const place = await router({ lists: [before, before, during, during, after] });
  expect(await place.download(NAME)).toBe(NAME);
  expect(place.said).toEqual([]);
});

test("one that another client has just begun is watched", async () => {
  const { before, during, after } = RECORDED;
  const refusal = recorded("r05-download-again");
  const posted = (response: ServerResponse): void => {
    response.writeHead(400).end(refusal);
  };
  const place = await router({ lists: [before, before, during, after], posted });
  expect(await place.download("maker/Tiny-GGUF:q4_k_m")).toBe(NAME);
});

test("one that runs already is not requested a second time", async () => {
  const { during, after } = RECORDED;
  const place = await router({ lists: [during, during, during, after] });
  expect(await place.download("maker/tiny-gguf:q4_k_m")).toBe(NAME);
  expect(place.bodies).toEqual([]);
});

test.each([
  ["r05-download-name", 400, /invalid HF repo format/],
  ["r05-download-empty", 400, /must be a non-empty string/],
])("a refusal is passed on: %s", async (name, status, words) => {
  const posted = (response: ServerResponse): void => {
    response.writeHead(status).end(recorded(name));
  };
  const place = await router({ lists: [RECORDED.before], posted });
  expect((await faultOf(place.download("x"))).message).toMatch(words);
});

test("an older router is named as such", async () => {
  const posted = (response: ServerResponse): void => {
    response.writeHead(404).end('{"error":{"code":404,"message":"File Not Found","type":"not_found_error"}}');
  };
  const place = await router({ lists: [RECORDED.before], posted });
  expect((await faultOf(place.download(NAME))).message).toBe(
    "This llama.cpp is too old to download models when asked over HTTP. Update it on the server.",
  );
  expect((await faultOf(place.backend.deleteModel?.(NAME, NEVER) ?? Promise.resolve())).message).toContain(
    "too old to delete models",
  );
});

test("the end of the signal ends the watching, and nothing else", async () => {
  const { before, during } = RECORDED;
  const place = await router({ lists: [before, before, during], events: "" });
  const leaves = new AbortController();
  const watching = place.download(NAME, leaves.signal);
  await expect.poll(() => place.bodies.length).toBe(1);
  leaves.abort(new Error("left"));
  await expect(watching).rejects.toThrow("left");
  expect(place.requests.filter((request) => /POST|DELETE/.test(request))).toEqual(["POST /models"]);
});

test("a deletion names the model in its path, and what the router says of another one is passed on", async () => {
  const answers = ["r05-delete", "r05-delete-preset", "r05-delete-unknown"];
  const posted = (response: ServerResponse): void => {
    const body = recorded(answers.shift() ?? "");
    response.writeHead(body.includes("500") ? 500 : 200).end(body);
  };
  const { backend, requests } = await router({ lists: [RECORDED.after], posted });
  await backend.deleteModel?.(NAME, NEVER);
  expect(requests).toEqual(["DELETE /models?model=maker%2FTiny-GGUF%3AQ4_K_M"]);
  for (const words of ["is not removable (not from cache)", "model name=zzz is not found"]) {
    const fault = await faultOf(backend.deleteModel?.("tiny", NEVER) ?? Promise.resolve());
    expect(fault.message).toContain(words);
  }
});
