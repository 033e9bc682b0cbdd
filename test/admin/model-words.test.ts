import { visibleWidth } from "@earendil-works/pi-tui";
import { describe, expect, test } from "vitest";
import { modelDetails, type Surroundings, statusTable } from "../../admin/model-words.ts";
import type { Thinking } from "../../lib/thinking.ts";
import { NO_DESCRIPTION } from "../../server/models/listed-model.ts";
import type { ModelFacts, RunningModel } from "../../server/models/models.ts";
import { facts } from "../support/model-facts.ts";

describe("the table", () => {
  test("claims nothing that was not read", () => {
    const models = [
      facts(),
      facts({
        id: "new",
        state: "unloaded",
        ttlSeconds: undefined,
        context: { value: 32_768, source: "default" },
        vision: { value: false, source: "default" },
        thinking: { value: { kind: "none" }, source: "default" },
      }),
      facts({
        id: "p/x",
        kind: "peer",
        state: "unknown",
        ttlSeconds: undefined,
        vision: { value: false, source: "declared" },
      }),
      facts({
        id: "s",
        ttlSeconds: 0,
        thinking: { value: { kind: "effort", levels: ["low", "high"] }, source: "declared" },
      }),
      facts({
        id: "t",
        state: "stopping",
        ttlSeconds: 90,
        thinking: { value: { kind: "none" }, source: "live" },
      }),
    ];
    expect(statusTable(models, 120)).toEqual([
      "Model  State     Context  From  Unloads     Vision  Thinking",
      "a      ready     128k     live  5 min idle  yes     on/off",
      "new    unloaded  –        –     –           –       –",
      "p/x    peer      128k     live  –           no      on/off",
      "s      ready     128k     live  never       yes     low/high",
      "t      stopping  128k     live  90 s idle   yes     no",
    ]);
  });

  test("shows what has failed as that, until it is loaded again", () => {
    const failure = { exitCode: 1 };
    const models = (["unloaded", "starting", "ready"] as const).map((state) =>
      facts({ id: state, state, failure }),
    );
    const states = statusTable(models, 120)
      .slice(1)
      .map((line) => line.split(/\s+/)[1]);
    expect(states).toEqual(["failed", "starting", "ready"]);
  });

  test("fits every terminal from 20 columns on", () => {
    const models = [
      facts({ id: "模型/通义千问-Q4_K_M.gguf" }),
      facts({ id: "x".repeat(256) }),
      facts({ id: "👩‍💻" }),
    ];
    for (let width = 20; width <= 200; width++) {
      const lines = statusTable(models, width);
      expect(lines).toHaveLength(4);
      for (const line of lines) expect(visibleWidth(line)).toBeLessThanOrEqual(width);
    }
  });

  test("without models says so", () => {
    expect(statusTable([], 80)).toEqual(["The server offers no chat model."]);
  });
});

describe("what is known of one model", () => {
  const running = (commandLine: string | undefined): RunningModel => ({
    id: "a",
    state: "ready",
    commandLine,
    ttlSeconds: 300,
  });

  const AROUND: Surroundings = {
    running: undefined,
    lastLoadMs: undefined,
    description: NO_DESCRIPTION,
    address: "https://ai.example",
  };
  const details = (model: ModelFacts, around: Partial<Surroundings> = {}): string[] =>
    modelDetails(model, { ...AROUND, ...around }, 120);

  test("is shown line by line, with its source", () => {
    expect(
      details(facts(), { running: running("llama-server -m x \\\n  -c 8192"), lastLoadMs: 83_000 }),
    ).toEqual([
      "a",
      "  Name       A",
      "  State      ready",
      "  Context    131072 tokens a request (live)",
      "  Output     1 tokens (default)",
      "  Vision     yes (live)",
      "  Thinking   on/off (live)",
      "  Tools      yes (live)",
      "  Loading    takes about 1 min 23 s",
      "  Trained    –",
      "  Size       –",
      "  Quantised  –",
      "  Unloads    5 min idle (live)",
      "  Runs on    https://ai.example",
      "  Command    llama-server -m x \\",
      "               -c 8192",
    ]);
  });

  test.each([
    [1, "  Ended      with exit code 1; see /ai-server-logs"],
    [undefined, "  Ended      with an error; see /ai-server-logs"],
  ])("says with what its process has ended (%s)", (exitCode, line) => {
    const failed = facts({ state: "unloaded", failure: { exitCode } });
    expect(details(failed).slice(2, 4)).toEqual(["  State      failed", line]);
    expect(details({ ...failed, state: "ready" })).not.toContain(line);
  });

  test("says of what is not known that it is not", () => {
    const unread = facts({
      name: "a",
      state: "unloaded",
      ttlSeconds: undefined,
      context: { value: 32_768, source: "default" },
      vision: { value: false, source: "default" },
      thinking: { value: { kind: "none" }, source: "default" },
      tools: { value: true, source: "default" },
    });
    expect(details(unread)).toEqual([
      "a",
      "  State      unloaded",
      "  Context    –",
      "  Output     1 tokens (default)",
      "  Vision     –",
      "  Thinking   –",
      "  Tools      –",
      "  Trained    –",
      "  Size       –",
      "  Quantised  –",
      "  Unloads    –",
      "  Runs on    https://ai.example",
    ]);
  });

  test("has the facts of its file, other ids, and where it runs", () => {
    const known = facts({
      trainedContext: { value: 262_144, source: "live" },
      sizeBytes: { value: 21_400_000_000, source: "last seen" },
      quantization: { value: "Q4_K_M", source: "command line" },
      runsAs: undefined,
    });
    const lines = details(known, {
      description: { text: "For code.", aliases: ["b", "c"], peer: "other", targets: [] },
    });
    expect(lines.slice(1, 3)).toEqual(["  About      For code.", "  Aliases    b, c"]);
    expect(lines.slice(-5)).toEqual([
      "  Trained    for 262144 tokens (live)",
      "  Size       21.4 GB (last seen)",
      "  Quantised  Q4_K_M (command line)",
      "  Unloads    5 min idle (live)",
      "  Runs on    other",
    ]);
    for (const [bytes, words] of [
      [7, "7 B"],
      [4500, "4.5 kB"],
      [450_816, "451 kB"],
      [10 ** 16, "10000 TB"],
    ] as const)
      expect(details(facts({ sizeBytes: { value: bytes, source: "live" } })).join()).toContain(words);
  });

  test("of a selector are among which it chooses", () => {
    const description = { ...NO_DESCRIPTION, targets: ["a", "b"] };
    const selector = facts({ kind: "selector", runsAs: undefined });
    expect(details(selector, { description })).toContain("  Chooses    among a, b");
  });

  test("names the problem of one that cannot be used in the place of its state", () => {
    const broken = facts({ problem: "no model path", state: "unloaded" });
    expect(statusTable([broken], 80).join("\n")).toContain("[no model path]");
    expect(details(broken)).toContain("  State      [no model path]");
  });

  test.each<[Thinking, string]>([
    [{ kind: "none" }, "no"],
    [{ kind: "switch", variable: "thinking" }, "on/off"],
    [{ kind: "effort", levels: ["none", "high"] }, "none/high"],
    [{ kind: "effort", levels: ["high", "max"], switch: "enable_thinking" }, "off/high/max"],
    [{ kind: "budget" }, "budget"],
    [{ kind: "always" }, "always"],
  ])("says of thinking %j: %s", (value, words) => {
    const lines = details(facts({ thinking: { value, source: "live" } }));
    expect(lines).toContain(`  Thinking   ${words} (live)`);
  });

  test("says of an alias what it stands for, and of a peer what it is", () => {
    const alias = facts({ id: "b", name: "b", kind: "alias", runsAs: "a" });
    expect(details(alias).slice(0, 2)).toEqual(["b", "  Alias of   a"]);
    const peer = facts({ name: "a", kind: "peer", runsAs: undefined, state: "unknown" });
    expect(details(peer)[1]).toBe("  State      peer");
  });

  test("shows no secret and no terminal sequence of a command line, and not all of an endless one", () => {
    const evil = `llama-server --api-key hunter2 -e HF_TOKEN=hunter3 \u001b[2J${" --verbose".repeat(1000)}`;
    const text = details(facts(), { running: running(evil) }).join("\n");
    expect(text).toContain("--api-key •");
    expect(text).not.toMatch(/hunter|\[2J/);
    expect(text.length).toBeLessThan(5000);
  });
});
