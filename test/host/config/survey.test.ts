import { describe, expect, test } from "vitest";
import { surveyOf } from "../../../host/config/config-file.ts";

const RUN = "llama-server --port ${PORT} -m /m/a.gguf";

function model(lines: string, top = "") {
  const [found] = surveyOf(`${top}models:\n  a:\n    cmd: ${RUN}\n${lines}`, "yaml").models;
  return found;
}

describe("llama-swap's config as a whole", () => {
  test("says what is set for each model", () => {
    const lines =
      "    ttl: 300\n    unlisted: true\n    proxy: http://x:${PORT}\n    metadata: { chat: false }\n    capabilities: { context: 4096 }\n";
    expect(model(lines)).toMatchObject({
      id: "a",
      line: 2,
      ttl: 300,
      isUnlisted: true,
      isOther: true,
      declared: 4096,
      proxy: "http://x:${PORT}",
      fault: undefined,
    });
    expect(model("")).toMatchObject({
      ttl: undefined,
      isUnlisted: false,
      isOther: false,
      declared: undefined,
      proxy: undefined,
    });
  });

  test("follows macros, anchors and merge keys", () => {
    const top =
      "macros: { idle: 90, size: 2048 }\nx-own: &own { ttl: '${idle}', capabilities: { context: '${size}' } }\n";
    expect(model("    <<: *own\n", top)).toMatchObject({ ttl: 90, declared: 2048 });
    expect(model("    ttl: -1\n", top)?.ttl).toBeUndefined();
    expect(model("    ttl: 0\n", top)?.ttl).toBe(0);
  });

  test("says what is set for all", () => {
    const all = "healthCheckTimeout: 600\nglobalTTL: 1800\nsendLoadingState: true\nmodels: {}\n";
    expect(surveyOf(all, "yaml").swap).toMatchObject({
      healthCheckTimeout: 600,
      globalTtl: 1800,
      sendsLoading: true,
    });
    expect(surveyOf("models: {}\n", "yaml").swap).toMatchObject({
      healthCheckTimeout: undefined,
      globalTtl: 0,
      sendsLoading: false,
    });
  });

  test("names the variables in a command alone", () => {
    const text = `models:\n  a: { cmd: "env A=1 ${RUN}", env: [B=2] }\n`;
    expect(surveyOf(text, "yaml").models[0]).toMatchObject({
      assignments: ["A=1"],
      start: { environment: ["B=2", "A=1"] },
    });
  });

  test.each([
    ["no groups", "", false],
    ["a group that swaps", "groups: { g: { members: [a, b] } }\n", false],
    ["a group that does not swap", "groups: { g: { swap: false, members: [a, b] } }\n", true],
    ["two exclusive groups", "groups: { g: { members: [a] }, h: { members: [b] } }\n", false],
    ["a group that is not exclusive", "groups: { g: { exclusive: false, members: [a] } }\n", true],
    ["a persistent group", "groups: { g: { persistent: true, members: [a] } }\n", true],
    ["a matrix", "matrix: { vars: { x: a }, sets: { s: x } }\n", true],
    [
      "groups in the other place",
      "routing: { router: { settings: { groups: { g: { swap: false, members: [a, b] } } } } }\n",
      true,
    ],
  ])("says whether two models may run together with %s", (_, groups, may) => {
    const text = `${groups}models:\n  a: { cmd: "${RUN}" }\n  b: { cmd: "${RUN}" }\n`;
    expect(surveyOf(text, "yaml").swap?.mayRunTogether("a", "b")).toBe(may);
    expect(surveyOf(text, "yaml").swap?.mayRunTogether("b", "a")).toBe(may);
  });

  test("takes a key for a misspelled one only where it is close", () => {
    const keys = "    tll: 1\n    Cmd: x\n    check-endpoint: x\n    note: x\n    notes: x\n    x-mine: 1\n";
    const slips = surveyOf(`hosts: 1\nglobalTtl: 3\nmodels:\n  a:\n    cmd: ${RUN}\n${keys}`, "yaml").slips;
    expect(slips.map((slip) => /key "(.*?)"/.exec(slip)?.[1])).toEqual([
      "globalTtl",
      "tll",
      "Cmd",
      "check-endpoint",
    ]);
  });
});

describe("a preset as a whole", () => {
  test("says what is set for each model", () => {
    const { models, swap } = surveyOf("[*]\njinja = true\n[a]\nmodel = /m/a.gguf\nc = 4096\n", "ini");
    expect(swap).toBeUndefined();
    expect(models).toMatchObject([
      {
        id: "a",
        line: 3,
        setting: { tokens: 4096 },
        start: { flags: [{ name: "jinja" }, { name: "model" }, { name: "c" }] },
      },
    ]);
  });

  test("finds sections and aliases that mean two things", () => {
    const text = "[a]\nmodel = x\nalias = b, c\n[b]\nmodel = y\nalias = c\n[a]\nmodel = z\nalias = b, c\n";
    const { clashes } = surveyOf(text, "ini");
    expect(clashes.map(({ what }) => what)).toEqual([
      'Two sections have the name "a": llama.cpp ignores all before line 7.',
      '"b" is an alias of "a", and "b" goes by that name too.',
      '"c" is an alias of "b", and "a" goes by that name too.',
    ]);
    expect(surveyOf("[a]\nmodel = x\nalias = a, b\n", "ini").clashes).toEqual([]);
  });
});
