import { getEventListeners } from "node:events";
import { initTheme } from "@earendil-works/pi-coding-agent";
import { beforeAll, describe, expect, test } from "vitest";
import { type Pace, type Waiting, whileWaiting } from "../../ui/wait.ts";
import { unchanged } from "../support/clock.ts";
import { type Mode, User } from "../support/command-user.ts";

beforeAll(() => initTheme());

type Context = Parameters<typeof whileWaiting>[0];

const NEVER = new AbortController().signal;
const contextOf = (user: User): Context => ({ mode: user.mode, ui: user.ui }) as unknown as Context;

const later = <T>(milliseconds: number, value: T): Promise<T> =>
  new Promise((resolve) => setTimeout(resolve, milliseconds, value));

/** A wait is shown soon, and its time stands still. */
const PACE: Pace = { shownAfterMs: 40, tickMs: 20, now: () => 0 };

/** No screen opens, though a wait would have been shown by now. */
const noScreen = (user: User): Promise<void> => unchanged(() => user.screen, 120);

/** Work that lasts until the test ends it. */
function held(user: User, ended: AbortSignal = NEVER, pace = PACE) {
  const end = Promise.withResolvers<string>();
  const begun = Promise.withResolvers<Waiting>();
  const work = (waiting: Waiting): Promise<string> => {
    begun.resolve(waiting);
    return end.promise;
  };
  const over = whileWaiting(contextOf(user), ended, work, pace);
  return { begun: begun.promise, end, over };
}

describe("a wait", () => {
  test.each<Mode>(["tui", "rpc", "print", "json"])(
    "shows nothing in %s mode if it is short",
    async (mode) => {
      const user = new User(mode).readsOutput();
      let screens = 0;
      user.sees = () => screens++;
      expect(await whileWaiting(contextOf(user), NEVER, async () => 5)).toBe(5);
      expect([screens, user.statuses, user.stdout, user.stderr, user.notices]).toEqual([0, [], "", "", []]);
    },
  );

  test("that lasts shows a screen in the terminal until it is over", async () => {
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
    let now = 0;
    const { begun, end, over } = held(user, NEVER, { ...PACE, now: () => now });
    const waiting = await begun;
    waiting.say("Loading m", 83_000, 12_000);
    await user.shows("Loading m · 12 s of about 1 min 23 s");
    now += 1000;
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

  test.each<Mode>(["tui", "print"])(
    "passes on the error of its work in %s mode, early and late",
    async (mode) => {
      const ctx = contextOf(new User(mode).readsOutput());
      const failure = new Error("no");
      await expect(whileWaiting(ctx, NEVER, () => Promise.reject(failure))).rejects.toBe(failure);
      const late = (): Promise<never> => later(100, 0).then(() => Promise.reject(failure));
      await expect(whileWaiting(ctx, NEVER, late, PACE)).rejects.toBe(failure);
    },
  );
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
    // An unhandled rejection fails the run.
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
    await noScreen(user);
    answer.resolve(true);
    expect(await asked).toBe(true);
    await expect.poll(() => user.screen).not.toBe("");
    end.resolve("");
    await over;
    expect(user.screen).toBe("");
  });

  test("brings the screen back when it fails", async () => {
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

  test("after the second Escape is not followed by the screen", async () => {
    const user = new User("tui");
    const { begun, end, over } = held(user);
    const waiting = await begun;
    await expect.poll(() => user.screen).not.toBe("");
    user.escape();
    user.escape();
    await over;
    expect(await waiting.ask(async () => "yes")).toBe("yes");
    waiting.say("Still at it");
    await noScreen(user);
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

  test("finds no listener of a wait that is over", async () => {
    const ended = new AbortController();
    await whileWaiting(contextOf(new User("tui")), ended.signal, async () => "done");
    expect(getEventListeners(ended.signal, "abort")).toEqual([]);
  });

  test("before the work has begun shows nothing", async () => {
    const ended = new AbortController();
    ended.abort();
    const user = new User("tui");
    const signals: boolean[] = [];
    const work = async ({ signal }: Waiting): Promise<unknown> => signals.push(signal.aborted);
    await whileWaiting(contextOf(user), ended.signal, work, PACE);
    await noScreen(user);
    expect([signals, user.screen]).toEqual([[true], ""]);
  });

  test("survives a context that throws", async () => {
    const stale = new Proxy({} as Context, {
      get(_, name) {
        if (name === "mode") return "rpc";
        throw new Error("This extension ctx is stale");
      },
    });
    const work = async ({ say }: Waiting): Promise<string> => {
      await later(100, undefined);
      say.call(undefined, "x");
      return "done";
    };
    await expect(
      whileWaiting(stale, NEVER, (waiting) => work({ ...waiting, say: waiting.say.bind(waiting) }), PACE),
    ).resolves.toBe("done");
  });
});
