import { spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import {
  directScript,
  MISREAD,
  readAnswer,
  requestText,
  sha256,
  sharedFunctions,
} from "../../host/ssh/protocol.ts";
import { WRAPPER } from "../support/local-host.ts";
import { isInstalled } from "../support/programs.ts";

const NONCE = "0123456789abcdef0123456789abcdef";
const FUNCTIONS = sharedFunctions(readFileSync(WRAPPER, "utf8"));
let folder: string;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "misread-"));
});
afterEach(() => rmSync(folder, { recursive: true }));

/** A restart that leaves a file when it is carried out. */
function restart(): string {
  const direct = {
    presetPath: join(folder, "none.yaml"),
    serviceUnit: "none.service",
    restartCommand: `echo ran >>'${folder}/ran'`,
  };
  return directScript(FUNCTIONS, NONCE, requestText(NONCE, { verb: ["restart"] }, direct));
}

/** A write in the place of an empty file. */
function write(content: Buffer): string {
  const presetPath = join(folder, "config.yaml");
  writeFileSync(presetPath, "");
  const direct = { presetPath, serviceUnit: "none.service", restartCommand: undefined };
  return directScript(FUNCTIONS, NONCE, requestText(NONCE, { verb: ["write", sha256("")], content }, direct));
}

const hasRun = (): boolean => existsSync(join(folder, "ran"));

const SHELLS = [
  ["bash", "-l"],
  ["dash"],
  ["zsh", "-l"],
  ["fish", "-l"],
  ["tcsh"],
  ["mksh"],
  ["python3"],
  ["perl"],
];

test.each(SHELLS.filter(([name = ""]) => isInstalled(name)))(
  "carries nothing out in a %s that a startup file has started",
  (program, ...args) => {
    const { stdout } = spawnSync(program, args, { input: restart(), encoding: "utf8", cwd: folder });
    expect(readAnswer(stdout, NONCE)).toMatchObject({ begun: false, answer: undefined });
    expect(hasRun()).toBe(false);
  },
);

test.each(["dash", "bash", "busybox", "zsh", "yash", "mksh"].filter((name) => isInstalled(name)))(
  "carries it out in %s when that is the system's sh",
  (name) => {
    const { stdout: path } = spawnSync("sh", ["-c", `command -v ${name}`], { encoding: "utf8" });
    symlinkSync(path.trim(), join(folder, "sh"));
    const env = { ...process.env, PATH: `${folder}${delimiter}${process.env.PATH}` };
    const { stdout } = spawnSync("sh", ["-s"], { input: restart(), encoding: "utf8", env });
    expect(readAnswer(stdout, NONCE).answer?.error).toBeUndefined();
    expect(readFileSync(join(folder, "ran"), "utf8")).toBe("ran\n");
    const content = Buffer.from(`${"# $(touch ran2) 'x' \\ \u00e4\n".repeat(2500)}no line end`);
    spawnSync("sh", ["-s"], { input: write(content), env });
    expect(readFileSync(join(folder, "config.yaml"), "utf8")).toBe(content.toString());
  },
);

test("runs nothing when a startup file has read its beginning, and everything when it has read a single line", () => {
  const text = restart();
  const starts = [...text.matchAll(/\n/g)].map(({ index }) => index + 1);
  const some = starts.filter((start, at) => at > 0 && start < text.length && at % 40 === 1);
  const between = some.map((start) => start + 7);
  for (const start of [...some, ...between]) {
    const { stdout } = spawnSync("sh", ["-s"], { input: text.slice(start), encoding: "utf8", cwd: folder });
    expect([start, readAnswer(stdout, NONCE).begun, hasRun()]).toEqual([start, false, false]);
  }
  const { status } = spawnSync("sh", ["-s"], { input: text.slice(text.indexOf("protocol=")), cwd: folder });
  expect(status).toBe(MISREAD);
  spawnSync("sh", ["-s"], { input: text.slice(1), cwd: folder });
  expect(hasRun()).toBe(true);
});
