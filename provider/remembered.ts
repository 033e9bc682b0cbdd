/** What this machine remembers of a server and its models, for the time when the server does not report it. */
import type { Config } from "../config.ts";
import type { Memory } from "../memory/memory.ts";
import type { BackendKind } from "../server/kinds/backend.ts";
import type { RememberedFacts } from "../server/models/models.ts";
import {
  baseUrlOf,
  processOf,
  readRemembered,
  rememberedIn,
  restoredModels,
  type ServedModel,
  toRemember,
} from "./pi-models.ts";

type Address = Pick<Config, "origin" | "basePath">;

const KINDS: readonly BackendKind[] = ["llama-swap", "router", "llama-server", "other"];

/** Writes in the background; what cannot be written is not remembered. */
export class Remembered {
  /** Names on the CA's list of devices, as a command read it last, for Tab, which asks no machine. Never written. */
  deviceNames: readonly string[] = [];
  readonly #path: string;
  readonly #now: () => number;
  #memory: Promise<Memory> | undefined;
  #writing: Promise<unknown> | undefined;

  /**
   * @param path the file, which comes with the first thing to remember
   * @param now Unix time in milliseconds
   */
  constructor(path: string, now: () => number) {
    this.#path = path;
    this.#now = now;
  }

  memory(): Promise<Memory> {
    this.#memory ??= import("../memory/memory.ts").then(({ Memory }) => new Memory(this.#path, this.#now));
    return this.#memory;
  }

  /**
   * The facts of a server's models, by the id under which each runs: from the file, and from the catalogue what was
   * never written there.
   */
  async facts(catalogue: readonly ServedModel[], config: Address): Promise<Map<string, RememberedFacts>> {
    // What this process has just read is newer than the file.
    await this.#writing;
    const url = baseUrlOf(config);
    const facts = rememberedIn(restoredModels(catalogue, url));
    for (const [id, stored] of await (await this.memory()).allFacts(url)) {
      const own = readRemembered(stored);
      const known = facts.get(id);
      const isOther =
        own.command !== undefined && known?.command !== undefined && own.command !== known.command;
      facts.set(id, isOther ? own : { ...known, ...own });
    }
    return facts;
  }

  /** The kind of server that last answered at this address: a hint, since it may have changed. */
  async kindBefore(config: Address): Promise<BackendKind | undefined> {
    const kept = await this.memory().then(
      (memory) => memory.kind(baseUrlOf(config)),
      () => undefined,
    );
    return KINDS.find((kind) => kind === kept);
  }

  /** About how long a load takes, in milliseconds, by the last ones. */
  async expectedLoadMs(config: Address, id: string): Promise<number | undefined> {
    return (await this.memory()).expectedLoadMs(baseUrlOf(config), id);
  }

  async rememberLoad(config: Address, id: string, loadMs: number): Promise<void> {
    await (await this.memory()).rememberLoad(baseUrlOf(config), id, loadMs);
  }

  /** Remembers the facts of models that were just read, as far as they are news. */
  rememberModels(models: readonly ServedModel[]): void {
    this.#later((memory) => this.#writeNews(memory, models));
  }

  rememberKind(config: Address, kind: BackendKind | undefined): void {
    const url = baseUrlOf(config);
    this.#later(async (memory) => {
      if (kind !== undefined && (await memory.kind(url)) !== kind) await memory.rememberKind(url, kind);
    });
  }

  /** Whether there were downloads on the server's machine when a pi here last looked. */
  async hasDownloads(config: Address): Promise<boolean> {
    await this.#writing;
    return (await this.memory()).hasDownloads(baseUrlOf(config));
  }

  rememberDownloads(config: Address, hasDownloads: boolean): void {
    const url = baseUrlOf(config);
    this.#later(async (memory) => {
      if ((await memory.hasDownloads(url)) !== hasDownloads)
        await memory.rememberDownloads(url, hasDownloads);
    });
  }

  /** Resolves when everything so far is on disk, or failed: a process that prints an answer ends right after it. */
  async written(): Promise<void> {
    await this.#writing;
    await (await this.#memory)?.written();
  }

  #later(work: (memory: Memory) => Promise<void>): void {
    this.#writing = Promise.all([this.memory(), this.#writing])
      .then(([memory]) => work(memory))
      .catch(() => {});
  }

  async #writeNews(memory: Memory, models: readonly ServedModel[]): Promise<void> {
    const url = models[0]?.baseUrl;
    if (url === undefined) return;
    const kept = await memory.allFacts(url);
    await Promise.all(
      models.map(async (model) => {
        const id = processOf(model);
        const facts = toRemember(model.aiServer);
        const old: Record<string, unknown> = kept.get(id) ?? {};
        const isNews = Object.entries(facts).some(
          ([name, value]) => JSON.stringify(old[name]) !== JSON.stringify(value),
        );
        if (isNews) await memory.remember(url, id, { ...facts, seenAt: this.#now() });
      }),
    );
  }
}
