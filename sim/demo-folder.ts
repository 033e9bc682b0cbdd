import { lstatSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const PREFIX = "pi-ai-server-demo-";

/** Makes a temporary folder whose name tells whose it is, and removes those of demos that are gone. */
export function makeDemoFolder(): string {
  for (const name of readdirSync(tmpdir())) {
    const owner = new RegExp(`^${PREFIX}(\\d+)-`).exec(name)?.[1];
    if (owner !== undefined && !isAlive(Number(owner))) removeOwn(join(tmpdir(), name));
  }
  return mkdtempSync(join(tmpdir(), `${PREFIX}${process.pid}-`));
}

export function removeDemoFolder(folder: string): void {
  rmSync(folder, { recursive: true, force: true, maxRetries: 5 });
}

/** Anybody may put something of that name into the system's temporary folder: only our own folder is removed. */
function removeOwn(path: string): void {
  try {
    const info = lstatSync(path);
    if (info.isDirectory() && info.uid === process.getuid?.()) removeDemoFolder(path);
  } catch {
    // Another demo was quicker.
  }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code !== "ESRCH";
  }
}
