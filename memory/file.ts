import { constants } from "node:fs";
import { lstat, open, readdir, realpath, rename, stat, unlink } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { type JsonRecord, list, number, record, text } from "../lib/json.ts";

const VERSION = 1;
const MAX_BYTES = 1_048_576;
const MAX_SERVERS = 16;
const MAX_MODELS = 200;
export const MAX_ID_LENGTH = 256;
export const MAX_URL_LENGTH = 2048;
/** Enough that the last five of several command lines are among them. */
export const MAX_LOADS = 20;
/** Characters of JSON for what is known of one model. */
const MAX_FACTS_LENGTH = 4096;
const SHA256 = /^[0-9a-f]{64}$/;

/**
 * What was last known of a model: any JSON under any name, given back as it was, so that an older version of this
 * extension keeps what a newer one knows. Whoever reads it checks it.
 */
export interface LastFacts {
  /** Unix time in milliseconds. */
  readonly seenAt: number;
  /** SHA-256 of the command line that they hold for; facts that hold for any have none. */
  readonly command?: string | undefined;
  readonly [name: string]: unknown;
}

export interface Load {
  /** SHA-256 of the command line, which itself may hold secrets. */
  readonly command: string | undefined;
  readonly loadMs: number;
}

export interface ModelMemory {
  usedAt: number;
  loads: Load[];
  facts: LastFacts | undefined;
}

export interface ServerMemory {
  usedAt: number;
  /** Whoever reads it checks it. */
  kind: string | undefined;
  readonly models: Map<string, ModelMemory>;
}

export type Servers = Map<string, ServerMemory>;

function readLoad(value: unknown): Load[] {
  const load = record(value);
  const loadMs = number(load?.loadMs);
  const command = text(load?.command);
  if (loadMs === undefined || loadMs < 0 || (command !== undefined && !SHA256.test(command))) return [];
  return [{ command, loadMs }];
}

function isSmall(value: unknown): boolean {
  try {
    return JSON.stringify(value).length <= MAX_FACTS_LENGTH;
  } catch {
    // Nested too deeply.
    return false;
  }
}

export function readFacts(value: unknown): LastFacts | undefined {
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

/** The entries of an object whose keys may be kept, each read; its own ones only, whatever they are called. */
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
      models: new Map(
        entriesOf(server.models, MAX_ID_LENGTH, (model) => ({
          usedAt: number(model.usedAt) ?? 0,
          loads: list(model.loads).slice(-MAX_LOADS).flatMap(readLoad),
          facts: readFacts(model.facts),
        })),
      ),
    })),
  );
}

function writeServers(servers: Servers): string {
  const plain = Object.fromEntries(
    [...servers].map(([url, server]) => [url, { ...server, models: Object.fromEntries(server.models) }]),
  );
  return `${JSON.stringify({ version: VERSION, servers: plain })}\n`;
}

/** Keeps the entries that were used last; of the same moment, those that stand last. */
function keepLatest<T extends { usedAt: number }>(entries: Map<string, T>, limit: number): void {
  const oldest = [...entries]
    .reverse()
    .sort(([, a], [, b]) => b.usedAt - a.usedAt)
    .slice(limit);
  for (const [key] of oldest) entries.delete(key);
}

/** The file's text, within its bounds: the models that were not used for longest are left out. */
export function boundedText(servers: Servers): string {
  keepLatest(servers, MAX_SERVERS);
  for (let limit = MAX_MODELS; ; limit = Math.floor(limit * 0.8)) {
    for (const server of servers.values()) keepLatest(server.models, limit);
    const content = writeServers(servers);
    if (Buffer.byteLength(content) <= MAX_BYTES || limit === 0) return content;
  }
}

/** The text of a regular file that is not too large; empty where there is none. Never waits for a pipe. */
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
 * The file that is really written. A link is followed, as an editor does, so that a file kept among one's dotfiles
 * stays there; but only the user's own link to the user's own file: any other may have been put there by somebody.
 *
 * @throws where the link must not be followed
 */
export async function targetOf(path: string): Promise<string> {
  const own = process.getuid?.();
  const link = await lstat(path).catch(() => undefined);
  if (!link?.isSymbolicLink()) return path;
  const target = await realpath(path);
  const file = await stat(target);
  if (!file.isFile() || link.uid !== (own ?? link.uid) || file.uid !== (own ?? file.uid))
    throw new Error("The link leads to a file that is not one's own.");
  return target;
}

/** Removes what writers left that were killed; only to be called under the lock. */
export async function sweep(target: string): Promise<void> {
  const folder = dirname(target);
  const name = basename(target);
  for (const entry of await readdir(folder)) {
    const rest = entry.startsWith(`${name}.`) ? entry.slice(name.length + 1) : "";
    if (/^(\d+\.tmp|lock(\.[0-9a-f]{16})+)$/.test(rest)) await unlink(join(folder, entry)).catch(() => {});
  }
}

/** Writes beside the target and renames: at every moment the file is the old one or the new one, whole. */
export async function replaceFile(target: string, content: string): Promise<void> {
  const temporary = `${target}.${process.pid}.tmp`;
  const file = await open(temporary, "wx", 0o600);
  try {
    await file.writeFile(content);
    await file.sync();
    await file.close();
    await rename(temporary, target);
  } catch (error) {
    await file.close().catch(() => {});
    await unlink(temporary).catch(() => {});
    throw error;
  }
}
