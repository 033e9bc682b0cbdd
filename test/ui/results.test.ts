import type { Theme } from "@earendil-works/pi-coding-agent";
import { expect, test } from "vitest";
import { Results } from "../../ui/results.ts";

const THEME = {} as Theme;
const drawing = (text: string) => () => ({ render: () => [text], invalidate: () => {} });

test("an entry holds a key alone, and its result is drawn for it", () => {
  const results = new Results();
  const [one, two] = [results.keep(drawing("one")), results.keep(drawing("two"))];
  expect(JSON.stringify(one)).toMatch(/^\{"key":"[0-9a-f-]{36}"\}$/);
  expect([one, two].map((data) => results.view(data, THEME)?.render(80))).toEqual([["one"], ["two"]]);
});

test.each([undefined, null, "key", {}, { key: 1 }, { key: "of an earlier start" }])(
  "the entry %j, whose result is not known, draws nothing",
  (data) => {
    const results = new Results();
    results.keep(drawing("one"));
    expect(results.view(data, THEME)).toBeUndefined();
  },
);

test("of many results the oldest are forgotten, also where pi still holds their components", () => {
  const results = new Results();
  const first = results.keep(drawing("first"));
  const view = results.view(first, THEME);
  for (let count = 0; count < 199; count++) results.keep(drawing("next"));
  expect(view?.render(80)).toEqual(["first"]);
  const last = results.keep(drawing("last"));
  expect(view?.render(80)).toEqual([]);
  expect(results.view(first, THEME)).toBeUndefined();
  expect(results.view(last, THEME)?.render(80)).toEqual(["last"]);
});
