import { describe, expect, test } from "vitest";
import {
  askedLevel,
  heldNotice,
  isInScope,
  meantModel,
  placedNotice,
  type SessionChoice,
} from "../../session/model.ts";
import { model } from "../support/samples.ts";

type Branch = SessionChoice["branch"];

const USER = { type: "message", message: { role: "user", content: "Hi" } };
const chosen = (provider: string, modelId: string): unknown => ({ type: "model_change", provider, modelId });
const answered = (provider: string, model: string): unknown => ({
  type: "message",
  message: { role: "assistant", provider, model },
});

function meant(entries: unknown[], changes: Partial<SessionChoice> = {}): string | undefined {
  return meantModel({ reason: "startup", branch: entries as Branch, settings: {}, args: [], ...changes })?.id;
}

describe("a stored session is meant to be on", () => {
  test("the model of its last answer", () => {
    expect(meant([chosen("cloud", "x"), USER, answered("ai-server", "a")])).toBe("a");
    expect(meant([chosen("ai-server", "a"), USER, answered("cloud", "x")])).toBeUndefined();
  });

  test("the model that was chosen after it", () => {
    expect(meant([USER, answered("cloud", "x"), chosen("ai-server", "a"), USER])).toBe("a");
    expect(meant([USER, answered("ai-server", "a"), chosen("cloud", "x")])).toBeUndefined();
  });

  test("its own model and not the default of the settings", () => {
    const settings = { defaultProvider: "ai-server", defaultModel: "b" };
    expect(meant([USER, answered("ai-server", "a")], { settings })).toBe("a");
    expect(meant([USER, answered("cloud", "x")], { settings })).toBeUndefined();
  });

  test.each(["resume", "fork", "reload"] as const)("the same after %s", (reason) => {
    expect(meant([USER, answered("ai-server", "a")], { reason })).toBe("a");
  });

  test("what the command line names, which is pi's to select", () => {
    const entries = [USER, answered("ai-server", "a")];
    expect(meant(entries, { args: ["-p", "--model", "cloud/x", "Hi"] })).toBeUndefined();
    expect(meant(entries, { args: ["-p", "--models", "cloud/x", "Hi"] })).toBe("a");
  });
});

describe("a session that begins is meant to be on", () => {
  // pi has recorded what it came up with.
  const begun = [chosen("cloud", "x"), { type: "thinking_level_change", thinkingLevel: "off" }];
  const settings = { defaultProvider: "ai-server", defaultModel: "org/a:Q4" };

  test("the default of the settings", () => {
    expect(meant(begun, { settings })).toBe("org/a:Q4");
    expect(meant(begun, { settings, reason: "new" })).toBe("org/a:Q4");
    expect(meant(begun)).toBeUndefined();
    expect(meant(begun, { settings: { defaultProvider: "cloud", defaultModel: "a" } })).toBeUndefined();
    expect(meant(begun, { settings: { defaultProvider: "ai-server" } })).toBeUndefined();
  });

  test("what another extension has chosen when it began", () => {
    expect(meant([...begun, chosen("cloud", "y")], { settings })).toBeUndefined();
    // Of a fork, those of the session that it comes from.
    const forked = [...begun, chosen("cloud", "y"), ...begun];
    expect(meant(forked, { settings, reason: "fork" })).toBe("org/a:Q4");
  });

  test("what was chosen in it before its extensions were loaded again", () => {
    expect(meant(begun, { settings, reason: "reload" })).toBeUndefined();
  });

  test("the default of the settings, among the models to choose from; those of the command line win over the settings'", () => {
    const enabledModels = ["cloud/*", "ai-server/org/a:Q4:high"];
    const choice = { reason: "startup", branch: begun as Branch, args: [] } as const;
    const scoped = { ...settings, enabledModels };
    expect(meantModel({ ...choice, settings: scoped })?.scope).toEqual(enabledModels);
    const args = ["--models", "cloud/x, a*"];
    expect(meantModel({ ...choice, settings: scoped, args })?.scope).toEqual(["cloud/x", "a*"]);
    const recorded = [USER, answered("ai-server", "a")] as Branch;
    expect(meantModel({ ...choice, branch: recorded, settings: scoped, args })?.scope).toEqual([]);
  });
});

describe("the models to choose from include the one that is meant, as pi reads them:", () => {
  const cloud = ["claude-sonnet", "qwen-max"].map((id) => model({ id, name: id, provider: "cloud" }));

  test.each([
    [[], true],
    [["ai-server/qwen:Q4"], true],
    [["AI-Server/Qwen:q4:high"], true],
    [["cloud/*", "ai-server/*"], true],
    [["*"], true],
    [["*sonnet*", "qwen?Q4"], true],
    [["ai-server/qw"], true],
    [["*sonnet*"], false],
    [["cloud/*", "*-max"], false],
    [["sonnet", "other"], false],
    // The names of both have it, and pi takes the one whose name sorts last.
    [["qwen"], true],
    [["qwen-"], false],
  ])("%j: %j", async (scope, isIn) => {
    const meant = { id: "qwen:Q4", scope };
    expect(await isInScope(meant, cloud)).toBe(isIn);
    const listed = model({ id: "qwen:Q4", name: "qwen:Q4", provider: "ai-server" });
    expect(await isInScope(meant, [listed, ...cloud])).toBe(isIn);
  });
});

describe("the level that the user has asked for", () => {
  const asked = (args: string[], entries: unknown[] = [], scoped?: string): string | undefined =>
    askedLevel(args, entries as Branch, scoped);

  test("stands on the command line by itself or after the model", () => {
    expect(asked(["--thinking", "low", "--model", "ai-server/a:high"], [USER], "off")).toBe("low");
    expect(asked(["--model", "ai-server/a:off"])).toBe("off");
    expect(asked(["--model", "ai-server/a"], [], "off")).toBeUndefined();
    expect(asked([])).toBeUndefined();
  });

  test("stands with the model in those to choose from, for a session that begins", () => {
    expect(asked(["--models", "ai-server/a:off"], [], "off")).toBe("off");
    expect(asked(["--models", "ai-server/a:off"], [USER], "off")).toBeUndefined();
  });
});

test("each notice says where the session is and what to do", () => {
  const states = ["listed", "absent", "not set up", "refused"] as const;
  const [listed, absent, notSetUp, refused] = states.map((state) => placedNotice({ id: "a", state }));
  expect(listed).toBe("AI Server: this session stays on ai-server/a.");
  expect(absent).toContain("Nothing is sent to another provider");
  expect(notSetUp).toContain("Run /login ai-server");
  expect(refused).toBe(heldNotice("a"));
  expect(refused).toContain("nothing was sent");
});
