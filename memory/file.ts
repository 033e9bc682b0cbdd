/** The file: its shape, read with forgiveness, and its replacement. */
import { randomUUID } from "node:crypto";
import { constants } from "node:fs";
import { lstat, open, readdir, realpath, rename, stat, unlink, writeFile } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { type JsonRecord, list, number, record, text } from "../lib/json.ts";

const VERSION = 1;
const MAX_BYTES = 1_048_576;
const MAX_SERVERS = 16;
const MAX_MODELS = 200;
export const MAX_ID_LENGTH = 256;
export const MAX_URL_LENGTH = 2048;
export const MAX_LOADS = 5;
/** Characters of JSON for what is known of one model. */
const MAX_FACTS_LENGTH = 4096;
/** After this long a temporary file belongs to a writer that was killed. */
const ABANDONED_MS = 60_000;
const SHA256 = /^[0-9a-f]{64}$/;

/**
 * Facts of a model: any JSON under any name, given back as it was, so that an older version of this extension keeps
 * what a newer one knows. Its reader checks it.
 */
export interface StoredFacts {
  /** Unix time in milliseconds. */
  readonly seenAt: number;
  /** SHA-256 of the command line that they hold for; facts that hold for any have none. */
  readonly command?: string | undefined;
  readonly [name: string]: unknown;
}

export interface ModelMemory {
  usedAt: number;
  /** How long the last loads took, in milliseconds, the latest last. */
  loads: number[];
  facts: StoredFacts | undefined;
}

export interface ServerMemory {
  usedAt: number;
  /** The kind of server that answered last; its reader checks it. */
  kind: string | undefined;
  /** Whether downloads were known on its machine. */
  hasDownloads: boolean;
  readonly models: Map<string, ModelMemory>;
}

export type Servers = Map<string, ServerMemory>;

export function isDuration(value: number | undefined): value is number {
  return value !== undefined && Number.isFinite(value) && value >= 0;
}

function isSmall(value: unknown): boolean {
  try {
    return JSON.stringify(value).length <= MAX_FACTS_LENGTH;
  } catch {
    // Nested too deeply.
    return false;
  }
}

export function readFacts(value: unknown): StoredFacts | undefined {
  const facts = record(value);
  const seenAt = number(facts?.seenAt);
  if (seenAt === undefined || !isSmall(facts)) return undefined;
  const { command, ...rest } = facts ?? {};
  const digest = text(command);
  return { ...rest, seenAt, ...(digest !== undefined && SHA256.test(digest) && { command: digest }) };
}

export function isKey(key: string, limit: number): boolean {
  return key !== "" && key.length <= limit;
}

/** The entries of an object whose keys may be kept, each read; its own ones alone, under any name. */
function entriesOf<T>(value: unknown, limit: number, read: (entry: JsonRecord) => T): [string, T][] {
  return Object.entries(record(value) ?? {}).flatMap(([key, entry]) => {
    const found = record(entry);
    return found && isKey(key, limit) ? [[key, read(found)] as [string, T]] : [];
  });
}

export function readServers(content: string): Servers {
  let file: JsonRecord | undefined;
  try {
    file = record(JSON.parse(content));
  } catch {
    return new Map();
  }
  if (file?.version !== VERSION) return new Map();
  return new Map(
    entriesOf(file.servers, MAX_URL_LENGTH, (server) => ({
      usedAt: number(server.usedAt) ?? 0,
      kind: text(server.kind),
      hasDownloads: server.hasDownloads === true,
      models: new Map(
        entriesOf(server.models, MAX_ID_LENGTH, (model) => ({
          usedAt: number(model.usedAt) ?? 0,
          loads: list(model.loads)
            .slice(-MAX_LOADS)
            .map((load) => number(record(load)?.loadMs))
            .filter(isDuration),
          facts: readFacts(model.facts),
        })),
      ),
    })),
  );
}

function writeServers(servers: Servers): string {
  const plain = [...servers].map(([url, { models, ...server }]) => {
    const kept = [...models].map(([id, model]) => [
      id,
      { ...model, loads: model.loads.map((loadMs) => ({ loadMs })) },
    ]);
    return [url, { ...server, models: Object.fromEntries(kept) }];
  });
  return `${JSON.stringify({ version: VERSION, servers: Object.fromEntries(plain) })}\n`;
}

/** Keeps the entries that were used last; of the same moment, the last of the map. */
function keepLatest<T extends { usedAt: number }>(entries: Map<string, T>, limit: number): void {
  const oldest = [...entries]
    .reverse()
    .sort(([, a], [, b]) => b.usedAt - a.usedAt)
    .slice(limit);
  for (const [key] of oldest) entries.delete(key);
}

/** The file's text, within its bounds: the models that were unused for longest are left out. */
export function boundedText(servers: Servers): string {
  keepLatest(servers, MAX_SERVERS);
  for (let limit = MAX_MODELS; ; limit = Math.floor(limit * 0.8)) {
    for (const server of servers.values()) keepLatest(server.models, limit);
    const content = writeServers(servers);
    if (Buffer.byteLength(content) <= MAX_BYTES || limit === 0) return content;
  }
}

/** The text of a regular file that is not too large; empty without one. Never blocks on a pipe. */
export async function readSmallFile(path: string): Promise<string> {
  try {
    const file = await open(path, constants.O_RDONLY | (constants.O_NONBLOCK ?? 0));
    try {
      const found = await file.stat();
      if (!found.isFile() || found.size > MAX_BYTES) return "";
      const { size } = found;
      const { buffer, bytesRead } = await file.read(Buffer.alloc(size), 0, size, 0);
      return buffer.toString("utf8", 0, bytesRead);
    } finally {
      await file.close();
    }
  } catch {
    return "";
  }
}

/**
 * The file to write. The user's own link to the user's own file is followed, so that a file kept among dotfiles stays
 * there; any other link may be another user's trap.
 *
 * @throws where the link must not be followed
 */
async function targetOf(path: string): Promise<string> {
  const own = process.getuid?.();
  const link = await lstat(path).catch(() => undefined);
  if (!link?.isSymbolicLink()) return path;
  const target = await realpath(path);
  const file = await stat(target);
  if (!file.isFile() || link.uid !== (own ?? link.uid) || file.uid !== (own ?? file.uid))
    throw new Error("The link points to a file of another user.");
  return target;
}

/** Removes the temporary files of writers that were killed: a living one needs its own for milliseconds. */
async function sweep(target: string): Promise<void> {
  const [folder, name] = [dirname(target), basename(target)];
  for (const entry of await readdir(folder)) {
    if (!entry.startsWith(`${name}.`) || !/^\.[0-9a-f-]{36}\.tmp$/.test(entry.slice(name.length))) continue;
    const path = join(folder, entry);
    const { mtimeMs } = await stat(path);
    if (Date.now() - mtimeMs > ABANDONED_MS) await unlink(path);
  }
}

/**
 * Changes the file's text by writing beside it and renaming: at every moment it is the old file or the new one, whole.
 * Of two processes that change it in the same moment, the later rename wins.
 *
 * @param change gets the text of this moment
 */
export async function changeFile(path: string, change: (content: string) => string): Promise<void> {
  const target = await targetOf(path);
  await sweep(target).catch(() => {});
  const temporary = `${target}.${randomUUID()}.tmp`;
  try {
    await writeFile(temporary, change(await readSmallFile(target)), { flag: "wx", mode: 0o600 });
    await rename(temporary, target);
  } catch (error) {
    await unlink(temporary).catch(() => {});
    throw error;
  }
}
