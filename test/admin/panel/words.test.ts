import { describe, expect, test } from "vitest";
import type { PanelModel, PanelState } from "../../../admin/panel/state.ts";
import { isTicking, type PanelExtras, panelContent } from "../../../admin/panel/words.ts";
import type { DownloadState } from "../../../host/download/download.ts";
import { HostError } from "../../../host/ssh/ssh-faults.ts";
import { ServerError } from "../../../lib/errors.ts";
import { facts } from "../../support/model-facts.ts";

const NOW = 1_800_000_000_000;
const UNKNOWN_CLIENT = { agent: undefined, session: undefined, address: undefined };

const model = (id: string, more: Partial<PanelModel> = {}): PanelModel => ({
  id,
  runsAs: id,
  facts: facts({ id, runsAs: id, state: more.state ?? "unloaded", ttlSeconds: undefined }),
  running: undefined,
  state: "unloaded",
  description: { text: undefined, aliases: [], peer: undefined, targets: [] },
  loading: undefined,
  expectedLoadMs: undefined,
  isInUse: false,
  unloadsAt: undefined,
  canLoad: true,
  rates: { prompt: undefined, generation: undefined },
  ...more,
});

const stateOf = (more: Partial<PanelState> = {}): PanelState => ({
  following: "live",
  problem: undefined,
  version: { name: "llama-swap", version: "v250" },
  certificateEnds: new Date("2027-01-02T12:00:00Z"),
  upstream: undefined,
  warning: undefined,
  models: [model("a")],
  requests: [],
  isAskingRequests: false,
  performance: undefined,
  answered: undefined,
  ...more,
});

const EXTRAS: PanelExtras = {
  address: "https://ai.example",
  kind: undefined,
  ownLoad: undefined,
  message: undefined,
  session: "mine",
  modelInPi: undefined,
  hasConfigFile: true,
  hasSsh: true,
  needOf: () => undefined,
  downloads: [],
};

const content = (state: Partial<PanelState>, extras: Partial<PanelExtras> = {}, selected?: string) =>
  panelContent(stateOf(state), { ...EXTRAS, ...extras }, selected, NOW);

test("what differs between several servers is a message, until an action has one, and none of them is named", () => {
  const state = { upstream: "10.0.0.2:8080", warning: "Several." };
  const message = { level: "warning", text: "Several." };
  expect(content(state).message).toEqual(message);
  expect(content(state).heading).not.toContain("answered by 10.0.0.2:8080");
  const said = { level: "info", text: "a is loaded." } as const;
  expect(content(state, { message: said }).message).toEqual(said);
});

const cells = (one: PanelModel, extras: Partial<PanelExtras> = {}): readonly string[] =>
  content({ models: [one] }, extras).rows[0]?.cells ?? [];

const running = (ttlSeconds: number | undefined, commandLine?: string): PanelModel["running"] => ({
  id: "a",
  state: "ready",
  commandLine,
  ttlSeconds,
});

test("the heading says which server, whether it is live, and how long the certificate lasts", () => {
  expect(content({}).heading).toEqual([
    "AI server",
    "live",
    "llama-swap v250",
    "https://ai.example",
    "certificate until 2027-01-02",
  ]);
  const unread = { following: "reading", version: undefined, certificateEnds: undefined } as const;
  expect(content(unread).heading).toEqual(["AI server", "reading", "https://ai.example"]);
  const [, , , , ...more] = content({ upstream: "10.0.0.2:8080" }).heading;
  expect(more).toEqual(["answered by 10.0.0.2:8080", "certificate until 2027-01-02"]);
});

describe("a row", () => {
  test("shows the context with its source, the rate, and when the model unloads", () => {
    const ready = model("a", {
      state: "ready",
      running: running(300),
      unloadsAt: NOW + 250_000,
      rates: { prompt: 300, generation: 38.4 },
    });
    expect(cells(ready)).toEqual(["a", "ready", "128k", "live", "38", "~4 min"]);
  });

  test.each([
    [300, 59_999, "~60 s"],
    [300, 41_000, "~50 s"],
    [300, 1, "~10 s"],
    [300, 0, "5 min idle"],
    [300, undefined, "5 min idle"],
    [0, undefined, "never"],
    [undefined, undefined, ""],
  ])("with a ttl of %s s and %s ms left says %j", (ttl, left, words) => {
    const unloadsAt = left === undefined ? undefined : NOW + left;
    expect(cells(model("a", { state: "ready", running: running(ttl), unloadsAt })).at(-1)).toBe(words);
  });

  test("says that a model is in use, and which one is pi's", () => {
    const busy = model("a", { state: "ready", running: running(300), isInUse: true });
    expect(cells(busy, { modelInPi: "a" })).toEqual(["a (in pi)", "ready", "128k", "live", "", "in use"]);
  });

  test("claims no context that was not read", () => {
    const unread = model("a", { facts: facts({ context: { value: 32_768, source: "default" } }) });
    expect(cells(unread).slice(2, 4)).toEqual(["–", ""]);
    expect(cells(model("hidden", { facts: undefined, state: "ready" })).slice(1, 4)).toEqual([
      "ready, not in /model",
      "",
      "",
    ]);
  });

  test.each([
    [{}, "load", "still"],
    [{ state: "ready" }, "unload", "ready"],
    [{ state: "starting" }, "unload", "changing"],
    [{ state: "stopping" }, "unload", "changing"],
    [{ canLoad: false }, undefined, "still"],
  ] as const)("of %j can be toggled to %s", (more, toggles, tone) => {
    expect(content({ models: [model("a", more)] }).rows[0]).toMatchObject({ toggles, tone });
  });

  test.each([
    [{}, {}, ["use", "context", "log"]],
    [{ facts: undefined }, {}, ["context", "log"]],
    [{ runsAs: undefined }, {}, ["use"]],
    [{}, { hasConfigFile: false }, ["use", "log"]],
  ])("of %j, with %j, offers %j", (more, extras, offers) => {
    expect(content({ models: [model("a", more)] }, extras).rows[0]?.offers).toEqual(offers);
  });

  test("of the panel's own load shows that it waits, and can be stopped", () => {
    const ownLoad = { id: "a", said: { text: "a waits", since: NOW, expectedMs: undefined } };
    const [row] = content({}, { ownLoad }).rows;
    expect(row).toMatchObject({ toggles: "stop", tone: "changing" });
    expect(row?.cells[1]).toBe("waiting");
  });
});

describe("a download", () => {
  const download = (more: Partial<DownloadState>): DownloadState => ({
    id: "a".repeat(16),
    label: "org/name:Q4_0",
    files: [],
    doneBytes: 3 * 1024 ** 3,
    totalBytes: 12 * 1024 ** 3,
    stage: "running",
    program: "curl",
    rate: 24 * 1024 ** 2,
    problem: undefined,
    ...more,
  });
  const problem = new HostError("x", "network", { link: "ssh" });

  test.each<[Partial<DownloadState>, string, string]>([
    [{}, "Downloading org/name:Q4_0", "3 of 12 GiB · 24 MiB/s · 6 min 24 s left"],
    [{ rate: undefined }, "Downloading org/name:Q4_0", "3 of 12 GiB"],
    [{ problem, rate: undefined }, "Downloading org/name:Q4_0 (trying again)", "3 of 12 GiB"],
    [{ stage: "waiting" }, "org/name:Q4_0", "waiting · 25 %"],
    [{ stage: "checking" }, "org/name:Q4_0", "being checked"],
    [{ stage: "stopped" }, "org/name:Q4_0", "stopped at 25 %"],
    [{ stage: "failed", problem }, "org/name:Q4_0", "failed at 25 %"],
    [{ stage: "complete", doneBytes: 12 * 1024 ** 3 }, "org/name:Q4_0", "downloaded, not in the config"],
  ])("is a bar: %o", (more, title, words) => {
    const one = download(more);
    const { bars, hasDownloads } = content({}, { downloads: [one] });
    expect(bars).toEqual([{ title, words, fraction: one.doneBytes / one.totalBytes, step: 0 }]);
    expect(hasDownloads).toBe(true);
  });

  test("stands below the loads", () => {
    const loads = { models: [model("a", { state: "starting", loading: { since: NOW, isWhole: true } })] };
    const { bars } = content(loads, { downloads: [download({})] });
    expect(bars.map(({ title }) => title)).toEqual(["Loading a", "Downloading org/name:Q4_0"]);
  });
});

describe("bars", () => {
  const loading = (since: number, isWhole = true): Partial<PanelModel> => ({
    state: "starting",
    loading: { since, isWhole },
  });

  test("go by what earlier loads took", () => {
    const models = [model("a", { ...loading(NOW - 12_300), expectedLoadMs: 24_000 })];
    expect(content({ models }).bars).toEqual([
      { title: "Loading a", words: "12 s of about 24 s", fraction: 12_250 / 24_000, step: 49 },
    ]);
  });

  test("show no fraction if that is unknown, or the beginning was not seen", () => {
    const unknown = model("a", loading(NOW - 5000));
    const late = model("b", { ...loading(NOW - 5000, false), expectedLoadMs: 24_000 });
    expect(content({ models: [unknown, late] }).bars).toEqual([
      { title: "Loading a", words: "5 s", fraction: undefined, step: 20 },
      { title: "Loading b", words: "more than 5 s", fraction: undefined, step: 20 },
    ]);
  });

  test("never pass the end", () => {
    const models = [model("a", { ...loading(NOW - 99_000), expectedLoadMs: 20_000 })];
    expect(content({ models }).bars[0]).toMatchObject({ fraction: 1, words: "1 min 39 s of about 20 s" });
  });

  test("show a model with its aliases and the panel's own load once", () => {
    const alias = model("b", { ...loading(NOW), runsAs: "a" });
    expect(content({ models: [model("a", loading(NOW)), alias] }).bars).toHaveLength(1);
    const ownLoad = {
      id: "a",
      said: { text: "a waits for c to unload", since: NOW, expectedMs: undefined },
    };
    const { bars } = content({ models: [model("a", loading(NOW)), alias] }, { ownLoad });
    expect(bars.map(({ title }) => title)).toEqual(["a waits for c to unload"]);
  });
});

describe("the details", () => {
  test("show the owner's description, and mask the command line", () => {
    const one = model("a", {
      running: running(60, "llama-server --api-key hunter2 -c 8192"),
      description: { text: "For all", aliases: ["b", "c"], peer: undefined, targets: [] },
      rates: { prompt: 310.4, generation: 3.25 },
      expectedLoadMs: 2500,
    });
    const details = new Map(content({ models: [one] }, {}, "a").details);
    expect(details.get("About")).toBe("For all");
    expect(details.get("Aliases")).toBe("b, c");
    expect(details.get("Last")).toBe("prompt 310 tok/s, answer 3.3 tok/s");
    expect(details.get("Runs on")).toBe("https://ai.example");
    expect(details.get("Loading")).toBe("takes about 2.5 s");
    expect(details.get("Command")).toBe("llama-server --api-key •••• -c 8192");
  });

  test("name the server of a peer, and the state of an unlisted model", () => {
    const description = { text: undefined, aliases: [], peer: "other", targets: [] };
    const peer = model("p", { runsAs: undefined, description });
    expect(new Map(content({ models: [peer] }, {}, "p").details).get("Runs on")).toBe("other");
    const hidden = model("h", { facts: undefined, state: "ready" });
    expect(new Map(content({ models: [hidden] }, {}, "h").details).get("State")).toBe(
      "ready, not listed as a chat model",
    );
  });

  test("are empty for a missing model", () => {
    expect(content({}, {}, "gone").details).toEqual([]);
  });
});

describe("requests in flight", () => {
  const request = (id: string, more = {}) => ({
    id,
    model: "a",
    since: NOW - 12_000,
    client: UNKNOWN_CLIENT,
    ...more,
  });

  test("show their time and client", () => {
    const theirs = request("1", { client: { ...UNKNOWN_CLIENT, agent: "curl/8 (x)", address: "10.0.0.2" } });
    const ours = request("2", { since: undefined, client: { ...UNKNOWN_CLIENT, session: "mine" } });
    expect(content({ requests: [theirs, ours] }).inFlight).toEqual([
      "In flight: 2",
      "  a · 12 s · curl/8 at 10.0.0.2",
      "  a · this pi session",
    ]);
  });

  test("beyond four are counted", () => {
    const requests = Array.from({ length: 9 }, (_, at) => request(String(at)));
    expect(content({ requests }).inFlight.at(-1)).toBe("  and 5 more");
  });

  test.each([
    [{}, ["In flight: nothing"]],
    [{ requests: undefined }, ["In flight: not reported by the server"]],
    [{ requests: undefined, following: "lost" }, []],
    [{ requests: undefined, isAskingRequests: true }, []],
  ] as const)("of %j are %j", (state, lines) => {
    expect(content(state).inFlight).toEqual(lines);
  });
});

describe("plots", () => {
  const history = (name: string, usedMb: number, busyPercent: number | undefined) => ({
    key: name,
    name,
    readings: [{ at: 0, usedMb, totalMb: 24_576, busyPercent }],
  });

  test("are of each GPU and the host", () => {
    const gpus = [history("RTX", 18_637, 97.4), history("RTX", 512, undefined)];
    const { plots } = content({ performance: { host: history("Host", 1024, 5), gpus } });
    expect(plots.map(({ name, figure, words }) => [name, `${figure} ${words}`])).toEqual([
      ["GPU 1 RTX", "18.2 of 24 GB · 97 % busy"],
      ["GPU 2 RTX", "0.5 of 24 GB"],
      ["Host memory", "1 of 24 GB · 5 % busy"],
    ]);
    expect(plots[0]).toMatchObject({ values: [18_637 / 24_576], most: 1 });
    expect(content({ performance: { host: undefined, gpus: gpus.slice(0, 1) } }).plots[0]?.name).toBe(
      "GPU RTX",
    );
  });

  test("show the last measured rates", () => {
    const answer = { model: "a", promptTokens: 9, outputTokens: 9 };
    const answered = [
      { ...answer, promptRate: 310, generationRate: 40 },
      { ...answer, promptRate: undefined, generationRate: 38.4 },
    ];
    expect(content({ answered }).plots).toEqual([
      { name: "Prompts", figure: "310", words: "tok/s", values: [310], most: 310 },
      { name: "Answers", figure: "38", words: "tok/s", values: [40, 38.4], most: 40 },
    ]);
    expect(content({ answered: [] }).plots).toEqual([]);
  });
});

test.each([
  [{ models: [], following: "reading" }, "Reading the models…"],
  [{ models: [] }, "The server offers no chat model."],
  [{}, undefined],
  [
    { problem: new ServerError("No address.", { link: "DNS", remedy: "retry" }) },
    "configuration ok · certificates ok · DNS FAILS\nNo address.",
  ],
] as const)("of %j the trouble is %j", (state, words) => {
  expect(content(state).trouble).toBe(words);
});

test("time alone changes the content only while something goes on", () => {
  const of = (more: Partial<PanelState>): boolean => isTicking(stateOf(more));
  expect(of({})).toBe(false);
  expect(of({ requests: [{ id: "1", model: "a", since: NOW, client: UNKNOWN_CLIENT }] })).toBe(true);
  expect(of({ models: [model("a", { unloadsAt: NOW })] })).toBe(true);
  expect(of({ models: [model("a", { loading: { since: NOW, isWhole: true } })] })).toBe(true);
});

test("the details show what the selected model needs of memory, as soon as it is known", () => {
  const asked: string[] = [];
  const needOf = (id: string): string | undefined => {
    asked.push(id);
    return id === "a" ? "41.3 GiB on Vulkan0 (weights 30.1, context 9.8, compute 1.4) of 96 GiB" : undefined;
  };
  const models = [model("a"), model("b")];
  expect(content({ models }, { needOf }, "a").details).toContainEqual([
    "Memory",
    "needs 41.3 GiB on Vulkan0 (weights 30.1, context 9.8, compute 1.4) of 96 GiB",
  ]);
  expect(content({ models }, { needOf }, "b").details.map(([name]) => name)).not.toContain("Memory");
  expect(content({ models }, { needOf }).details).toEqual([]);
  expect(asked).toEqual(["a", "b"]);
});
