import { createHash, randomUUID } from "node:crypto";
import { open, readFile, rename, stat, unlink } from "node:fs/promises";
import { hostname } from "node:os";
import { setTimeout as sleep } from "node:timers/promises";

/** A holder works for milliseconds: after this long it is gone or stopped, whatever its number says. */
const MAX_HELD_MS = 30_000;
/** Between creating the file and writing the holder into it lies a moment; longer means that the holder died. */
const MAX_UNNAMED_MS = 1_000;
const WAIT_MS = 1_000;
const POLL_MS = 4;
/** How many who died while they took over from one another are taken over from. */
const MAX_DEPTH = 4;

const MAX_BYTES = 1024;

interface Holder {
  /** Tells this very lock from every other that had the same path. */
  readonly id: string;
  readonly isAlive: boolean;
}

function isRunning(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return error instanceof Error && "code" in error && error.code === "EPERM";
  }
}

/** Who holds the lock; undefined when nobody does. */
async function readHolder(path: string): Promise<Holder | undefined> {
  const file = await stat(path).catch(() => undefined);
  if (file === undefined) return undefined;
  const isOurs = file.isFile() && file.size <= MAX_BYTES;
  const text = isOurs ? await readFile(path, "utf8").catch(() => undefined) : "";
  if (text === undefined) return undefined;
  const id = createHash("sha256").update(`${file.ino} ${file.mtimeMs} ${text}`).digest("hex").slice(0, 16);
  const age = Math.abs(Date.now() - file.mtimeMs);
  const [pid = "", host = "", end] = text.split("\n");
  if (end === undefined) return { id, isAlive: age < MAX_UNNAMED_MS };
  // Of another machine or container only the age tells.
  const isKnownDead = host === hostname() && /^[1-9]\d{0,9}$/.test(pid) && !isRunning(Number(pid));
  return { id, isAlive: age < MAX_HELD_MS && !isKnownDead };
}

async function create(path: string, text: string): Promise<boolean> {
  const file = await open(path, "wx", 0o600);
  try {
    await file.writeFile(text);
    return true;
  } catch (error) {
    // On a full disk: without its holder in it, it would only be in the way.
    await unlink(path).catch(() => {});
    throw error;
  } finally {
    await file.close();
  }
}

/**
 * A lock between processes: a file that names its holder, there for as long as it is held. The lock of a process
 * that died is taken over.
 */
export class LockFile {
  readonly #path: string;

  constructor(path: string) {
    this.#path = path;
  }

  /**
   * Runs `work` while this process alone holds the lock.
   *
   * @returns false when the lock could not be had within a second, and `work` was not run
   * @throws what the file system says to a lock that cannot be made, and what `work` throws
   */
  async hold(work: () => Promise<void>): Promise<boolean> {
    const text = `${process.pid}\n${hostname()}\n${randomUUID()}`;
    const end = performance.now() + WAIT_MS;
    while (!(await this.#take(this.#path, text, MAX_DEPTH))) {
      if (performance.now() >= end) return false;
      // Uneven, so that those who wait do not stay in step.
      await sleep(POLL_MS * (1 + Math.random()));
    }
    try {
      await work();
    } finally {
      // Whoever was stopped for long may have lost it to another.
      if ((await readFile(this.#path, "utf8").catch(() => "")) === text)
        await unlink(this.#path).catch(() => {});
    }
    // Those who wait come first: who asks again at once would have it before they look.
    await sleep(2 * POLL_MS);
    return true;
  }

  /** One try. A dead holder is replaced by whoever holds the claim on it, which is a lock like this one. */
  async #take(path: string, text: string, depth: number): Promise<boolean> {
    try {
      return await create(path, text);
    } catch (error) {
      if (!(error instanceof Error && "code" in error && error.code === "EEXIST")) throw error;
    }
    const holder = await readHolder(path);
    if (holder === undefined || holder.isAlive || depth === 0) return false;
    const claim = `${path}.${holder.id}`;
    if (!(await this.#take(claim, text, depth - 1))) return false;
    // Without the claim, the holder could have been replaced between reading and this.
    if ((await readHolder(path))?.id === holder.id) {
      await rename(claim, path);
      return true;
    }
    await unlink(claim).catch(() => {});
    return false;
  }
}
