import { expect, test } from "vitest";
import { ServerError } from "../../../lib/errors.ts";
import { commandDigest } from "../../../server/models/command-line.ts";
import { KnownFacts } from "../../../server/models/known-facts.ts";
import type { LiveFacts, ModelState, RememberedFacts, RunningModel } from "../../../server/models/models.ts";
import { parseProps } from "../../../server/models/models.ts";

const LINE = "llama-server --port 5801 -c 4096";
const LIMITS = { timeoutMs: 1000 };
const NOTHING: ReadonlyMap<string, RememberedFacts> = new Map();

const runs = (commandLine: string | undefined = LINE, state: ModelState = "ready"): RunningModel[] => [
  { id: "a", state, commandLine, ttlSeconds: 60 },
];

const props = (tokens: number): LiveFacts => parseProps({ default_generation_settings: { n_ctx: tokens } });

/** A model that counts how often it is asked. */
function model(answer: () => Promise<LiveFacts | undefined> = async () => props(4096)) {
  const asked: string[] = [];
  const live = (id: string): Promise<LiveFacts | undefined> => {
    asked.push(id);
    return answer();
  };
  return { kind: "llama-swap", live, asked } as const;
}

const refused = (status?: number): Promise<never> =>
  Promise.reject(
    new ServerError("no", { link: "model", remedy: "none", ...(status === undefined ? {} : { status }) }),
  );

const learnt = (command: string, source: "live" | "last seen" | "command line" = "live") =>
  new Map<string, RememberedFacts>([
    [
      "a",
      {
        command: commandDigest(command),
        context: { value: 4096, source },
        thinking: { value: { kind: "none" }, source: "live" },
      },
    ],
  ]);

test("a process is asked once, however often and by how many at a time", async () => {
  const [known, backend] = [new KnownFacts(), model()];
  for (let looks = 1; looks <= 3; looks += 1) {
    known.saw(runs());
    const both = [known.read(backend, ["a"], NOTHING, LIMITS), known.read(backend, ["a"], NOTHING, LIMITS)];
    for (const read of await Promise.all(both)) expect(read.get("a")?.context).toBe(4096);
  }
  expect(backend.asked).toEqual(["a"]);
  expect(known.timesAsked.get("a")).toBe(1);
});

test("one caller that gives up leaves the question to the others", async () => {
  const answer = Promise.withResolvers<LiveFacts>();
  const [known, backend] = [new KnownFacts(), model(() => answer.promise)];
  known.saw(runs());
  const gone = new AbortController();
  const first = known.read(backend, ["a"], NOTHING, { ...LIMITS, signal: gone.signal });
  const second = known.read(backend, ["a"], NOTHING, LIMITS);
  gone.abort(new Error("enough"));
  await expect(first).rejects.toThrow("enough");
  answer.resolve(props(4096));
  expect((await second).get("a")?.context).toBe(4096);
  expect(backend.asked).toEqual(["a"]);
});

test.each([
  ["is not ready any more", runs(LINE, "stopping")],
  ["has gone", []],
  ["has another command line", runs("llama-server --port 5801 -c 8192")],
])("a process that %s is asked no more for what it said, and the next one is asked", async (_, next) => {
  const [known, backend] = [new KnownFacts(), model()];
  known.saw(runs());
  await known.read(backend, ["a"], NOTHING, LIMITS);
  known.saw(next);
  known.saw(runs());
  await known.read(backend, ["a"], NOTHING, LIMITS);
  expect(backend.asked).toEqual(["a", "a"]);
});

test("another port is no other command line", async () => {
  const [known, backend] = [new KnownFacts(), model()];
  known.saw(runs());
  await known.read(backend, ["a"], NOTHING, LIMITS);
  known.saw(runs(LINE.replace("5801", "5802")));
  await known.read(backend, ["a"], NOTHING, LIMITS);
  expect(backend.asked).toEqual(["a"]);
});

test.each([
  ["the same command line", learnt(LINE), 0],
  ["the same command line, by an earlier reading", learnt(LINE, "last seen"), 0],
  ["another command line", learnt(`${LINE} -np 2`), 1],
  ["the same command line, but not by the model itself", learnt(LINE, "command line"), 1],
])("what is remembered of %s asks %#", async (_, remembered, times) => {
  const [known, backend] = [new KnownFacts(), model()];
  known.saw(runs());
  await known.read(backend, ["a"], remembered, LIMITS);
  expect(backend.asked).toHaveLength(times);
});

test.each([
  ["has no such route", () => refused(404), 1],
  ["is still loading", () => refused(503), 2],
  ["does not answer", () => refused(), 2],
])("a model that %s is asked in two looks %#", async (_, answer, times) => {
  const [known, backend] = [new KnownFacts(), model(answer)];
  known.saw(runs());
  for (let looks = 1; looks <= 2; looks += 1)
    expect((await known.read(backend, ["a"], NOTHING, LIMITS)).size).toBe(0);
  expect(backend.asked).toHaveLength(times);
});

test("where no command line is shown, llama-swap's process is asked once and any other server's each time", async () => {
  const [known, swap] = [new KnownFacts(), model()];
  const other = { ...model(), kind: "llama-server" } as const;
  known.saw([{ ...runs()[0], commandLine: undefined } as RunningModel]);
  for (let looks = 1; looks <= 2; looks += 1) {
    await known.read(swap, ["a"], NOTHING, LIMITS);
    await known.read(other, ["a"], NOTHING, LIMITS);
  }
  expect(swap.asked).toHaveLength(1);
  expect(other.asked).toHaveLength(2);
});

test("a model that this pi has loaded is asked though its command line is known", async () => {
  const [known, backend] = [new KnownFacts(), model()];
  known.saw(runs());
  known.outdate("a");
  for (let looks = 1; looks <= 2; looks += 1) await known.read(backend, ["a"], learnt(LINE), LIMITS);
  expect(backend.asked).toEqual(["a"]);
});

test("a window that an overflow reported takes the place of the one that was read", async () => {
  const [known, backend] = [new KnownFacts(), model()];
  known.saw(runs());
  await known.read(backend, ["a"], NOTHING, LIMITS);
  known.correctContext("a", 2048);
  expect((await known.read(backend, ["a"], NOTHING, LIMITS)).get("a")?.context).toBe(2048);
});
