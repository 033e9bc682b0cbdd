import { isContextOverflow, isRetryableAssistantError } from "@earendil-works/pi-ai";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { remedyBy } from "../support/pi-rules.ts";
import { FaultPlace } from "./place.ts";
import { ANSWERS, STREAMS } from "./rows-turn.ts";
import { WAY } from "./rows-way.ts";

const NEWEST = { isContextOverflow, isRetryableAssistantError };
let place: FaultPlace;

beforeAll(async () => {
  place = await FaultPlace.open();
});

afterAll(() => place.close());

describe.each([
  ["on the way", WAY],
  ["of an answer", ANSWERS],
  ["in a stream", STREAMS],
])("a fault %s, with the newest pi", (_where, rows) => {
  it.each(rows)("$fault: $pi", async ({ provoke, says, pi }) => {
    const read = await provoke(place);
    expect(read.replaceAll("\u2060", "")).toBe(says);
    expect(remedyBy(NEWEST, read)).toBe(pi);
  });
});
