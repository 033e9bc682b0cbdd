/** What is remembered of servers and their models on this machine. */
import {
  boundedText,
  changeFile,
  isDuration,
  isKey,
  MAX_ID_LENGTH,
  MAX_LOADS,
  MAX_URL_LENGTH,
  type ModelMemory,
  readFacts,
  readServers,
  readSmallFile,
  type ServerMemory,
  type StoredFacts,
} from "./file.ts";

export type { StoredFacts };

function median(values: readonly number[]): number | undefined {
  const sorted = [...values].sort((a, b) => a - b);
  const upper = sorted[Math.floor(sorted.length / 2)];
  const lower = sorted[Math.floor((sorted.length - 1) / 2)];
  return upper === undefined || lower === undefined ? undefined : (lower + upper) / 2;
}

/** Newer facts over older ones; of facts of two command lines only the newer ones stay. */
function merged(kept: StoredFacts | undefined, read: StoredFacts): StoredFacts {
  if (kept === undefined) return read;
  const [older, newer] = read.seenAt >= kept.seenAt ? [kept, read] : [read, kept];
  const isOtherCommand =
    older.command !== undefined && newer.command !== undefined && older.command !== newer.command;
  return isOtherCommand ? newer : { ...older, ...newer };
}

interface Change {
  readonly url: string;
  apply(server: ServerMemory, now: number): void;
}

/**
 * One file, which several pi may share. It is a cache: nothing here throws, an unreadable or unwritable file is ignored,
 * and when two processes write at the same moment, one may lose its line. A server is identified by its URL, a model by
 * its id; ids of more than 256 characters are not remembered.
 */
export class Memory {
  readonly #path: string;
  readonly #now: () => number;
  #waiting: Change[] = [];
  #written: Promise<void> = Promise.resolve();

  /**
   * @param path the file, which comes with the first thing to remember; its folder must exist
   * @param now Unix time in milliseconds
   */
  constructor(path: string, now: () => number) {
    this.#path = path;
    this.#now = now;
  }

  /** How long a load will probably take, in milliseconds: the median of the last five; undefined without any. */
  async expectedLoadMs(url: string, id: string): Promise<number | undefined> {
    return median((await this.#server(url))?.models.get(id)?.loads ?? []);
  }

  /** What was last known of a model. */
  async facts(url: string, id: string): Promise<StoredFacts | undefined> {
    return (await this.#server(url))?.models.get(id)?.facts;
  }

  /** The same of every model of a server, by id. */
  async allFacts(url: string): Promise<Map<string, StoredFacts>> {
    const models = (await this.#server(url))?.models ?? [];
    return new Map([...models].flatMap(([id, { facts }]) => (facts === undefined ? [] : [[id, facts]])));
  }

  /** The kind of server that answered last; any text. */
  async kind(url: string): Promise<string | undefined> {
    return (await this.#server(url))?.kind;
  }

  /** Whether there were downloads on the server's machine when it was last looked at. */
  async hasDownloads(url: string): Promise<boolean> {
    return (await this.#server(url))?.hasDownloads ?? false;
  }

  /** Remembers how long a load took. Like the others that remember, it resolves when that is written, or failed. */
  async rememberLoad(url: string, id: string, loadMs: number): Promise<void> {
    if (!isDuration(loadMs)) return;
    await this.#changeModel(url, id, (model) => {
      model.loads = [...model.loads, loadMs].slice(-MAX_LOADS);
    });
  }

  /** Remembers facts of a model; those that are left out stay, unless what is remembered was seen later. */
  async remember(url: string, id: string, facts: StoredFacts): Promise<void> {
    const read = readFacts(facts);
    if (read === undefined) return;
    await this.#changeModel(url, id, (model) => {
      model.facts = merged(model.facts, read);
    });
  }

  async rememberKind(url: string, kind: string): Promise<void> {
    await this.#change(url, (server) => {
      server.kind = kind;
    });
  }

  async rememberDownloads(url: string, hasDownloads: boolean): Promise<void> {
    await this.#change(url, (server) => {
      server.hasDownloads = hasDownloads;
    });
  }

  /** Resolves when everything so far is written, or failed: before a process ends. */
  written(): Promise<void> {
    return this.#written;
  }

  async #server(url: string): Promise<ServerMemory | undefined> {
    return readServers(await readSmallFile(this.#path)).get(url);
  }

  async #changeModel(url: string, id: string, apply: (model: ModelMemory) => void): Promise<void> {
    if (!isKey(id, MAX_ID_LENGTH)) return;
    await this.#change(url, ({ models }, usedAt) => {
      const model = { ...(models.get(id) ?? { loads: [], facts: undefined }), usedAt };
      apply(model);
      models.delete(id);
      models.set(id, model);
    });
  }

  async #change(url: string, apply: Change["apply"]): Promise<void> {
    if (!isKey(url, MAX_URL_LENGTH)) return;
    // Changes that come during a write are written together by the next one.
    if (this.#waiting.push({ url, apply }) === 1) this.#written = this.#written.then(() => this.#write());
    await this.#written;
  }

  async #write(): Promise<void> {
    const changes = this.#waiting;
    this.#waiting = [];
    try {
      await changeFile(this.#path, (content) => this.#changed(content, changes));
    } catch {
      // A folder that cannot be written, a full disk, another owner's link: it is not remembered.
    }
  }

  #changed(content: string, changes: readonly Change[]): string {
    const servers = readServers(content);
    for (const { url, apply } of changes) {
      const usedAt = this.#now();
      const server = {
        ...(servers.get(url) ?? { kind: undefined, hasDownloads: false, models: new Map() }),
        usedAt,
      };
      apply(server, usedAt);
      servers.delete(url);
      servers.set(url, server);
    }
    return boundedText(servers);
  }
}
