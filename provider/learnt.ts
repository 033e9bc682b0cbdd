/** What discoveries learn of a server and its models, kept on this machine for the time when nobody tells it. */

import type { Config } from "../config.ts";
import type { Memory } from "../memory/memory.ts";
import type { BackendKind } from "../server/kinds/backend.ts";
import type { LearntFacts } from "../server/models/models.ts";
import {
  baseUrlOf,
  learntFrom,
  processOf,
  readLearnt,
  rememberedFacts,
  restoredModels,
  type ServedModel,
} from "./pi-models.ts";

type Address = Pick<Config, "origin" | "basePath">;

const KINDS: readonly BackendKind[] = ["llama-swap", "router", "llama-server", "other"];

/** Keeps what is learnt while nobody waits for it. To remember is a convenience: what cannot be kept is not. */
export class Learnt {
  readonly #path: string;
  readonly #now: () => number;
  #memory: Promise<Memory> | undefined;
  #keeping: Promise<unknown> | undefined;

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
   * What was learnt of a server's models, by the id under which each runs: by this process or another one, and where
   * that was never written down, what stands in the catalogue.
   *
   * @param models the catalogue
   */
  async facts(models: readonly ServedModel[], config: Address): Promise<Map<string, LearntFacts>> {
    // What this process was just told is newer than the file.
    await this.#keeping;
    const url = baseUrlOf(config);
    const facts = rememberedFacts(restoredModels(models, url));
    for (const [id, stored] of await (await this.memory()).allFacts(url)) {
      const learnt = readLearnt(stored);
      const known = facts.get(id);
      const isOther =
        learnt.command !== undefined && known?.command !== undefined && learnt.command !== known.command;
      facts.set(id, isOther ? learnt : { ...known, ...learnt });
    }
    return facts;
  }

  /** Which kind of server last answered at this address: a hint, since it may be another now. */
  async kindBefore(config: Address): Promise<BackendKind | undefined> {
    const kept = await this.memory().then(
      (memory) => memory.kind(baseUrlOf(config)),
      () => undefined,
    );
    return KINDS.find((kind) => kind === kept);
  }

  /** Keeps what models have just told; what is kept already is not written again. */
  keep(models: readonly ServedModel[]): void {
    this.#later((memory) => this.#keepFacts(memory, models));
  }

  /** Keeps which kind of server answers at this address. */
  keepKind(config: Address, kind: BackendKind | undefined): void {
    const url = baseUrlOf(config);
    this.#later(async (memory) => {
      if (kind !== undefined && (await memory.kind(url)) !== kind) await memory.rememberKind(url, kind);
    });
  }

  #later(work: (memory: Memory) => Promise<void>): void {
    this.#keeping = Promise.all([this.memory(), this.#keeping])
      .then(([memory]) => work(memory))
      .catch(() => {});
  }

  async #keepFacts(memory: Memory, models: readonly ServedModel[]): Promise<void> {
    const url = models[0]?.baseUrl;
    if (url === undefined) return;
    const kept = await memory.allFacts(url);
    await Promise.all(
      models.map(async (model) => {
        const id = processOf(model);
        const news = learntFrom(model.aiServer);
        const old: Record<string, unknown> = kept.get(id) ?? {};
        const isKnown = Object.entries(news).every(
          ([name, value]) => JSON.stringify(old[name]) === JSON.stringify(value),
        );
        if (!isKnown) await memory.remember(url, id, { ...news, seenAt: this.#now() });
      }),
    );
  }

  /** Resolves when everything so far is on disk, or will not be. */
  async written(): Promise<void> {
    await this.#keeping;
    await (await this.#memory)?.written();
  }
}
