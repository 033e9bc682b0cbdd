import { describe, expect, test } from "vitest";
import { reportOf, verdictWords } from "../../admin/report.ts";
import type { ChangeOutcome, StepName } from "../../host/outcome.ts";
import type { ContextVerdict } from "../../host/probe.ts";

const STAMP = "20260131T235959Z";
const BACKUP = `The previous version is in /c.yaml.bak-${STAMP}.`;
const report = (outcome: ChangeOutcome) => reportOf(outcome, "It is done.", "/c.yaml");

type RolledBack = Extract<ChangeOutcome, { kind: "rolled back" }>;
const rolledBack = (more: Partial<RolledBack> = {}): RolledBack => ({
  kind: "rolled back",
  failed: "load",
  reason: "The reason.",
  log: [],
  file: "old",
  isHealthy: true,
  trouble: "",
  backup: STAMP,
  notes: [],
  ...more,
});

const verdict = (more: Partial<ContextVerdict>): ContextVerdict => ({
  kind: "as asked",
  tokens: 8192,
  expected: 8192,
  why: "",
  isFault: false,
  ...more,
});

describe("the window of a changed model", () => {
  test.each<[ContextVerdict, string]>([
    [verdict({}), "It is loaded, and a request may use 8192 tokens."],
    [
      verdict({ kind: "less", tokens: 4096, why: "it was fitted" }),
      "It is loaded, and a request may use 4096 tokens instead of 8192: it was fitted.",
    ],
    [
      verdict({ kind: "unknown", tokens: undefined, why: "the model does not report its context" }),
      "It is loaded; the model does not report its context.",
    ],
  ])("%j", (given, words) => {
    expect(verdictWords(given)).toBe(words);
  });
});

test.each<[ChangeOutcome, string, string]>([
  [{ kind: "refused", reason: "The file is locked.", current: undefined }, "error", "The file is locked."],
  [
    { kind: "changed", backup: STAMP, context: verdict({}), notes: [] },
    "info",
    `It is done.\nIt is loaded, and a request may use 8192 tokens.\n${BACKUP}`,
  ],
  [
    { kind: "changed", backup: undefined, context: undefined, notes: [] },
    "info",
    "It is done.\nThe server answers with it.",
  ],
  [
    { kind: "changed", backup: undefined, context: undefined, notes: [], isUnseen: true },
    "warning",
    "It is done.\nThe server answers, but nothing shows whether llama-swap has read the config; the next load will.",
  ],
  [
    { kind: "changed", backup: STAMP, context: undefined, notes: ["b could not be loaded again: no."] },
    "warning",
    `It is done.\nThe server answers with it.\n${BACKUP}\nb could not be loaded again: no.`,
  ],
  [
    {
      kind: "changed",
      backup: undefined,
      context: verdict({ kind: "less", tokens: 1, why: "so" }),
      notes: [],
    },
    "warning",
    "It is done.\nIt is loaded, and a request may use 1 tokens instead of 8192: so.",
  ],
  [{ kind: "cancelled", file: "old", backup: undefined }, "warning", "Cancelled.\nThe config is unchanged."],
  [
    { kind: "cancelled", file: "new", backup: STAMP },
    "warning",
    `Cancelled.\nThe new config is in place.\nThe server has not been checked with it yet.\n${BACKUP}`,
  ],
  [
    { kind: "cancelled", file: "unknown", backup: undefined },
    "warning",
    "Cancelled.\nThe config could not be read afterwards; it is intact, either the old version or the new one.",
  ],
  [
    rolledBack(),
    "error",
    "The model could not be loaded with the new config. The reason.\nThe previous config is restored, and the server answers with it.",
  ],
  [
    rolledBack({ isHealthy: false, trouble: "It hangs.", notes: ["b is gone."] }),
    "error",
    "The model could not be loaded with the new config. The reason.\nThe previous config is restored, but the server does not answer yet.\nIt hangs.\nb is gone.\nSee /ai-server-logs for the unit's journal.",
  ],
  [
    rolledBack({ file: "other", isHealthy: false }),
    "error",
    `The model could not be loaded with the new config. The reason.\nAnother edit changed the config meanwhile; it was kept.\n${BACKUP}\nSee /ai-server-logs for the unit's journal.`,
  ],
])("reports %j", (outcome, level, text) => {
  expect(report(outcome)).toEqual({ level, text });
});

test.each<[StepName, string]>([
  ["read", "Reading the config failed."],
  ["write", "Writing the config failed."],
  ["restart", "The restart failed."],
  ["answer", "The server did not come back with the new config."],
  ["verify", "The server does not show the new config."],
  ["restore", "The previous config could not be restored."],
])("a failed %s is named", (failed, words) => {
  expect(report(rolledBack({ failed })).text).toMatch(new RegExp(`^${words} The reason\\.\n`));
});

describe("the server's log", () => {
  test("are its last eight lines", () => {
    const log = Array.from({ length: 20 }, (_, at) => `line ${at}`);
    expect(report(rolledBack({ log })).text).toMatch(/\nFrom the server's log:\nline 12\n(.*\n){6}line 19$/);
  });

  test("has no heading where there is none", () => {
    expect(report(rolledBack({ log: [] })).text).not.toContain("server's log");
  });

  test("and the reasons, notes and troubles are shown without secrets", () => {
    const line = "llama-server --api-key hunter2 -e HF_TOKEN=hunter3";
    const texts = [
      report(rolledBack({ reason: line, log: [line], trouble: line, notes: [line] })),
      report({ kind: "changed", backup: undefined, context: undefined, notes: [line] }),
      report({ kind: "refused", reason: line, current: undefined }),
    ];
    for (const { text } of texts) {
      expect(text).toContain("llama-server --api-key •");
      expect(text).not.toContain("hunter");
    }
  });
});
