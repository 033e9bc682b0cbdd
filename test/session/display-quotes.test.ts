import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { QUOTES, readQuotes } from "../../session/display.ts";

function folder(): string {
  const path = mkdtempSync(join(tmpdir(), "quotes-test-"));
  onTestFinished(() => rmSync(path, { recursive: true, force: true }));
  return path;
}

async function quotesOf(text: string): Promise<string[]> {
  const path = join(folder(), "quotes.txt");
  writeFileSync(path, text);
  return readQuotes(path);
}

test("each line is a quote, but for empty ones and comments", async () => {
  expect(await quotesOf("One\n\n  \n# not this\r\nZwölf Boxkämpfer\r\nlast")).toEqual([
    "One",
    "Zwölf Boxkämpfer",
    "last",
  ]);
});

test("control characters are removed, and an endless line is cut", async () => {
  const [first = "", second = ""] = await quotesOf(`\u001b[31mred\u0007\n${"x".repeat(100_000)}`);
  expect(first).not.toMatch(/\p{Cc}/u);
  expect(first).toContain("red");
  expect(second.length).toBeLessThanOrEqual(121);
});

test("a file that cannot be read has none, and a pipe does not block", async () => {
  const place = folder();
  const pipe = join(place, "pipe");
  execFileSync("mkfifo", [pipe]);
  for (const path of [join(place, "missing"), place, pipe, "/dev/zero", "a\u0000b"])
    expect(await readQuotes(path)).toEqual([]);
});

test("some are built in", () => {
  expect(QUOTES.length).toBeGreaterThan(3);
  for (const quote of QUOTES) expect(quote.length).toBeLessThan(60);
});
