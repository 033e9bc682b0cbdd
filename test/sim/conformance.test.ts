import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type Sim, startSim } from "../../sim/server.ts";
import { Client, chunksOf, eventually, type Reply } from "../support/sim-client.ts";
import { type Answer, type Recording, readFixture, readRecordings } from "./recordings.ts";

/** Recordings that are not replayed, and why. */
const LEFT_OUT: Record<string, string> = {
  "015": "the recorded server had answered nothing yet; see activity.test.ts",
  "016": "activity statistics are not simulated",
  "017": "the figures are of that machine; see performance.test.ts",
  "018": "the hardware report is not simulated",
  "019": "profiles are not simulated",
  "020": "Prometheus metrics are not simulated",
  "088": "the client hangs up before any answer; played without comparing (see the slow start)",
  "117": "only the request was recorded, the log's text being of that day",
  "119": "only the request was recorded, the log's text being of that day",
  "120": "nothing was answered within the recorded second",
  "190": "a list of everything before it; see activity.test.ts",
  "191": "activity statistics are not simulated",
  "192": "captures are not simulated",
  "193": "cancelling by request id is not simulated",
};

/** Where the recorded upstream was no llama-server and its body is its own. */
const FOREIGN_BODY: Record<string, string> = {
  "051": "the page of the recording's upstream; llama-server has another one",
  "058": "the recorded simple-responder answers no chat completion, and as application/json alone",
};

/** Keys whose values differ from run to run; their type is compared. */
const VOLATILE = ["created", "build_date", "commit", "version", "timestamp", "elapsed_ms", "resp_bytes"];

/** What an upstream says and counts is its own affair; the stand-in's model says other things. */
const VOLATILE_UPSTREAM = [...VOLATILE, "content", "usage", "timings"];

/** Only the recording's upstream had it. */
const FOREIGN_KEYS = ["rawpath"];

let sim: Sim;
let client: Client;
const recordings = readRecordings();
const played = new Set<string>();

beforeAll(async () => {
  sim = await startSim({ config: readFixture("config.yaml"), speed: 4 });
  client = new Client(sim);
});

afterAll(async () => {
  await client.close();
  await sim.close();
});

function recordingOf(number: string): Recording & { answer: Answer } {
  const recording = recordings.get(number);
  if (!recording?.answer) throw new Error(`no recorded answer ${number}`);
  return { ...recording, answer: recording.answer };
}

function request(number: string, options: { signal?: AbortSignal } = {}): Promise<Reply> {
  const recording = recordings.get(number);
  if (!recording) throw new Error(`no recording ${number}`);
  const { method, path, headers, body, cut, answer } = recording;
  const lastLine = answer?.body.trim().split("\n").at(-1) ?? "";
  const until = cut && answer?.status === 200 ? (text: string) => text.includes(lastLine) : () => false;
  return client.send(path, { method, headers, body, until, ...options });
}

/** Sends the recorded requests one after another and compares each answer. */
async function replay(...numbers: string[]): Promise<void> {
  for (const number of numbers) compare(number, await request(number));
}

/** Sends a recorded request until its answer is the recorded one: for states that come by themselves. */
function replayUntil(number: string): Promise<void> {
  return eventually(async () => compare(number, await request(number)));
}

/** Sends a recorded request and resolves when the stand-in has it; the answer is compared by `finished`. */
async function begin(number: string): Promise<{ finished(): Promise<void> }> {
  const arrived = sim.requests.length;
  const answer = request(number);
  answer.catch(() => undefined);
  const { body } = recordingOf(number);
  await eventually(() => expect(sim.requests[arrived]?.body).toBe(body ?? ""));
  return { finished: async () => compare(number, await answer) };
}

function runningModels(): Promise<string> {
  return client.send("/running").then((reply) => reply.body);
}

function compare(number: string, reply: Reply): void {
  const { name, method, answer } = recordingOf(number);
  const fromUpstream = answer.headers.server !== undefined;
  expect(reply.status, `${name}: status`).toBe(answer.status);
  for (const header of ["location", "allow", "retry-after", "www-authenticate", "x-content-type-options"]) {
    expect(reply.headers[header], `${name}: ${header}`).toBe(answer.headers[header]);
  }
  played.add(number);
  if (number === "058") return;
  expect(reply.headers["content-type"], `${name}: content type`).toBe(answer.headers["content-type"]);
  if (FOREIGN_BODY[number] || method === "HEAD") return;
  if (answer.headers["content-type"]?.startsWith("text/event-stream")) compareStream(name, reply, answer);
  else if (/^\s*[{[]/.test(answer.body)) compareJson(name, reply, answer, fromUpstream);
  else if (name.includes("logs-stream")) compareLog(name, reply, answer);
  else expect(reply.body, `${name}: body`).toBe(answer.body);
}

function compareJson(name: string, reply: Reply, answer: Answer, fromUpstream: boolean): void {
  const recorded: unknown = JSON.parse(answer.body);
  const actual: unknown = JSON.parse(reply.body);
  const volatile = fromUpstream ? VOLATILE_UPSTREAM : VOLATILE;
  const message = `${name}: body`;
  // llama-swap's own answers are compared key by key; the recorded upstream had fewer keys than llama-server has.
  if (fromUpstream) expect(mask(actual, volatile), message).toMatchObject(Object(mask(recorded, volatile)));
  else expect(mask(actual, volatile), message).toEqual(mask(recorded, volatile));
}

/** The banner's chunks and the model's, the banner's jokes and dots aside; then how the stream ends. */
function compareStream(name: string, reply: Reply, answer: Answer): void {
  const isBanner = (chunk: Record<string, unknown>) => !("object" in chunk);
  const shapes = (body: string) =>
    chunksOf(body)
      .filter(isBanner)
      .map((chunk) => JSON.stringify(shape(chunk)));
  expect(new Set(shapes(reply.body)), `${name}: banner chunks`).toEqual(new Set(shapes(answer.body)));
  const banner = (body: string) => {
    const texts = chunksOf(body)
      .filter(isBanner)
      .map((chunk) => Object(chunk).choices[0].delta.reasoning_content);
    return [texts.slice(0, texts.indexOf("\n", 2) + 1), texts.slice(texts.indexOf("Done!") - 1)].map((part) =>
      part.map((text) => text.replace(/[\d.]+/, "N")),
    );
  };
  expect(banner(reply.body)[0], `${name}: opening`).toEqual(banner(answer.body)[0]);
  expect(banner(reply.body)[1]?.join(""), `${name}: end`).toEqual(banner(answer.body)[1]?.join(""));
  const first = (body: string) => chunksOf(body).find((chunk) => !isBanner(chunk));
  const volatile = [...VOLATILE, "id", "system_fingerprint"];
  const recorded = first(answer.body);
  if (recorded) expect(mask(first(reply.body), volatile)).toMatchObject(Object(mask(recorded, volatile)));
  const lastLine = (body: string) => body.trimEnd().split("\n").at(-1);
  expect(lastLine(reply.body), `${name}: last line`).toBe(lastLine(answer.body));
}

/** Every recorded line is there; how often, and where among the others, depends on when the client looks. */
function compareLog(name: string, reply: Reply, answer: Answer): void {
  const actual = reply.body.split("\n");
  const missing = answer.body.split("\n").filter((line) => !actual.includes(line));
  expect(missing, `${name}: lines`).toEqual([]);
}

/** The value with what differs from run to run replaced by its type. */
function mask(value: unknown, volatile: string[]): unknown {
  if (Array.isArray(value)) return value.map((item) => mask(item, volatile));
  if (typeof value !== "object" || value === null) return value;
  const entries = Object.entries(value).filter(([key]) => !FOREIGN_KEYS.includes(key));
  return Object.fromEntries(
    entries.map(([key, item]) => [key, volatile.includes(key) ? shape(item) : mask(item, volatile)]),
  );
}

function shape(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(shape);
  if (typeof value !== "object" || value === null) return value === null ? "null" : typeof value;
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, shape(item)]));
}

// One conversation with one server, in the recorded order: each test begins where the one before it ended.
describe("the stand-in answers what llama-swap answered", () => {
  test("nothing loaded", async () => {
    await replay("001", "002", "003", "004", "005", "006", "007", "008", "009", "010", "011", "012", "013");
    await replay("014", "021", "022", "023");
  });

  test("unloading when nothing is loaded, unknown ids", async () => {
    await replay("030", "031", "032", "033", "034", "035", "036", "037", "038", "039");
  });

  test("loading by chat and through /upstream", async () => {
    await replay("040", "041", "042", "043", "044", "045", "046", "047", "048", "049", "050", "051", "052");
    await replay("053", "054", "055", "056", "057", "058", "059", "060", "061", "062", "063", "064", "065");
    await replay("066", "067", "068", "069", "070", "071", "072", "073", "074");
  });

  test("slow start", async () => {
    sim.setSpeed(1);
    const chat = await begin("080");
    await replayUntil("081");
    await replay("082");
    sim.setSpeed(4);
    await replay("083");
    sim.setSpeed(20);
    await chat.finished();
    await replay("084", "085", "086", "087");

    sim.setSpeed(1);
    const impatient = new AbortController();
    const abandoned = request("088", { signal: impatient.signal });
    await eventually(async () => expect(await runningModels()).toContain("slow-start"));
    impatient.abort();
    await expect(abandoned).rejects.toThrow();
    await replay("089");
    sim.setSpeed(20);
    await replayUntil("090");
    await replay("091");

    sim.setSpeed(1);
    const cancelled = await begin("092");
    await eventually(async () => expect(await runningModels()).toContain("starting"));
    await replay("093");
    await cancelled.finished();
    await replay("094");
  });

  test("sendLoadingState", async () => {
    sim.setSpeed(10);
    await replay("100", "101", "102", "103");
  });

  test("failures and logs", async () => {
    sim.setSpeed(20);
    await replay("110", "111", "112", "113", "114", "115", "116", "118", "121", "122", "123", "124");
  });

  test("a crash after ready", async () => {
    sim.setSpeed(1);
    await replay("130", "131");
    sim.setSpeed(20);
    await replayUntil("132");
    await replay("133");
  });

  test("the concurrency limit", async () => {
    sim.setSpeed(1);
    await replay("140");
    const first = await begin("141");
    await replay("142", "143");
    sim.setSpeed(20);
    await first.finished();
  });

  test("checkEndpoint none, ttl", async () => {
    sim.setSpeed(1);
    await replay("150", "151");
    await replayUntil("152");
    await replay("160", "161");
    sim.setSpeed(20);
    await replayUntil("162");
  });

  test("unload and swap with a request in flight", async () => {
    sim.setSpeed(1);
    await replay("170");
    const killed = await begin("171");
    await replay("172");
    await killed.finished();

    await replay("175");
    const busy = await begin("176");
    const other = await begin("177");
    sim.setSpeed(20);
    await busy.finished();
    await other.finished();
    await replay("178", "194", "199");
  });

  test("every recording is replayed, or left out for a reason", () => {
    const missing = [...recordings.keys()].filter((number) => !played.has(number) && !LEFT_OUT[number]);
    expect(missing).toEqual([]);
    expect([...played].filter((number) => LEFT_OUT[number])).toEqual([]);
  });
});

describe("/api/events", () => {
  const read = (raw: string) =>
    raw
      .split("\n\n")
      .filter((frame) => frame !== "")
      .map((frame) => {
        const { type, data } = JSON.parse(frame.replace("event:message\ndata:", ""));
        return { type: String(type), payload: JSON.parse(data) };
      });

  test("has the recorded frames in the recorded order", async () => {
    const recorded = read(readFixture("events-sample.raw"));
    const events = client.send("/api/events", {
      until: (raw) =>
        raw.endsWith("\n\n") && read(raw).filter(({ type }) => type === "activity").length === 2,
    });
    await eventually(() => expect(sim.requests.at(-1)?.path).toBe("/api/events"));
    await request("040");
    await request("043");
    const actual = read((await events).body);

    const isFirst = (frame: { type: string }) => frame.type !== "activity";
    const opening = recorded.slice(0, 6);
    expect(actual.slice(0, 6).map(({ type }) => type)).toEqual(opening.map(({ type }) => type));
    expect(actual.slice(1, 6).map(({ payload }) => Object.keys(payload))).toEqual(
      opening.slice(1).map(({ payload }) => Object.keys(payload)),
    );
    for (const index of [2, 3, 4, 5]) expect(actual[index], `frame ${index}`).toEqual(recorded[index]);

    const unknownModel = (frames: typeof recorded) => {
      const rest = frames.slice(6).filter(({ type }) => type !== "logData");
      return rest.slice(0, rest.findIndex((frame) => !isFirst(frame)) + 1);
    };
    const shapes = (frames: typeof recorded) =>
      frames.map(({ type, payload }) => ({
        type,
        ...Object(payload),
        request: keys(Object(payload).request),
      }));
    const masked = (frames: typeof recorded) =>
      shapes(unknownModel(frames)).map((f) => ({ ...f, id: typeof f.id }));
    expect(masked(actual)).toEqual(masked(recorded));

    const starting = (frames: typeof recorded) =>
      frames.find(
        ({ type, payload }) => type === "modelStatus" && JSON.stringify(payload).includes("starting"),
      );
    expect(starting(actual)).toEqual(starting(recorded));
  });

  const keys = (value: unknown) => (value === undefined ? undefined : Object.keys(Object(value)));
});
