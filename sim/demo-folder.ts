import { lstatSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const PREFIX = "pi-ai-server-demo-";

/** Makes a temporary folder named after its demo, and removes those of demos that have ended. */
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

/** Another user may create that name in the system's temporary folder: only our own folder is removed. */
function removeOwn(path: string): void {
  try {
    const info = lstatSync(path);
    if (info.isDirectory() && info.uid === process.getuid?.()) removeDemoFolder(path);
  } catch {
    // Another demo has removed it already.
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
