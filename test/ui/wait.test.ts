import { initTheme } from "@earendil-works/pi-coding-agent";
import { beforeAll, describe, expect, test } from "vitest";
import { waitFor } from "../../ui/wait.ts";

type Context = Parameters<typeof waitFor>[0];

interface Loader {
  handleInput(keys: string): void;
  dispose?: () => void;
}

beforeAll(() => initTheme());

/** A terminal whose one custom screen the test sees; `use` gets it and may press Escape. */
function terminal(
  mode: string,
  use: (loader: Loader) => void = () => {},
): { ctx: Context; screens: () => number } {
  let screens = 0;
  const theme = { fg: (_: string, text: string) => text };
  const custom = (make: (...parts: unknown[]) => Loader): Promise<void> => {
    screens++;
    return new Promise((done) => {
      const loader = make({ requestRender: () => {} }, theme, {}, () => {
        loader.dispose?.();
        done();
      });
      use(loader);
    });
  };
  return { ctx: { mode, ui: { custom } } as unknown as Context, screens: () => screens };
}

const later = <T>(milliseconds: number, value: T): Promise<T> =>
  new Promise((resolve) => setTimeout(resolve, milliseconds, value));

describe("a wait", () => {
  test.each(["tui", "rpc", "print", "json"])("that is short shows nothing in %s mode", async (mode) => {
    const { ctx, screens } = terminal(mode);
    expect(await waitFor(ctx, "…", async () => 5)).toBe(5);
    expect(screens()).toBe(0);
  });

  test("that is long shows a screen in the terminal until it is over", async () => {
    const { ctx, screens } = terminal("tui");
    expect(await waitFor(ctx, "…", () => later(700, "done"))).toBe("done");
    expect(screens()).toBe(1);
  });

  test("is left by Escape, which ends the work", async () => {
    let signal: AbortSignal | undefined;
    const { ctx } = terminal("tui", (loader) => loader.handleInput("\u001b"));
    const work = (given: AbortSignal): Promise<never> => {
      signal = given;
      return new Promise((_, reject) => given.addEventListener("abort", () => reject(given.reason)));
    };
    expect(await waitFor(ctx, "…", work)).toBeUndefined();
    expect(signal?.aborted).toBe(true);
  });

  test.each(["tui", "print"])("that fails, fails in %s mode", async (mode) => {
    const { ctx } = terminal(mode);
    const failure = new Error("no");
    await expect(waitFor(ctx, "…", () => Promise.reject(failure))).rejects.toBe(failure);
    await expect(waitFor(ctx, "…", () => later(700, 0).then(() => Promise.reject(failure)))).rejects.toBe(
      failure,
    );
  });
});
