import { afterEach, beforeEach, expect, test } from "vitest";
import { startPlace } from "../support/command-place.ts";
import { saying } from "../support/command-user.ts";
import { inspected } from "../support/doctor-client.ts";
import type { ShownFinding } from "../support/doctor-findings.ts";
import { llamaServerProblem, startLlamaServer, TINY_MODEL } from "../support/llama-server.ts";
import { UNIT } from "../support/machine-row.ts";
import { realSuite } from "../support/programs.ts";
import { RouterPlace } from "../support/router-place.ts";
import { kept } from "../support/wire.ts";

const bad = (all: readonly ShownFinding[]): string[] =>
  all
    .filter(({ verdict }) => verdict === "warning" || verdict === "fault")
    .map(({ check, subject }) => `${check} ${subject}`);

const of = (all: readonly ShownFinding[], check: string): ShownFinding | undefined =>
  all.find((finding) => finding.check === check);

const PRESET = `version = 1
[*]
threads = 1
[a]
model = ${TINY_MODEL}
ctx-size = 16384
parallel = 1
[b]
model = ${TINY_MODEL}
ctx-size = 32768
parallel = 2
`;

realSuite(llamaServerProblem(), "the doctor on a real router", () => {
  let place: RouterPlace;
  beforeEach(async () => {
    place = await RouterPlace.start(PRESET);
  });
  afterEach(() => place.stop());

  test("finds nothing wrong with what is right, and loads nothing", async () => {
    await place.begin(PRESET, ["a"]);
    const all = await inspected(place);
    expect(bad(all)).toEqual([]);
    expect(of(all, "context-live")).toMatchObject({ verdict: "ok" });
    expect(of(all, "context")?.seen).toContain("b: 32768 for 2 slots, 16384 for a request");
    expect(of(all, "router-context")).toMatchObject({ verdict: "ok" });
    expect(place.takeDeeds()).toEqual([]);
  });

  test("finds a size on the router's own command line", async () => {
    place.unitRuns("--offline", "-c", "4096");
    expect(of(await inspected(place), "router-context")).toMatchObject({
      verdict: "warning",
      seen: "-c 4096 in llama-server.service overrides the ctx-size of a and b",
    });
    place.unitRuns("--offline", "--ctx-size=16384");
    expect(of(await inspected(place), "router-context")?.seen).toContain("overrides the ctx-size of b");
  });

  test("finds a size over what the model was trained for, and --fix sets that one", async () => {
    const preset = PRESET.replace("ctx-size = 16384", "ctx-size = 65536");
    await place.begin(preset, ["a"]);
    expect(of(await inspected(place), "context")).toMatchObject({
      verdict: "warning",
      subject: "Context of a",
      seen: expect.stringContaining("set to 65536 tokens for a request, and trained for 32768"),
    });
    const user = saying(true);
    await place.type("/ai-server-doctor --fix", user);
    expect(user.questions[0]?.title).toContain("Change the context size of a to 32768");
    expect(place.text).toContain("ctx-size = 32768\nparallel = 1");
    expect(bad(await inspected(place))).toEqual([]);
  });

  test("finds sections that the router has not read, and one without a model", async () => {
    place.text = `${PRESET}[c]\nctx-size = 8192\n`;
    expect(bad(await inspected(place))).toEqual(["config-served What the server has read"]);
    await place.begin(place.text, []);
    expect(bad(await inspected(place))).toEqual(["model-state State of c"]);
  });
});

/** What a request that brings a tool, as pi's do, is answered with. */
async function statusWithTools(url: string): Promise<number> {
  const parameters = { type: "object", properties: {} };
  const answer = await fetch(`${url}/v1/chat/completions`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({
      max_tokens: 1,
      messages: [{ role: "user", content: "hi" }],
      tools: [{ type: "function", function: { name: "look", parameters } }],
    }),
  });
  await answer.text();
  return answer.status;
}

realSuite(llamaServerProblem(), "the doctor on a real llama-server", () => {
  const ARGS = ["-np", "2", "-c", "32768"];

  async function stood(args: readonly string[]) {
    const server = await startLlamaServer({ args });
    const place = await startPlace(undefined, { AI_SERVER_URL: server.url });
    place.unitShows(UNIT(["/usr/bin/llama-server", "-m", TINY_MODEL, ...args].join(" ")));
    await kept(Promise.resolve({ close: () => server.stop() }));
    return { place, url: server.url };
  }

  test("finds nothing wrong with what is right", async () => {
    const { place, url } = await stood(ARGS);
    const all = await inspected(place);
    expect(bad(all)).toEqual([]);
    expect(of(all, "context")?.seen).toBe("a request may use 16384 tokens of --ctx-size 32768");
    expect(of(all, "jinja")?.seen).toBe("the chat template is read, as llama-server does by itself");
    expect(await statusWithTools(url)).toBe(200);
  });

  test("finds templates that are not read, and a context that is smaller than it should be", async () => {
    const { place, url } = await stood(["--no-jinja", "-c", "65536", "-np", "1"]);
    const all = await inspected(place);
    expect(bad(all)).toEqual(["context Context size", "jinja Tools"]);
    expect(of(all, "context")?.seen).toContain("trained for 32768 tokens and gets no more");
    expect(of(all, "jinja")?.seen).toContain("with --no-jinja llama-server refuses every request");
    expect(await statusWithTools(url)).toBe(500);
  });
});
