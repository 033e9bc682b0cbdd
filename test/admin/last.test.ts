import { expect, test } from "vitest";
import { Activities } from "../../activity/activities.ts";
import { TurnActivity, type TurnFigures } from "../../activity/turn-activity.ts";
import type { CommandUse } from "../../admin/call.ts";
import { last, lastTable } from "../../admin/last.ts";
import { User } from "../support/command-user.ts";

const ENDED = new Date(2026, 10, 21, 9, 5, 7).getTime();

const figures = (more: Partial<TurnFigures> = {}): TurnFigures => ({
  model: "Qwen",
  endedAt: ENDED,
  loadMs: undefined,
  promptTokens: 28_672,
  cachedTokens: 12_288,
  promptPerSecond: 310.4,
  tokens: 512,
  perSecond: 38.2,
  ...more,
});

const rowsOf = (table: readonly string[]): string[][] => table.map((row) => row.trim().split(/ {2,}/));

test("the last turns stand with their rates, cached share and load, the latest first", () => {
  const turns = [
    figures({ loadMs: 12_300 }),
    figures({ endedAt: ENDED + 1000, perSecond: 3.14, promptPerSecond: undefined, cachedTokens: 0 }),
  ];
  expect(rowsOf(lastTable(turns, 120))).toEqual([
    ["Ended", "Model", "Prompt", "Cached", "Read", "Answer", "Written", "Load"],
    ["09:05:08", "Qwen", "28k", "0 %", "512", "3.1/s"],
    ["09:05:07", "Qwen", "28k", "42 %", "310/s", "512", "38/s", "12 s"],
  ]);
});

test("a turn without a prompt has no share", () => {
  const [, row] = rowsOf(lastTable([figures({ promptTokens: 0, cachedTokens: 0 })], 120));
  expect(row).not.toContain("NaN %");
  expect(row?.join(" ")).not.toContain("%");
});

test.each([40, 60, 80])("it fits %i columns", (width) => {
  const table = lastTable([figures({ model: "模型".repeat(20), loadMs: 61_000 })], width);
  for (const line of table) expect([...line].length).toBeLessThanOrEqual(width);
  expect(table.join("\n")).toContain("09:05:07");
});

test("keeps the rates where not every column fits", () => {
  const [title] = rowsOf(lastTable([figures()], 38));
  expect(title).toEqual(["Ended", "Prompt", "Read", "Written"]);
});

test("the command shows what this session's turns took, and nothing of those that failed", async () => {
  const activities = new Activities();
  const user = new User("rpc");
  const call = { ctx: { mode: "rpc", ui: user.ui }, activities } as unknown as CommandUse;
  await last(call);
  expect(user.told).toEqual(["No turn has ended yet."]);
  const nothing = async (): Promise<undefined> => undefined;
  const none = { expectedLoadMs: nothing, requestsOf: nothing, lastUsed: nothing };
  for (const ended of [figures(), undefined]) {
    const subject = { id: "m", name: "M", sessionId: undefined, hasAnswered: false };
    const turn = new TurnActivity(subject, none, Date.now);
    activities.begin(turn);
    activities.end(turn, ended);
  }
  await last(call);
  expect(user.told.at(-1)?.split("\n")).toEqual(["The last turns", expect.any(String), expect.any(String)]);
});
