import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { ExtensionAPI } from "@earendil-works/pi-coding-agent";
import { expect, onTestFinished, test } from "vitest";
import { settingsOf, smallWindowNotice } from "../../session/small-window.ts";

const model = (contextWindow: number, id = "org/x:Q4"): { id: string; contextWindow: number } => ({
  id,
  contextWindow,
});

test("a small window has the very settings that make compaction work for it", () => {
  const notice = smallWindowNotice(model(16_384), undefined) ?? "";
  expect(notice.split("\n")[0]).toBe(
    "The context of org/x:Q4 (16384 tokens) is too small for pi's own compaction settings. Add to settings.json in pi's agent folder:",
  );
  expect(JSON.parse(notice.slice(notice.indexOf("{")))).toEqual({
    compaction: { modelOverrides: { "ai-server/org/x:Q4": { reserveTokens: 4096, keepRecentTokens: 4096 } } },
  });
});

test.each([
  [40_480, undefined],
  [40_479, "said"],
  [1, "said"],
])("a window of %d is %s", (tokens, said) => {
  expect(smallWindowNotice(model(tokens), undefined) === undefined).toBe(said === undefined);
});

test.each([
  [{ compaction: { enabled: false } }, false],
  [{ compaction: { modelOverrides: { "ai-server/org/x:Q4": {} } } }, false],
  [{ compaction: { modelOverrides: { "ai-server/other": {} } } }, true],
  [{ compaction: { modelOverrides: null } }, true],
  [{ compaction: "on" }, true],
  [{}, true],
  [null, true],
])("with the settings %j it is said: %s", (settings, said) => {
  expect(smallWindowNotice(model(4096), settings) !== undefined).toBe(said);
});

test("an id with quotes keeps the settings valid", () => {
  const notice = smallWindowNotice(model(4096, 'a"b\\c'), undefined) ?? "";
  expect(Object.keys(JSON.parse(notice.slice(notice.indexOf("{"))).compaction.modelOverrides)).toEqual([
    'ai-server/a"b\\c',
  ]);
});

test("settings come from pi, or from the file of one that does not hand them out", async () => {
  const dir = mkdtempSync(join(tmpdir(), "settings-test-"));
  onTestFinished(() => rmSync(dir, { recursive: true }));
  const newer = { getSettings: () => ({ a: 1 }) } as unknown as ExtensionAPI;
  const older = {} as ExtensionAPI;
  expect(await settingsOf(newer, dir)).toEqual({ a: 1 });
  expect(await settingsOf(older, dir)).toBeUndefined();
  writeFileSync(join(dir, "settings.json"), '{"b":2}');
  expect(await settingsOf(older, dir)).toEqual({ b: 2 });
  writeFileSync(join(dir, "settings.json"), "{");
  expect(await settingsOf(older, dir)).toBeUndefined();
});
