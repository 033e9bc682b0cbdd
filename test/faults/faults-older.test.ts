/** The same table by the rules of pi 1.5.2, which words the faults when the extension runs there. */
import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";
import { olderRules, type Rules, remedyBy } from "../support/pi-rules.ts";
import { FaultPlace } from "./place.ts";
import { ANSWERS, STREAMS } from "./rows-turn.ts";
import { WAY } from "./rows-way.ts";

// Other files of this worker have loaded the sentences by the newest pi's rules, and will again.
vi.hoisted(() => vi.resetModules());
afterAll(() => {
  vi.doUnmock("@earendil-works/pi-ai");
  vi.resetModules();
});

vi.mock("@earendil-works/pi-ai", async (original) => {
  const { olderRules: load } = await import("../support/pi-rules.ts");
  return { ...(await original<object>()), ...(await load()) };
});

let place: FaultPlace;
let older: Rules;

beforeAll(async () => {
  older = await olderRules();
  place = await FaultPlace.open();
}, 200_000);

afterAll(() => place.close());

describe.each([
  ["on the way", WAY],
  ["of an answer", ANSWERS],
  ["in a stream", STREAMS],
])("a fault %s, with pi 1.5.2", (_where, rows) => {
  it.each(rows)("$fault: $pi", async ({ provoke, says, pi }) => {
    const read = await provoke(place);
    expect(read.replaceAll("\u2060", "")).toBe(says);
    expect(remedyBy(older, read)).toBe(pi);
  });
});

describe("the rules", () => {
  it("are really those of 1.5.2 where the sentences are made", async () => {
    const { remedyOf } = await import("../../stream/pi-rules.ts");
    expect(remedyOf("The model is at capacity.")).toBe("retry");
    expect(remedyOf("request id 1500abc")).toBe("none");
  });
});
