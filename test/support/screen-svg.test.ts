import { expect, test } from "vitest";
import { screenSvg } from "./screen-svg.ts";

const texts = (svg: string): string[] => svg.match(/<text .*?<\/text>/g) ?? [];

test("text is escaped and stands where the terminal has it", () => {
  const [first, second] = texts(screenSvg("a <b> & c\n模\x1b[31mx", 20));
  expect(first).toContain(">a &lt;b&gt; &amp; c</text>");
  expect(first).toContain('x="12" y="26" textLength="75.6"');
  expect(second).toContain('x="12" y="44" textLength="16.8"');
  expect(texts(screenSvg("模\x1b[31mx", 20))[1]).toContain('x="28.8"');
});

test.each([
  ["\x1b[31m", 'fill="#e06c75"'],
  ["\x1b[91m", 'fill="#ff7b86"'],
  ["\x1b[38;5;196m", 'fill="#ff0000"'],
  ["\x1b[38;5;244m", 'fill="#808080"'],
  ["\x1b[38;2;1;2;255m", 'fill="#0102ff"'],
  ["\x1b[38;2;1;2;3;1m", 'fill="#010203" font-weight="bold">'],
  ["\x1b[31m\x1b[39m", 'fill="#d4d7dd"'],
  ["\x1b[1;31m\x1b[0m", 'fill="#d4d7dd">'],
  ["\x1b[7m", 'fill="#16181d"'],
])("%j colours what follows", (codes, wanted) => {
  expect(texts(screenSvg(`${codes}x`, 5))[0]).toContain(wanted);
});

test("a background is drawn behind spaces too, and lasts into the next line", () => {
  const svg = screenSvg("\x1b[48;2;1;2;3m  \n x\x1b[49m y", 5);
  expect(svg.match(/fill="#010203"/g)).toHaveLength(2);
});

test("no control character and no other sequence comes into the file", () => {
  const svg = screenSvg("\x0ea\x0f\x1b]8;;https://a.b\x1b\\b\x1b]8;;\x07c", 9);
  expect(svg.replaceAll("\n", "")).not.toMatch(/\p{Cc}/u);
  expect(svg).not.toContain("https://a.b");
});

test("behind a gap a text has a place of its own", () => {
  const [, second, third] = texts(screenSvg("a b   cd  e", 12));
  expect(second).toContain('x="62.4"');
  expect(third).toContain('x="96"');
});
