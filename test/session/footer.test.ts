import { describe, expect, onTestFinished, test } from "vitest";
import type { RunningModel } from "../../server/models/models.ts";
import { Footer, footerLine } from "../../session/footer.ts";
import { FakeTimer } from "../support/clock.ts";
import { FakeTerminal } from "../support/fake-terminal.ts";

const runs = (id: string, state: RunningModel["state"] = "ready"): RunningModel => ({
  id,
  state,
});
const window = (id: string): number | undefined => (id === "unread" ? undefined : 131_072);

test.each<[string, RunningModel[] | undefined, string | undefined]>([
  ["the server does not report it", undefined, undefined],
  ["nothing is loaded", [], "no model loaded"],
  ["the model is ready", [runs("own")], "own ready · 128k"],
  ["its window was not read", [runs("unread")], "unread ready"],
  ["it starts", [runs("own", "starting")], "own starting"],
  ["another one is loaded", [runs("other")], "other ready · 128k"],
  ["several are", [runs("other"), runs("own"), runs("third")], "own ready · 128k · and 2 more"],
])("where %s", (_what, running, line) => {
  expect(footerLine(running, "own", window)).toBe(line);
});

test("while the server works ahead, the line says what it does for pi's own model", () => {
  expect(footerLine([runs("other"), runs("own")], "own", window, "reading ahead")).toBe("own reading ahead");
  expect(footerLine(undefined, "own", window, "loading")).toBe("own loading");
});

function open(running: RunningModel[] | Error = [runs("own")]) {
  const terminal = new FakeTerminal();
  const timer = new FakeTimer();
  const server = { running, looks: 0, changes: 0, window: 4096, seen: [] as (readonly string[])[] };
  const footer = new Footer({
    ui: terminal.ui,
    running: async () => {
      server.looks += 1;
      if (server.running instanceof Error) throw server.running;
      return server.running;
    },
    onLook: (ready) => server.seen.push(ready),
    onReadyChanged: () => {
      server.changes += 1;
    },
    windowOf: () => server.window,
    clock: timer,
  });
  onTestFinished(() => footer.close());
  return { terminal, timer, server, footer };
}

const settled = (): Promise<void> => new Promise(setImmediate);

describe("the footer", () => {
  test("looks when a model of ours is selected, and then every thirty seconds", async () => {
    const { terminal, timer, server, footer } = open();
    timer.advance(120_000);
    expect(server.looks).toBe(0);
    footer.select("own");
    await settled();
    expect(terminal.statuses).toEqual(["own ready · 4k"]);
    for (let seconds = 0; seconds < 120; seconds += 1) {
      timer.advance(1000);
      await settled();
    }
    expect([server.looks, timer.left]).toEqual([5, 1]);
    // A look between the others puts the next one off.
    timer.advance(20_000);
    await footer.look();
    timer.advance(29_000);
    await settled();
    expect(server.looks).toBe(6);
  });

  test("shows and asks nothing while another provider's model is selected", async () => {
    const { terminal, timer, server, footer } = open();
    footer.select("own");
    await settled();
    footer.select(undefined);
    timer.advance(300_000);
    await footer.look();
    footer.showAgain();
    expect(terminal.statuses).toEqual(["own ready · 4k", undefined]);
    expect([server.looks, timer.left]).toEqual([1, 0]);
  });

  test("drops an answer that comes after another provider's model was selected", async () => {
    const { terminal, footer, timer } = open();
    footer.select("own");
    footer.select(undefined);
    await settled();
    expect([terminal.statuses, timer.left]).toEqual([[undefined], 0]);
  });

  test("reports a change of the ready models, and shows what is known then", async () => {
    const { terminal, server, footer } = open([]);
    footer.select("own");
    await settled();
    expect(server.changes).toBe(0);
    server.running = [runs("own", "starting")];
    await footer.look();
    expect(server.changes).toBe(0);
    server.running = [runs("own")];
    await footer.look();
    expect(server.changes).toBe(1);
    await footer.look();
    expect(server.changes).toBe(1);
    expect(server.seen).toEqual([[], [], ["own"], ["own"]]);
    server.window = 8192;
    footer.showAgain();
    expect(terminal.statuses.at(-1)).toBe("own ready · 8k");
  });

  test("no longer says that the model is not loaded while a turn loads it", async () => {
    const { terminal, server, footer } = open([]);
    footer.turnBegins();
    footer.select("own");
    await settled();
    footer.turnBegins();
    footer.showAgain();
    expect(terminal.statuses).toEqual(["no model loaded", undefined, undefined]);
    footer.forget();
    expect(terminal.statuses).toHaveLength(3);
    server.running = [runs("own")];
    await footer.look();
    footer.turnBegins();
    expect(terminal.statuses.at(-1)).toBe("own ready · 4k");
    footer.forget();
    expect(terminal.statuses.at(-1)).toBeUndefined();
  });

  test("shows nothing if the server does not answer, and looks again", async () => {
    const { terminal, server, footer, timer } = open(new Error("down"));
    footer.select("own");
    await settled();
    server.running = [runs("own")];
    timer.advance(30_000);
    await settled();
    expect(terminal.statuses).toEqual([undefined, "own ready · 4k"]);
  });

  test("stays empty after its end", async () => {
    const { terminal, footer, timer, server } = open();
    footer.select("own");
    footer.close();
    footer.close();
    await settled();
    await footer.look();
    expect([terminal.statuses.filter(Boolean), timer.left, server.looks]).toEqual([[], 0, 1]);
  });

  test("survives a context that has ended", async () => {
    const { terminal, footer } = open();
    terminal.end();
    footer.select("own");
    await settled();
    footer.close();
  });
});
