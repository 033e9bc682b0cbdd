import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { type NewUnit, newUnit } from "../../../host/examine/new-unit.ts";
import { docsBlock } from "../../support/docs.ts";
import { missingProgram, realSuite } from "../../support/programs.ts";

const HOME = "/home/ai";
const unit = (change: Partial<NewUnit> = {}): string | undefined =>
  newUnit({
    kind: "llama-swap",
    program: `${HOME}/.local/bin/llama-swap`,
    configPath: "~/.config/llama-swap/config.yaml",
    home: HOME,
    ...change,
  });

test("a new unit is that of docs/server.md", () => {
  expect(unit()).toBe(docsBlock("server.md", "unit"));
  const router = { kind: "router", program: `${HOME}/.local/llama.cpp/llama-server` } as const;
  expect(unit({ ...router, configPath: "~/.llama-models.ini" })).toBe(docsBlock("server.md", "router-unit"));
});

test("paths elsewhere stay as they are, and odd ones are one word each", () => {
  expect(unit({ program: "/usr/bin/llama-swap", configPath: '/etc/a b/100% $(x) "q".yaml' })).toContain(
    'ExecStart=/usr/bin/llama-swap -config "/etc/a b/100%% $$(x) \\"q\\".yaml" -listen :8080\n',
  );
});

test.each([
  ["a config that is a folder", { configPath: "~/configs" }],
  ["a preset for llama-swap", { configPath: "~/x.ini" }],
  ["a path with a line end", { configPath: "~/x\nExecStartPre=/bin/evil.yaml" }],
  ["a program without a path", { program: "llama-swap" }],
  ["a program whose path systemd does not take", { program: "/opt/it's/llama-swap" }],
])("there is no unit for %s", (_what, change) => {
  expect(unit(change)).toBeUndefined();
});

realSuite(missingProgram("systemd-analyze"), "new units for a real systemd-analyze", () => {
  test("it finds nothing wrong with an odd one, and reads the words as they were meant", () => {
    const folder = mkdtempSync(join(tmpdir(), "new unit-"));
    onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
    const program = join(folder, "a  100%h ; b");
    writeFileSync(program, "#!/bin/sh\n", { mode: 0o755 });
    const path = join(folder, "llama-swap.service");
    writeFileSync(path, unit({ program, home: "/nowhere", configPath: "/x.yaml" }) ?? "");
    const env = { ...process.env, XDG_RUNTIME_DIR: folder, HOME: folder };
    // It would say that the program is not executable, if it read another path.
    const verify = 'exec systemd-analyze --user --man=no verify "$1" 2>&1';
    const said = execFileSync("sh", ["-c", verify, "sh", path], { env, encoding: "utf8" });
    expect(said).toBe("");
  });
});
