import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { type Finished, run } from "./processes.ts";

/** A temporary home in which documented lines run as a user would run them. */
export class DocsPlace {
  readonly home = mkdtempSync(join(tmpdir(), "docs-test-"));
  /** Programs here come before all others. */
  readonly tools = join(this.home, ".test-tools");
  /** Where the lines run; the home unless a test makes another folder. */
  folder = this.home;
  /** Added to the environment of the lines. */
  readonly env: Record<string, string> = {};

  constructor() {
    mkdirSync(this.tools);
  }

  /** Puts a program first on PATH. */
  tool(name: string, script: string): void {
    writeFileSync(join(this.tools, name), `#!/bin/sh\n${script}\n`, { mode: 0o755 });
  }

  /** Writes a file below the home, with its folders. */
  write(path: string, text: string, mode = 0o644): string {
    const full = join(this.home, path);
    mkdirSync(dirname(full), { recursive: true });
    writeFileSync(full, text);
    chmodSync(full, mode);
    return full;
  }

  /** A folder below the home, in which what follows runs. */
  enter(path: string): string {
    this.folder = join(this.home, path);
    mkdirSync(this.folder, { recursive: true });
    return this.folder;
  }

  /** Runs lines of a page by `sh`, which ends at the first that fails. */
  run(lines: string, input = ""): Promise<Finished> {
    const { PATH = "", LANG = "C.UTF-8" } = process.env;
    return run("sh", ["-e", "-c", lines], {
      cwd: this.folder,
      env: { PATH: `${this.tools}:${PATH}`, LANG, HOME: this.home, ...this.env },
      input,
    });
  }

  /** Like `run`; what fails throws with all that was written. */
  async runOk(lines: string, input = ""): Promise<Finished> {
    const finished = await this.run(lines, input);
    if (finished.code === 0) return finished;
    throw new Error(`${lines}\nended with ${finished.code}\n${finished.stdout}\n${finished.stderr}`);
  }

  remove(): void {
    rmSync(this.home, { recursive: true, force: true });
  }
}
