import { describe, expect, onTestFinished, test } from "vitest";
import { PanelFits } from "../../../admin/panel/fits.ts";
import { FakeClock } from "../../support/clock.ts";

function started() {
  const clock = new FakeClock();
  const closing = new AbortController();
  const asked: string[] = [];
  const open = new Map<string, PromiseWithResolvers<string>>();
  let [changes, closed] = [0, 0];
  const fits = new PanelFits({
    ask: (id, signal) => {
      asked.push(id);
      const answer = Promise.withResolvers<string>();
      open.set(id, answer);
      signal.addEventListener("abort", () => answer.reject(signal.reason), { once: true });
      return answer.promise;
    },
    close: async () => {
      closed += 1;
    },
    onChange: () => {
      changes += 1;
    },
    signal: closing.signal,
    clock,
  });
  onTestFinished(async () => {
    closing.abort();
    await fits.ended();
  });
  const answer = async (id: string, words: string): Promise<void> => {
    open.get(id)?.resolve(words);
    await clock.advance(0);
  };
  return { fits, clock, asked, answer, open, closing, changes: () => changes, closed: () => closed };
}

describe("what the models of the panel need", () => {
  test("is asked for the model that stays selected, once, and never waited for", async () => {
    const { fits, clock, asked, answer, changes } = started();
    expect(fits.of("a")).toBeUndefined();
    await clock.advance(400);
    expect(fits.of("b")).toBeUndefined();
    await clock.advance(400);
    expect(asked).toEqual([]);
    await clock.advance(600);
    expect(asked).toEqual(["b"]);
    await answer("b", "1 GiB");
    expect([changes(), fits.of("b")]).toEqual([1, "1 GiB"]);
    await clock.advance(10_000);
    expect(fits.of("b")).toBe("1 GiB");
    expect(asked).toEqual(["b"]);
  });

  test("is asked for one model at a time", async () => {
    const { fits, clock, asked, answer } = started();
    fits.of("a");
    await clock.advance(500);
    fits.of("b");
    await clock.advance(5000);
    expect(asked).toEqual(["a"]);
    await answer("a", "");
    await clock.advance(500);
    expect(asked).toEqual(["a", "b"]);
    await answer("b", "2 GiB");
    // An answer without words is one too.
    expect([fits.of("a"), fits.of("b")]).toEqual(["", "2 GiB"]);
  });

  test("is asked again when all is read again, also of a machine that did not answer", async () => {
    const { fits, clock, asked, answer, open } = started();
    fits.of("a");
    await clock.advance(500);
    open.get("a")?.reject(new Error("no ssh"));
    await clock.advance(0);
    fits.of("a");
    await clock.advance(5000);
    expect(asked).toEqual(["a"]);
    fits.clear();
    fits.of("a");
    await clock.advance(500);
    // What is forgotten while it is asked is asked again.
    fits.clear();
    await answer("a", "old");
    expect(fits.of("a")).toBeUndefined();
    await clock.advance(500);
    await answer("a", "new");
    expect([fits.of("a"), asked]).toEqual(["new", ["a", "a", "a"]]);
  });

  test("ends with the panel", async () => {
    const { fits, clock, asked, closing, closed } = started();
    fits.of("a");
    await clock.advance(500);
    closing.abort();
    await fits.ended();
    fits.of("b");
    await clock.advance(5000);
    expect([asked, closed()]).toEqual([["a"], 1]);
  });
});
