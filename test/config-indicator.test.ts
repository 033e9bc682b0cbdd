import { expect, test } from "vitest";
import { readIndicator, type Variables } from "../config.ts";

const read = (env: Variables) => readIndicator(env, "/agent", "/home/me");

test("activity is shown where nothing else is wished", () => {
  expect(read({})).toEqual({ mode: "activity", quotesFile: undefined });
  expect(read({ AI_SERVER_INDICATOR: " " })).toEqual({ mode: "activity", quotesFile: undefined });
});

test.each(["activity", "quotes", "off"])("%s is one of three", (mode) => {
  expect(read({ AI_SERVER_INDICATOR: ` ${mode} ` }).mode).toBe(mode);
});

test.each(["on", "Activity", "0", "quotes,off"])("%s is refused", (mode) => {
  expect(() => read({ AI_SERVER_INDICATOR: mode })).toThrow(
    `AI_SERVER_INDICATOR is "${mode}": it must be activity, quotes or off.`,
  );
});

test.each([
  ["quotes.txt", "/agent/quotes.txt"],
  ["~/quotes.txt", "/home/me/quotes.txt"],
  ["/etc/quotes", "/etc/quotes"],
])("the quotes in %s are read from %s", (file, path) => {
  expect(read({ AI_SERVER_QUOTES_FILE: file }).quotesFile).toBe(path);
});
