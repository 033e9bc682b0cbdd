import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, test } from "vitest";
import { makeWorkplace, REPOSITORY } from "./pi.ts";
import { run } from "./processes.ts";
import { isInstalled } from "./programs.ts";

test("a program is looked for along PATH", () => {
  expect(isInstalled("sh")).toBe(true);
  expect(isInstalled("sh", "/nowhere:/etc")).toBe(false);
  expect(isInstalled("no-such-program")).toBe(false);
});

/** Runs a suite that needs Caddy where there is none. */
async function withoutCaddy(env: Record<string, string>): Promise<{ stdout: string; code: number | null }> {
  const place = await makeWorkplace();
  const programs = JSON.stringify(join(REPOSITORY, "test/support/programs.ts"));
  await writeFile(
    join(place.folder, "needs.test.js"),
    `import { missingProgram, realSuite } from ${programs};
     realSuite(missingProgram("caddy"), "on real Caddy", () => { test("never runs", () => { throw new Error("it ran"); }); });`,
  );
  await writeFile(join(place.folder, "vitest.config.js"), "export default { test: { globals: true } };");
  const vitest = join(REPOSITORY, "node_modules/vitest/vitest.mjs");
  const finished = await run(process.execPath, [vitest, "run", "--root", place.folder], {
    env: { PATH: "/nowhere", HOME: place.home, NO_COLOR: "1", ...env },
  });
  await place.remove();
  return finished;
}

test("a suite whose program is missing is skipped, with the package to install", async () => {
  const { stdout, code } = await withoutCaddy({});
  expect(stdout).toContain(
    "Skipped: on real Caddy: caddy is not installed; on Debian: apt-get install caddy",
  );
  expect(stdout).toMatch(/Tests\s+1 skipped \(1\)/);
  expect(code).toBe(0);
});

test("in CI the same suite fails", async () => {
  const { stdout, code } = await withoutCaddy({ CI: "true" });
  expect(stdout).toMatch(/Tests\s+1 failed \(1\)/);
  expect(code).toBe(1);
});
