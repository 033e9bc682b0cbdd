import { describe, expect, test } from "vitest";
import { slotWithLeast } from "../../server/in-flight.ts";
import { parseSlots } from "../../server/kinds/llama-cpp/list.ts";

const fresh = (id: number) => ({ id, is_processing: false });
const used = (id: number, tokens: number, isBusy = false) => ({
  id,
  is_processing: isBusy,
  id_task: 5,
  n_prompt_tokens: tokens,
});

describe("the answer of /slots", () => {
  test("gives the tokens of each slot; one without a request holds none", () => {
    expect(parseSlots([fresh(0), used(1, 900), used(2, 30, true)])).toEqual([
      { id: 0, isBusy: false, isUsed: false, tokens: 0 },
      { id: 1, isBusy: false, isUsed: true, tokens: 900 },
      { id: 2, isBusy: true, isUsed: true, tokens: 30 },
    ]);
  });

  test("of an earlier llama-server leaves the tokens of used slots unknown", () => {
    const slots = [
      { id: 0, is_processing: false, id_task: -1 },
      { id: 1, is_processing: false, id_task: 0 },
    ];
    expect(parseSlots(slots)?.map(({ tokens }) => tokens)).toEqual([0, undefined]);
  });

  test.each([[[]], [{}], [null], ["slots"], [[null]], [[fresh(0), { id: 1 }]], [[{ is_processing: "yes" }]]])(
    "reads nothing from %j",
    (answer) => {
      expect(parseSlots(answer)).toBeUndefined();
    },
  );
});

describe("a new conversation", () => {
  test.each([
    ["takes an unused slot", [used(0, 900), fresh(1), fresh(2)], 1],
    ["takes the slot with the fewest tokens", [used(0, 900), used(1, 200), used(2, 100)], 2],
    ["avoids a busy slot", [used(0, 900), used(1, 100, true), used(2, 200)], 2],
    ["spares the fullest slot even if another is busy", [used(0, 900), used(1, 100, true)], undefined],
    ["spares the fullest slot when that is busy", [used(0, 900, true), used(1, 100)], 1],
    ["has no choice with one slot", [used(0, 900)], undefined],
    ["leaves the choice to the server where no slot was used", [fresh(0), fresh(1)], undefined],
    [
      "leaves the choice to the server where that empties idle slots",
      [used(0, 0), used(1, 900), fresh(2)],
      undefined,
    ],
    [
      "does not take a slot that starts working for an emptied one",
      [used(0, 0, true), used(1, 900), fresh(2)],
      2,
    ],
    [
      "leaves the choice to the server where the tokens are unknown",
      [{ id: 0, is_processing: false, id_task: 3 }, used(1, 900)],
      undefined,
    ],
  ])("%s", (_, answer, slot) => {
    expect(slotWithLeast(parseSlots(answer) ?? [])).toBe(slot);
  });
});
