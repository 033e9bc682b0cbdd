import type { SessionEntry } from "@earendil-works/pi-coding-agent";
import { describe, expect, test } from "vitest";
import { lostFailure, smallWindowNotice, windowsNotice } from "../../session/notices.ts";
import { assistant, user } from "../support/samples.ts";

test("one notice names at most five changed windows", () => {
  expect(windowsNotice(["a", "b"])).toBe("a\nb");
  expect(windowsNotice(["a", "b", "c", "d", "e", "f", "g"])).toBe("a\nb\nc\nd\ne\nand 2 more");
});

const model = (contextWindow: number, id = "org/x:Q4"): { id: string; contextWindow: number } => ({
  id,
  contextWindow,
});

test("a small window gets the settings that make compaction work for it", () => {
  const notice = smallWindowNotice(model(16_384), undefined) ?? "";
  expect(notice.split("\n")[0]).toBe(
    "The context of org/x:Q4 (16384 tokens) is too small for pi's own compaction settings. Add to settings.json in pi's agent folder:",
  );
  expect(JSON.parse(notice.slice(notice.indexOf("{")))).toEqual({
    compaction: { modelOverrides: { "ai-server/org/x:Q4": { reserveTokens: 4096, keepRecentTokens: 4096 } } },
  });
});

test.each([
  [40_480, false],
  [40_479, true],
  [1, true],
])("a window of %d gets a notice: %s", (tokens, hasNotice) => {
  expect(smallWindowNotice(model(tokens), undefined) !== undefined).toBe(hasNotice);
});

test.each([
  [{ compaction: { enabled: false } }, false],
  [{ compaction: { modelOverrides: { "ai-server/org/x:Q4": {} } } }, false],
  [{ compaction: { modelOverrides: { "ai-server/other": {} } } }, true],
  [{ compaction: { modelOverrides: null } }, true],
  [{ compaction: "on" }, true],
  [{}, true],
  [null, true],
])("the settings %j leave it a notice: %s", (settings, hasNotice) => {
  expect(smallWindowNotice(model(4096), settings) !== undefined).toBe(hasNotice);
});

test("an id with quotes keeps the settings valid", () => {
  const notice = smallWindowNotice(model(4096, 'a"b\\c'), undefined) ?? "";
  expect(Object.keys(JSON.parse(notice.slice(notice.indexOf("{"))).compaction.modelOverrides)).toEqual([
    'ai-server/a"b\\c',
  ]);
});

const said = (id: string, message: unknown): SessionEntry =>
  ({ type: "message", id, parentId: null, timestamp: "", message }) as SessionEntry;
const omitted = (targetId: string): SessionEntry =>
  ({
    type: "context_edit",
    id: "e",
    parentId: null,
    timestamp: "",
    targetId,
    replacement: null,
  }) as SessionEntry;

const overflow = assistant([], { stopReason: "error", errorMessage: "It does not fit." });

describe("the failure of a turn", () => {
  test("is reported where pi has taken the answer out of the conversation", () => {
    expect(lostFailure([said("1", user("Hi")), said("2", overflow), omitted("2")])).toBe("It does not fit.");
  });

  test.each([
    ["which pi prints itself", [said("1", user("Hi")), said("2", overflow)]],
    ["which a later answer made good", [said("2", overflow), omitted("2"), said("3", assistant([]))]],
    ["of another provider", [said("2", { ...overflow, provider: "other" }), omitted("2")]],
    ["without any answer", [said("1", user("Hi"))]],
  ])("%s is not reported", (_, entries) => {
    expect(lostFailure(entries)).toBeUndefined();
  });
});
