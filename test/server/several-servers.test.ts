import { expect, test } from "vitest";
import { type ListedModel, listedModel } from "../../server/models/listed-model.ts";
import type { ModelState, RunningModel } from "../../server/models/models.ts";
import { SeveralServers } from "../../server/several-servers.ts";

const ADVICE = "Let the load balancer keep a session on one of them, as docs/several-machines.md shows.";

const running = (...ids: string[]): RunningModel[] =>
  ids.map((entry) => {
    const [id = "", state = "ready"] = entry.split(" ");
    return { id, state: state as ModelState };
  });

/** What is behind the address, on a clock that only a test moves. */
class Place {
  time = 1_000_000;
  /** Looks at what runs so far. */
  looks = 0;
  /** The server that takes the nth look. */
  choose = (nth: number): number => nth % this.servers.length;
  readonly several = new SeveralServers("s", () => this.time);
  readonly servers: RunningModel[][];

  constructor(...servers: RunningModel[][]) {
    this.servers = servers;
  }

  #read(): RunningModel[] {
    this.looks += 1;
    return this.servers[this.choose(this.looks)] ?? [];
  }

  /** What a caller is given, a while after the last time. */
  async look(afterMs = 1000): Promise<string[]> {
    this.time += afterMs;
    const found = await this.several.running(this.#read(), async () => this.#read());
    return found.map(({ id, state }) => (state === "ready" ? id : `${id} ${state}`)).sort();
  }
}

test("what goes back and forth is of two servers: each look then shows what any of them runs", async () => {
  const place = new Place(running("a"), running());
  await place.look();
  expect(place.several.isKnown).toBe(false);
  expect(await place.look()).toEqual(["a"]);
  expect([place.several.isKnown, place.several.warning]).toEqual([
    true,
    `Several servers answer at this address: one has a loaded, one has nothing loaded. ${ADVICE}`,
  ]);
  const { warning } = place.several;
  for (let n = 0; n < 20; n += 1)
    expect([await place.look(), place.several.warning]).toEqual([["a"], warning]);
});

test("a model counts in its best state", async () => {
  const place = new Place(running("a starting", "b"), running("a", "b stopping"));
  await place.look();
  await place.look();
  expect(await place.look()).toEqual(["a", "b"]);
});

test("a load, an unload and a load that fails are of one server", async () => {
  const place = new Place(running());
  const states = [
    running("a starting"),
    running("a"),
    running("a stopping"),
    running(),
    running("b starting"),
    running(),
  ];
  for (const state of states) {
    place.servers[0] = state;
    expect(await place.look()).toEqual(await place.look(100));
    expect([place.several.isKnown, place.several.warning]).toEqual([false, undefined]);
  }
  // Two looks at each state, and one more where what is ready has changed.
  expect(place.looks).toBe(2 * states.length + 2);
});

test("a model that is unloaded between two looks of one moment is of one server", async () => {
  const place = new Place(running("a"), running("a", "b"), running("a"));
  const order = [0, 1, 2, 2];
  place.choose = (nth) => order[nth - 1] ?? 2;
  await place.look();
  expect(await place.look()).toEqual(["a"]);
  expect([place.looks, place.several.isKnown]).toEqual([5, false]);
});

test("an answer that comes back much later is of one server too", async () => {
  const place = new Place(running("a"), running());
  place.choose = () => Math.floor(place.time / 20_000) % 2;
  for (let n = 0; n < 12; n += 1) await place.look(10_000);
  expect(place.several.isKnown).toBe(false);
});

test("one of two that answer at random is found out sooner or later, and not forgotten", async () => {
  const place = new Place(running("a"), running());
  let seed = 7;
  place.choose = () => {
    seed = (seed * 1_103_515_245 + 12_345) % 2 ** 31;
    return (seed >> 16) % 2;
  };
  for (let looks = 0; !place.several.isKnown && looks < 40; looks += 1) await place.look();
  expect(place.several.isKnown).toBe(true);
  for (let n = 0; n < 60; n += 1) await place.look();
  expect(place.several.isKnown).toBe(true);
});

test("once the answers agree it is over after a minute", async () => {
  const place = new Place(running("a"), running());
  await place.look();
  await place.look();
  place.choose = () => 1;
  for (let n = 0; n < 59; n += 1) await place.look();
  expect(place.several.isKnown).toBe(true);
  await place.look(2000);
  expect([place.several.isKnown, await place.look()]).toEqual([false, []]);
});

test("the name of the server in the answers shows it too: not one that takes over, but one that comes back", () => {
  let time = 0;
  const several = new SeveralServers("s", () => time);
  const answers = (name: string, afterMs = 100): void => {
    time += afterMs;
    several.sawHeaders({ "x-upstream": name });
  };
  for (const name of ["one:8080", "one:8080", "two:8080", "two:8080"]) answers(name);
  expect([several.isKnown, several.upstream]).toEqual([false, "two:8080"]);
  answers("one:8080", 30_000);
  expect(several.isKnown).toBe(false);
  answers("two:8080");
  answers("one:8080");
  expect([several.isKnown, several.warning]).toEqual([
    true,
    `Several servers answer at this address (one:8080, two:8080). ${ADVICE}`,
  ]);
  several.sawHeaders({ "content-type": "text/plain" });
  expect(several.upstream).toBe("one:8080");
});

test("of different lists each model is kept, and those that not all list are named", async () => {
  const several = new SeveralServers("s", () => 0);
  const list = (...ids: string[]): ListedModel[] => ids.map((id) => listedModel(id, { declared: {} }));
  const [one, two] = [list("a", "b", "c", "d", "e"), list("a")];
  const ids = async (first: ListedModel[], ...then: ListedModel[][]): Promise<string[]> =>
    (await several.listed(first, async () => then.shift() ?? [])).map(({ id }) => id).sort();
  expect(await ids(one)).toEqual(["a", "b", "c", "d", "e"]);
  expect(await ids(two, one, two)).toEqual(["a", "b", "c", "d", "e"]);
  expect(several.warning).toBe(
    `Several servers answer at this address: not all of them list b, c, d and 1 more. ${ADVICE}`,
  );
});
