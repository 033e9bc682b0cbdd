import { describe, expect, it, test } from "vitest";
import { type JinjaTag, readJinja, readsIn, takesVariable, textsIn } from "../../../server/models/jinja.ts";
import { processorTime } from "../../support/clock.ts";

function only(template: string): JinjaTag {
  const { tags } = readJinja(template);
  const [tag] = tags;
  if (tag === undefined || tags.length !== 1) throw new Error(`${tags.length} tags in ${template}`);
  return tag;
}

describe("a template comes apart", () => {
  it("into tags and the text between them, without comments", () => {
    const { tags, plain } = readJinja("a{% if x %}b{{- y -}}c{# {{ z }} #}d");
    expect(plain).toBe("abcd");
    expect(tags.map(({ prints }) => prints)).toEqual([false, true]);
    const names = tags.flatMap(({ tokens }) => tokens.filter(({ kind }) => kind === "name"));
    expect(names.map(({ value }) => value)).toEqual(["if", "x", "y"]);
  });

  it.each([
    ["{{ 'a }} b' }}", ["a }} b"]],
    [`{{ "it's" + 'a "word"' }}`, ["it's", 'a "word"']],
    ["{{ 'it\\'s' }}", ["it\\'s"]],
    ["{{ {'a': {'b': 'c'}} }}", ["a", "b", "c"]],
    ["{% set x = '%}' %}", ["%}"]],
  ])("with the texts of %s whole", (template, texts) => {
    expect(textsIn(only(template))).toEqual(texts);
    expect(readJinja(template).plain).toBe("");
  });

  it.each(["{{ x", "{{ 'x", "{% if 'a\\", "{# x", "{{ {", "{", ""])("where %j is not closed", (template) => {
    expect(() => readJinja(template)).not.toThrow();
    expect(readJinja(`a${template}`).plain).toMatch(/^a/);
  });

  it.each(["'", "\\'", "{{", "{{'", "{%{#", "{{ x ", "{".repeat(9), "a"])(
    "in a moment, of a million characters of %j",
    (piece) => {
      const spent = processorTime();
      readJinja(`{{ ${piece.repeat(1_000_000 / piece.length)}`);
      expect(spent()).toBeLessThan(4000);
    },
  );
});

test.each([
  ["{% if x %}", true],
  ["{% if not x is defined %}", true],
  ["{{ a + x }}", true],
  ["{{ x.y }}", true],
  ["{% if x == 1 %}", true],
  ["{{ a.x }}", false],
  ["{{ f(x=1) }}", false],
  ["{{ 'x' }}", false],
  ["{% set x = 1 %}", false],
  ["{% set x = x if x is defined else 1 %}", true],
])("whether %s reads x: %s", (template, reads) => {
  expect(readsIn(only(template), "x")).toBe(reads);
});

test.each([
  ["{% if x %}{% set x = 1 %}", true],
  ["{% set x = x | default(1) %}{% if x %}", true],
  ["{%- set x = 1 -%}{% if x %}", false],
  ["{% set ns = namespace(x=1) %}{% if ns.x %}", false],
  ["{{ y }}", false],
])("whether %s takes x from the request: %s", (template, takes) => {
  expect(takesVariable(readJinja(template), "x")).toBe(takes);
});
