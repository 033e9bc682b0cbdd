import { expect, test } from "vitest";
import type { Result } from "../../ui/result.ts";
import { Results } from "../../ui/results.ts";

const plain = (text: string): string => text;
const THEME = { fg: (_: string, text: string) => text, bold: plain } as Parameters<Results["view"]>[1];
const saying = (content: string): Result => ({ level: "info", content });

test("an entry holds a key alone, and its result is drawn for it", () => {
  const results = new Results();
  const [one, two] = [results.keep(saying("one")), results.keep(saying("two"))];
  expect(JSON.stringify(one)).toMatch(/^\{"key":"[0-9a-f-]{36}"\}$/);
  expect([one, two].map((data) => results.view(data, THEME)?.render(80))).toEqual([[" one"], [" two"]]);
});

test.each([undefined, null, "key", {}, { key: 1 }, { key: "of an earlier start" }])(
  "the entry %j, whose result is not known, draws nothing",
  (data) => {
    const results = new Results();
    results.keep(saying("one"));
    expect(results.view(data, THEME)).toBeUndefined();
  },
);

test("of many results the oldest are forgotten, also where pi still holds their components", () => {
  const results = new Results();
  const first = results.keep(saying("first"));
  const view = results.view(first, THEME);
  for (let count = 0; count < 199; count++) results.keep(saying("next"));
  expect(view?.render(80)).toEqual([" first"]);
  const last = results.keep(saying("last"));
  expect(view?.render(80)).toEqual([]);
  expect(results.view(first, THEME)).toBeUndefined();
  expect(results.view(last, THEME)?.render(80)).toEqual([" last"]);
});
