import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, test } from "vitest";
import { makeWorkplace, REPOSITORY } from "./pi.ts";
import { run } from "./processes.ts";

const FILES = {
  "mixed.test.js": `
    test("passes", () => {});
    test("passes too", () => {});
    test("fails", () => { throw new Error("as it should"); });
    test.skip("skipped", () => {});
    test.todo("to do");
  `,
  "broken.test.js": `import "./missing.js"; test("never collected", () => {});`,
  "hook.test.js": `
    describe("suite", () => {
      afterAll(() => { throw new Error("as it should"); });
      test("passes", () => {});
    });
  `,
  "later.test.js": `test("passes", () => { setTimeout(() => { throw new Error("as it should"); }, 0); return new Promise((r) => setTimeout(r, 50)); });`,
};

async function printed(files: Record<string, string>): Promise<{ lines: string[]; code: number | null }> {
  const place = await makeWorkplace();
  const reporter = join(REPOSITORY, "test/support/summary-reporter.ts");
  const config = `
    import { SummaryReporter } from ${JSON.stringify(reporter)};
    export default { test: { globals: true, reporters: ["default", new SummaryReporter()] } };
  `;
  await Promise.all(
    Object.entries({ ...files, "vitest.config.ts": config }).map(([name, text]) =>
      writeFile(join(place.folder, name), text),
    ),
  );
  const vitest = join(REPOSITORY, "node_modules/vitest/vitest.mjs");
  const env = { PATH: process.env.PATH ?? "", HOME: place.home };
  const { stdout, code } = await run(process.execPath, [vitest, "run", "--root", place.folder], { env });
  await place.remove();
  return { lines: stdout.trimEnd().split("\n"), code };
}

test("the last line counts tests, files that do not load, failed hooks and stray errors", async () => {
  const { lines, code } = await printed(FILES);
  expect(lines.at(-1)).toBe("4 passed, 4 failed, 2 skipped");
  expect(code).toBe(1);
});

test("a green run says 0 failed", async () => {
  const green = { "green.test.js": `test("passes", () => {});` };
  const { lines, code } = await printed(green);
  expect(lines.at(-1)).toBe("1 passed, 0 failed, 0 skipped");
  expect(code).toBe(0);
});
