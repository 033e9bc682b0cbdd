import { describe, expect, test } from "vitest";
import { parseSlots, slotWithLeast } from "../../../../server/kinds/llama-cpp/slots.ts";

const fresh = (id: number) => ({ id, is_processing: false });
const used = (id: number, tokens: number, isBusy = false) => ({
  id,
  is_processing: isBusy,
  id_task: 5,
  n_prompt_tokens: tokens,
});

describe("the answer of /slots", () => {
  test("tells of each slot what it holds; one without a request holds nothing", () => {
    expect(parseSlots([fresh(0), used(1, 900), used(2, 30, true)])).toEqual([
      { id: 0, isBusy: false, isUsed: false, tokens: 0 },
      { id: 1, isBusy: false, isUsed: true, tokens: 900 },
      { id: 2, isBusy: true, isUsed: true, tokens: 30 },
    ]);
  });

  test("of an earlier llama-server leaves open what a used one holds", () => {
    const slots = [
      { id: 0, is_processing: false, id_task: -1 },
      { id: 1, is_processing: false, id_task: 0 },
    ];
    expect(parseSlots(slots)?.map(({ tokens }) => tokens)).toEqual([0, undefined]);
  });

  test.each([[[]], [{}], [null], ["slots"], [[null]], [[fresh(0), { id: 1 }]], [[{ is_processing: "yes" }]]])(
    "%j tells nothing",
    (answer) => {
      expect(parseSlots(answer)).toBeUndefined();
    },
  );
});

describe("a conversation that begins", () => {
  test.each([
    ["goes to a slot without any", [used(0, 900), fresh(1), fresh(2)], 1],
    ["goes to the one that holds least", [used(0, 900), used(1, 200), used(2, 100)], 2],
    ["goes around one that works", [used(0, 900), used(1, 100, true), used(2, 200)], 2],
    ["spares the largest even where another one works", [used(0, 900), used(1, 100, true)], undefined],
    ["spares the largest that works", [used(0, 900, true), used(1, 100)], 1],
    ["has no choice of one slot", [used(0, 900)], undefined],
    ["leaves the choice where nothing can be lost", [fresh(0), fresh(1)], undefined],
    ["leaves the choice where idle slots are emptied", [used(0, 0), used(1, 900), fresh(2)], undefined],
    ["does not take one that begins to work for emptied", [used(0, 0, true), used(1, 900), fresh(2)], 2],
    [
      "leaves the choice where it is not told what they hold",
      [{ id: 0, is_processing: false, id_task: 3 }, used(1, 900)],
      undefined,
    ],
  ])("%s", (_, answer, slot) => {
    expect(slotWithLeast(parseSlots(answer) ?? [])).toBe(slot);
  });
});
