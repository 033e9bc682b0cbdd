import { describe, expect, test } from "vitest";
import type { Slot } from "../../server/kinds/backend.ts";
import { canBeParked, readingPlace } from "../../server/reading-place.ts";

const unused = (id: number): Slot => ({ id, isBusy: false, isUsed: false, tokens: 0 });
const holding = (id: number, tokens: number | undefined): Slot => ({
  id,
  isBusy: false,
  isUsed: true,
  tokens,
});
const noneOurs = (): boolean => false;

describe("the place for a prompt that is read ahead", () => {
  test.each<[string, Slot[], ReturnType<typeof readingPlace>]>([
    ["the only slot, unused", [unused(0)], { slot: undefined, hasOthers: false }],
    ["the first of several unused", [unused(0), unused(1)], { slot: 0, hasOthers: false }],
    ["the empty one beside a conversation", [holding(0, 900), unused(1)], { slot: 1, hasOthers: true }],
    ["one that was emptied into the store", [holding(0, 0), holding(1, 900)], { slot: 0, hasOthers: true }],
    ["the only slot after a prompt was parked", [holding(0, 26)], { slot: undefined, hasOthers: true }],
    ["none where each slot holds a conversation", [holding(0, 90_000), holding(1, 900)], undefined],
    ["none where the tokens are not reported", [holding(0, undefined), unused(1)], undefined],
    ["none without slots", [], undefined],
  ])("%s", (_, slots, place) => {
    expect(readingPlace(slots, noneOurs, 100)).toEqual(place);
  });

  test.each([
    ["more than twice as long: less than half of it stays, so that it is saved", 2001, true],
    ["twice as long: half of it may stay, and the rest is lost", 2000, false],
    ["a little longer", 1100, false],
    ["shorter", 500, false],
  ])("the only slot, with a conversation that is %s", (_, held, isPlace) => {
    const place = readingPlace([holding(0, held)], noneOurs, 1000);
    expect(place).toEqual(isPlace ? { slot: undefined, hasOthers: true } : undefined);
  });

  test("is none in the only slot, with a conversation, where the tokens of the prompt are not known", () => {
    expect(readingPlace([holding(0, 1e6)], noneOurs, undefined)).toBeUndefined();
  });

  test("is a slot with a request of our own, which counts as free", () => {
    const isOwn = (tokens: number): boolean => tokens === 900;
    const own = { slot: undefined, hasOthers: false };
    expect(readingPlace([holding(0, 900)], isOwn, undefined)).toEqual(own);
    expect(readingPlace([holding(0, 500), holding(1, 900)], isOwn, 100)).toEqual({
      slot: 1,
      hasOthers: true,
    });
  });
});

describe("a prompt that was read can be parked", () => {
  test.each<[string, Slot[], number | undefined, boolean]>([
    ["in the only slot", [holding(0, 1000)], undefined, true],
    ["beside an empty slot, which takes what parks it", [holding(0, 0), holding(1, 1000)], 1, true],
    ["beside an unused slot", [holding(0, 1000), unused(1)], 0, true],
    ["not where every other slot holds a conversation", [holding(0, 900), holding(1, 1000)], 1, false],
    ["not where the other one is busy", [{ ...holding(0, 0), isBusy: true }, holding(1, 1000)], 1, false],
  ])("%s", (_, slots, slot, can) => {
    expect(canBeParked(slots, slot)).toBe(can);
  });
});
