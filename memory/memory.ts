import { commandDigest } from "../server/models/command-line.ts";
import {
  boundedText,
  isKey,
  type LastFacts,
  MAX_ID_LENGTH,
  MAX_LOADS,
  MAX_URL_LENGTH,
  type ModelMemory,
  readFacts,
  readServers,
  readSmallFile,
  replaceFile,
  type ServerMemory,
  type Servers,
  sweep,
  targetOf,
} from "./file.ts";
import { LockFile } from "./lock-file.ts";

export type { LastFacts };

const LOADS_THAT_COUNT = 5;

function median(values: readonly number[]): number | undefined {
  const sorted = [...values].sort((a, b) => a - b);
  const upper = sorted[Math.floor(sorted.length / 2)];
  const lower = sorted[Math.floor((sorted.length - 1) / 2)];
  return upper === undefined || lower === undefined ? undefined : (lower + upper) / 2;
}

/** Whether a model was known to run with different command lines. */
function isOtherCommand(one: LastFacts | undefined, other: LastFacts | undefined): boolean {
  const [first, second] = [one?.command, other?.command];
  return first !== undefined && second !== undefined && first !== second;
}

/** A change of what is known of one server. */
interface Change {
  readonly url: string;
  /** @param usedAt the moment of the change */
  apply(server: ServerMemory, usedAt: number): void;
}

/** A change of one of its models, which is then the one that was used last. */
function inModel(id: string, apply: (model: ModelMemory) => void): Change["apply"] {
  return ({ models }, usedAt) => {
    const model = models.get(id) ?? { usedAt, loads: [], facts: undefined };
    model.usedAt = usedAt;
    apply(model);
    models.delete(id);
    models.set(id, model);
  };
}

/**
 * What is remembered on this machine of servers and their models, in one file that several pi may share. To
 * remember is a convenience: nothing here throws, and what cannot be read or written is not remembered. Servers
 * are told apart by their URL, models by their id; an id of more than 256 characters is not remembered.
 */
export class Memory {
  readonly #path: string;
  readonly #now: () => number;
  #waiting: Change[] = [];
  #writing: Promise<void> | undefined;

  /**
   * @param path the file; its folder must be there, it itself comes with the first thing to remember
   * @param now Unix time in milliseconds
   */
  constructor(path: string, now: () => number) {
    this.#path = path;
    this.#now = now;
  }

  /** How long the last loads of a model took, in milliseconds, the latest last: at most 20. */
  async loadTimes(url: string, id: string): Promise<number[]> {
    return (await this.#model(url, id))?.loads.map((load) => load.loadMs) ?? [];
  }

  /**
   * How long a load will probably take, in milliseconds: the median of the last five.
   *
   * @param commandLine where it is known, only loads with the same one count
   * @returns undefined when there were none
   */
  async expectedLoadMs(url: string, id: string, commandLine?: string): Promise<number | undefined> {
    const command = commandLine === undefined ? undefined : commandDigest(commandLine);
    const loads = (await this.#model(url, id))?.loads ?? [];
    const alike = loads.filter((load) => command === undefined || load.command === command);
    return median(alike.slice(-LOADS_THAT_COUNT).map((load) => load.loadMs));
  }

  /** What was last known of a model. */
  async facts(url: string, id: string): Promise<LastFacts | undefined> {
    return (await this.#model(url, id))?.facts;
  }

  /** The same of every model of a server, by id. */
  async allFacts(url: string): Promise<Map<string, LastFacts>> {
    const models = (await this.#server(url))?.models ?? [];
    return new Map([...models].flatMap(([id, { facts }]) => (facts === undefined ? [] : [[id, facts]])));
  }

  /**
   * Remembers a load. Of the command line only its SHA-256 is kept.
   *
   * @returns when it is written, or will not be
   */
  async rememberLoad(
    url: string,
    id: string,
    load: { commandLine: string | undefined; loadMs: number },
  ): Promise<void> {
    const { commandLine, loadMs } = load;
    if (!Number.isFinite(loadMs) || loadMs < 0) return;
    const command = commandLine === undefined ? undefined : commandDigest(commandLine);
    const apply = (model: ModelMemory): void => {
      model.loads = [...model.loads, { command, loadMs }].slice(-MAX_LOADS);
    };
    await this.#changeModel(url, id, apply);
  }

  /**
   * Remembers facts of a model; those that are left out stay, unless what is remembered was seen later. Of facts of
   * two command lines only the later ones stay.
   *
   * @returns when they are written, or will not be
   */
  async remember(url: string, id: string, facts: LastFacts): Promise<void> {
    const read = readFacts(facts);
    if (!read) return;
    const apply = (model: ModelMemory): void => {
      const isNewer = read.seenAt >= (model.facts?.seenAt ?? 0);
      const [older, newer] = isNewer ? [model.facts, read] : [read, model.facts];
      model.facts = isOtherCommand(older, newer) ? newer : { ...older, ...read, ...newer };
    };
    await this.#changeModel(url, id, apply);
  }

  /** Which kind of server it was when it last answered; any text. */
  async kind(url: string): Promise<string | undefined> {
    return (await this.#server(url))?.kind;
  }

  /**
   * Remembers which kind of server it is.
   *
   * @returns when it is written, or will not be
   */
  async rememberKind(url: string, kind: string): Promise<void> {
    await this.#change({
      url,
      apply: (server) => {
        server.kind = kind;
      },
    });
  }

  /** Resolves when everything so far is written, or will not be: before a process ends. */
  async written(): Promise<void> {
    while (this.#writing !== undefined) await this.#writing;
  }

  async #server(url: string): Promise<ServerMemory | undefined> {
    return readServers(await readSmallFile(this.#path)).get(url);
  }

  async #model(url: string, id: string): Promise<ModelMemory | undefined> {
    return (await this.#server(url))?.models.get(id);
  }

  async #changeModel(url: string, id: string, apply: (model: ModelMemory) => void): Promise<void> {
    if (isKey(id, MAX_ID_LENGTH)) await this.#change({ url, apply: inModel(id, apply) });
  }

  async #change(change: Change): Promise<void> {
    if (!isKey(change.url, MAX_URL_LENGTH)) return;
    this.#waiting.push(change);
    // What comes while a write is under way goes into the next one, together.
    while (this.#waiting.includes(change)) {
      this.#writing ??= this.#write().finally(() => {
        this.#writing = undefined;
      });
      await this.#writing;
    }
  }

  async #write(): Promise<void> {
    const asked = [...this.#waiting];
    try {
      const target = await targetOf(this.#path);
      await new LockFile(`${target}.lock`).hold(async () => {
        const changes = this.#waiting;
        this.#waiting = [];
        await sweep(target);
        const servers = readServers(await readSmallFile(target));
        for (const change of changes) this.#apply(servers, change);
        await replaceFile(target, boundedText(servers));
      });
    } catch {
      // A folder that cannot be written, a full disk, somebody else's link: it is not remembered.
    }
    // Without the lock they were not taken; they are not tried again.
    this.#waiting = this.#waiting.filter((change) => !asked.includes(change));
  }

  #apply(servers: Servers, change: Change): void {
    const usedAt = this.#now();
    const server = servers.get(change.url) ?? { usedAt, kind: undefined, models: new Map() };
    server.usedAt = usedAt;
    change.apply(server, usedAt);
    servers.delete(change.url);
    servers.set(change.url, server);
  }
}
