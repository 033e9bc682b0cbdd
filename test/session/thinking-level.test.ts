import type { Api, Model, ModelThinkingLevel } from "@earendil-works/pi-ai";
import type { ExtensionAPI } from "@earendil-works/pi-coding-agent";
import { describe, expect, test } from "vitest";
import { ThinkingLevel } from "../../session/thinking-level.ts";
import { FakePi } from "../support/fake-pi.ts";
import { model } from "../support/samples.ts";

type Start = Parameters<ThinkingLevel["begin"]>[0];
type Branch = Start["branch"];

const EFFORT = { thinkingLevelMap: { xhigh: null } };
const served = (source: string, changes: Partial<Model<Api>> = {}): Model<Api> =>
  ({ ...model({ id: "a", ...changes }), aiServer: { thinking: { source } } }) as Model<Api>;
/** A model whose template was never read, and the same once it is known to think. */
const UNREAD = served("default", { reasoning: false });
const READ = served("live", EFFORT);
const PLAIN_MODEL = served("live", { reasoning: false });

/** A session in the fake pi whose level is followed as the extension follows it. */
class Session {
  readonly pi = new FakePi();
  readonly level = new ThinkingLevel(this.pi.api);

  constructor(settings: Record<string, unknown> = {}) {
    this.pi.settings = settings;
    const { api } = this.pi;
    (api as ExtensionAPI).on("model_select", (event) =>
      this.level.modelChosen(event.model, this.pi.settings),
    );
    api.on("thinking_level_select", (event) => this.level.levelChanged(event.level, this.pi.model));
  }

  begin(on: Model<Api>, changes: Partial<Start> = {}): void {
    this.pi.context("rpc", on);
    // pi's own start.
    const { modelThinkingLevels, defaultThinkingLevel } = this.pi.settings as Record<string, never>;
    const own = modelThinkingLevels?.[`ai-server/${on.id}`] ?? defaultThinkingLevel ?? "medium";
    if (this.pi.branch.length === 0) this.pi.choose(own as ModelThinkingLevel);
    const branch = [...this.pi.branch] as unknown as Branch;
    const { settings } = this.pi;
    const start = { model: on, branch, settings, asked: undefined, isContinued: false, isPlaced: false };
    this.level.begin({ ...start, ...changes });
  }

  /** The model's template is known now, and the provider registered again with it. */
  known(on: Model<Api> = READ): ModelThinkingLevel {
    this.pi.context("rpc", on);
    this.level.modelKnown(this.pi.model);
    return this.pi.level;
  }

  get kept(): unknown[] {
    return this.pi.branch.filter(({ type }) => type === "custom").map(({ data }) => data);
  }
}

describe("the level that pi took away comes back once the model is known to think:", () => {
  test("pi's default, in a session that begins on the model", () => {
    const session = new Session();
    session.begin(UNREAD);
    expect([session.pi.level, session.kept]).toEqual(["off", [{ model: "a", level: "medium" }]]);
    expect(session.known()).toBe("medium");
  });

  test("the level of the settings, the model's own before the one for all", () => {
    const session = new Session({ defaultThinkingLevel: "low" });
    session.begin(UNREAD);
    expect(session.known()).toBe("low");
    const own = new Session({ defaultThinkingLevel: "low", modelThinkingLevels: { "ai-server/a": "high" } });
    own.begin(UNREAD);
    expect(own.known()).toBe("high");
  });

  test("the level that the session had, after /model", async () => {
    const session = new Session();
    session.begin(served("live", { ...EFFORT, id: "b" }));
    session.pi.choose("high");
    await session.pi.select(UNREAD);
    expect(session.pi.level).toBe("off");
    expect(session.known()).toBe("high");
    expect(session.known()).toBe("high");
  });

  test("the level that a session of another provider had", async () => {
    const session = new Session();
    session.pi.level = "high";
    session.begin(model({ provider: "cloud", id: "x", ...EFFORT }), { branch: [] });
    session.pi.choose("high");
    await session.pi.select(UNREAD);
    expect(session.known()).toBe("high");
  });

  test("across two models that are not known yet", async () => {
    const session = new Session();
    session.begin(served("live", { ...EFFORT, id: "b" }));
    session.pi.choose("high");
    await session.pi.select(served("default", { id: "c", reasoning: false }));
    await session.pi.select(UNREAD);
    expect(session.known()).toBe("high");
  });

  test("in a later session, which finds an off that looks like the user's own", () => {
    const first = new Session();
    first.begin(UNREAD);
    const later = new Session();
    later.pi.level = "off";
    for (const entry of first.pi.branch) later.pi.append(entry);
    later.begin(READ, { isContinued: true });
    expect(later.pi.level).toBe("medium");
  });

  test("in a later session in which the model is still not known", () => {
    const first = new Session();
    first.begin(UNREAD);
    const later = new Session();
    later.pi.level = "off";
    for (const entry of first.pi.branch) later.pi.append(entry);
    later.begin(UNREAD, { isContinued: true });
    expect(later.kept).toHaveLength(1);
    expect(later.known()).toBe("medium");
  });

  test("the one of the command line", () => {
    const session = new Session();
    session.begin(UNREAD, { asked: "high" });
    expect(session.known()).toBe("high");
  });
});

describe("off stays off", () => {
  test("where the user chose it on a model that thinks", async () => {
    const session = new Session();
    session.begin(READ);
    session.pi.choose("off");
    await session.pi.select(UNREAD);
    expect(session.known()).toBe("off");
  });

  test.each([
    ["the settings", { defaultThinkingLevel: "off" }, undefined],
    ["the command line", {}, "off"],
  ])("where %s say so", (_, settings, asked) => {
    const session = new Session(settings);
    session.begin(UNREAD, { asked });
    expect([session.known(), session.kept]).toEqual(["off", []]);
  });

  test("where it was chosen together with the model", () => {
    const session = new Session({ defaultThinkingLevel: "high" });
    session.begin(READ);
    session.level.modelChosen(UNREAD, session.pi.settings, "off");
    session.pi.context("rpc", UNREAD);
    session.pi.choose("off");
    expect(session.known()).toBe("off");
  });

  test("where the session had it, and when it is continued", () => {
    const session = new Session();
    session.pi.append({ type: "thinking_level_change", thinkingLevel: "off" });
    session.pi.level = "off";
    session.begin(READ, { isContinued: true });
    expect(session.pi.level).toBe("off");
    session.begin(UNREAD, { isContinued: true });
    expect(session.known()).toBe("off");
  });

  test("where the user chose it after the level had come back, also later", () => {
    const session = new Session();
    session.begin(UNREAD);
    session.known();
    session.pi.choose("off");
    expect(session.known()).toBe("off");
    session.begin(READ, { isContinued: true });
    expect(session.pi.level).toBe("off");
  });

  test("for a model that is known not to think: the session keeps no entry", () => {
    const session = new Session();
    session.begin(PLAIN_MODEL);
    expect([session.known(PLAIN_MODEL), session.kept]).toEqual(["off", []]);
  });

  test("for another model than the one that waits", async () => {
    const session = new Session();
    session.begin(UNREAD);
    await session.pi.select(PLAIN_MODEL);
    await session.pi.select(served("default", { id: "b", reasoning: false }));
    session.pi.context("rpc", READ);
    session.level.modelKnown(READ);
    expect(session.pi.level).toBe("off");
  });
});
