import { getEventListeners } from "node:events";
import { initTheme } from "@earendil-works/pi-coding-agent";
import { beforeAll, describe, expect, test } from "vitest";
import { type Waiting, whileWaiting } from "../../ui/wait.ts";
import { type Mode, User } from "../support/command-user.ts";

beforeAll(() => initTheme());

type Context = Parameters<typeof whileWaiting>[0];

const NEVER = new AbortController().signal;
const contextOf = (user: User): Context => ({ mode: user.mode, ui: user.ui }) as unknown as Context;

const later = <T>(milliseconds: number, value: T): Promise<T> =>
  new Promise((resolve) => setTimeout(resolve, milliseconds, value));

/** Work that ends when it is told to, or by the signal where it listens. */
function held(user: User, ended: AbortSignal = NEVER) {
  const end = Promise.withResolvers<string>();
  const begun = Promise.withResolvers<Waiting>();
  const over = whileWaiting(contextOf(user), ended, (waiting) => {
    begun.resolve(waiting);
    return end.promise;
  });
  return { begun: begun.promise, end, over };
}

describe("a wait", () => {
  test.each<Mode>(["tui", "rpc", "print", "json"])("that is short shows nothing in %s mode", async (mode) => {
    const user = new User(mode).readsOutput();
    let screens = 0;
    user.sees = () => screens++;
    expect(await whileWaiting(contextOf(user), NEVER, async () => 5)).toBe(5);
    expect([screens, user.statuses, user.stdout, user.stderr, user.notices]).toEqual([0, [], "", "", []]);
  });

  test("that is long shows a screen in the terminal until it is over", async () => {
    const user = new User("tui");
    const { begun, end, over } = held(user);
    (await begun).say("Doing it");
    expect(user.screen).toBe("");
    await user.shows("Doing it");
    end.resolve("done");
    expect(await over).toBe("done");
    expect(user.screen).toBe("");
  });

  test("shows each new text with its elapsed and expected time", async () => {
    const user = new User("tui");
    const { begun, end, over } = held(user);
    const waiting = await begun;
    waiting.say("Loading m", 83_000, 12_000);
    await user.shows("Loading m · 12 s of about 1 min 23 s");
    await user.shows("Loading m · 13 s of about");
    waiting.say("Loading m", 83_000, 2000);
    expect(user.screen).toContain("Loading m · 2 s of about");
    waiting.say("Looking at it");
    expect(user.screen).toContain("Looking at it…");
    end.resolve("");
    await over;
  });

  test("gives an RPC client a status for each new text, and removes it", async () => {
    const user = new User("rpc");
    const { begun, end, over } = held(user);
    const waiting = await begun;
    waiting.say("One");
    await expect.poll(() => user.statuses).toEqual(["One…"]);
    waiting.say("One", 5000, 300);
    waiting.say("Two");
    expect(user.statuses).toEqual(["One…", "Two…"]);
    end.resolve("");
    await over;
    expect(user.statuses).toEqual(["One…", "Two…", undefined]);
  });

  test.each<Mode>(["print", "json"])(
    "writes a line for each new thing to standard error in %s mode",
    async (mode) => {
      const user = new User(mode).readsOutput();
      const { begun, end, over } = held(user);
      const waiting = await begun;
      waiting.say("One");
      await expect.poll(() => user.stderr).toBe("One…\n");
      waiting.say("One");
      waiting.say("Two");
      end.resolve("");
      await over;
      expect([user.stdout, user.stderr]).toEqual(["", "One…\nTwo…\n"]);
    },
  );

  test.each<Mode>(["tui", "print"])("that fails, fails in %s mode, at once and late", async (mode) => {
    const ctx = contextOf(new User(mode).readsOutput());
    const failure = new Error("no");
    await expect(whileWaiting(ctx, NEVER, () => Promise.reject(failure))).rejects.toBe(failure);
    const late = (): Promise<never> => later(600, 0).then(() => Promise.reject(failure));
    await expect(whileWaiting(ctx, NEVER, late)).rejects.toBe(failure);
  });
});

describe("Escape", () => {
  test("stops the work, says so, and waits for its end", async () => {
    const user = new User("tui");
    const { begun, end, over } = held(user);
    const { signal } = await begun;
    await user.shows("Asking the server");
    user.escape();
    expect(signal.aborted).toBe(true);
    expect(user.screen).toContain("Stopping.");
    end.resolve("undone");
    expect(await over).toBe("undone");
  });

  test("pressed again leaves the screen, and the work ends in the background", async () => {
    const user = new User("tui");
    const { end, over } = held(user);
    await expect.poll(() => user.screen).not.toBe("");
    user.escape();
    user.escape();
    expect(await over).toBeUndefined();
    expect(user.screen).toBe("");
    // A rejection that nobody hears fails the run.
    end.reject(new Error("late"));
    await later(0, undefined);
  });
});

describe("a dialog", () => {
  test("takes the place of the screen, which comes back after it", async () => {
    const user = new User("tui");
    const { begun, end, over } = held(user);
    const waiting = await begun;
    await expect.poll(() => user.screen).not.toBe("");
    const answer = Promise.withResolvers<boolean>();
    const asked = waiting.ask(() => answer.promise);
    expect(user.screen).toBe("");
    await later(700, undefined);
    expect(user.screen).toBe("");
    answer.resolve(true);
    expect(await asked).toBe(true);
    await expect.poll(() => user.screen).not.toBe("");
    end.resolve("");
    await over;
    expect(user.screen).toBe("");
  });

  test("that fails brings the screen back too", async () => {
    const user = new User("tui");
    const { begun, end, over } = held(user);
    await expect((await begun).ask(() => Promise.reject(new Error("closed")))).rejects.toThrow("closed");
    await expect.poll(() => user.screen).not.toBe("");
    end.resolve("");
    await over;
  });

  test("removes a status, and restores it", async () => {
    const user = new User("rpc");
    const { begun, end, over } = held(user);
    const waiting = await begun;
    await expect.poll(() => user.statuses).toEqual(["Asking the server…"]);
    await waiting.ask(async () => expect(user.statuses).toEqual(["Asking the server…", undefined]));
    await expect.poll(() => user.statuses.length).toBe(3);
    end.resolve("");
    await over;
    expect(user.statuses.at(-1)).toBeUndefined();
  });

  test("after the second Escape is the last screen", async () => {
    const user = new User("tui");
    const { begun, end, over } = held(user);
    const waiting = await begun;
    await expect.poll(() => user.screen).not.toBe("");
    user.escape();
    user.escape();
    await over;
    expect(await waiting.ask(async () => "yes")).toBe("yes");
    waiting.say("Still at it");
    await later(600, undefined);
    expect(user.screen).toBe("");
    end.resolve("");
  });
});

describe("the session's end", () => {
  test.each<Mode>(["tui", "rpc"])("stops the work and leaves at once in %s mode", async (mode) => {
    const user = new User(mode);
    const ended = new AbortController();
    const { begun, end, over } = held(user, ended.signal);
    const { signal } = await begun;
    await expect.poll(() => (mode === "tui" ? user.screen : user.statuses.join())).not.toBe("");
    ended.abort();
    expect(signal.aborted).toBe(true);
    expect(await over).toBeUndefined();
    expect(user.screen).toBe("");
    end.reject(new Error("late"));
    await later(0, undefined);
  });

  test("keeps no listener of a wait that is over", async () => {
    const ended = new AbortController();
    await whileWaiting(contextOf(new User("tui")), ended.signal, async () => "done");
    expect(getEventListeners(ended.signal, "abort")).toEqual([]);
  });

  test("before the work has begun shows nothing", async () => {
    const ended = new AbortController();
    ended.abort();
    const user = new User("tui");
    const signals: boolean[] = [];
    await whileWaiting(contextOf(user), ended.signal, async ({ signal }) => signals.push(signal.aborted));
    await later(600, undefined);
    expect([signals, user.screen]).toEqual([[true], ""]);
  });

  test("makes its context throw, which does no harm", async () => {
    const stale = new Proxy({} as Context, {
      get(_, name) {
        if (name === "mode") return "rpc";
        throw new Error("This extension ctx is stale");
      },
    });
    const work = async ({ say }: Waiting): Promise<string> => {
      await later(600, undefined);
      say.call(undefined, "x");
      return "done";
    };
    await expect(
      whileWaiting(stale, NEVER, (waiting) => work({ ...waiting, say: waiting.say.bind(waiting) })),
    ).resolves.toBe("done");
  });
});
