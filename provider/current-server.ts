/** The one server in use, replaced when the configuration changes. */
import type { Config } from "../config.ts";
import type { BackendKind } from "../server/kinds/backend.ts";
import type { ModelServer } from "../server/model-server.ts";

export function keyOf(config: Config): string {
  return JSON.stringify(config);
}

/** Opens nothing until it is asked for, and can be closed and used again. */
export class CurrentServer {
  readonly #now: () => number;
  readonly #session: () => string | undefined;
  readonly #kindBefore: (config: Config) => Promise<BackendKind | undefined>;
  #made: { key: string; server: Promise<ModelServer> } | undefined;
  #closing = new AbortController();

  /**
   * @param now Unix time in milliseconds
   * @param kindBefore the kind of server that answered there last, if known; never rejects
   * @param session the id of pi's session, if there is one
   */
  constructor(
    now: () => number,
    kindBefore: (config: Config) => Promise<BackendKind | undefined>,
    session: () => string | undefined = () => undefined,
  ) {
    this.#now = now;
    this.#kindBefore = kindBefore;
    this.#session = session;
  }

  async get(config: Config): Promise<ModelServer> {
    const key = keyOf(config);
    if (this.#made?.key !== key) {
      const previous = this.#made;
      const parts = Promise.all([import("../server/model-server.ts"), this.#kindBefore(config)]);
      const server = parts.then(
        ([{ ModelServer }, kind]) => new ModelServer(config, this.#now, kind, undefined, this.#session),
      );
      const made = { key, server };
      this.#made = made;
      server.catch(() => {
        if (this.#made === made) this.#made = undefined;
      });
      // A turn that still streams from there ends by itself.
      previous?.server.then((old) => old.retire()).catch(() => {});
    }
    return this.#made.server;
  }

  /** The same, but undefined unless it is in use already. */
  async open(config: Config): Promise<ModelServer | undefined> {
    return this.#made?.key === keyOf(config) ? this.#made.server : undefined;
  }

  /** Aborted when the connections of now are closed. */
  get closing(): AbortSignal {
    return this.#closing.signal;
  }

  /** Closes every connection. Idempotent; a later use opens them again. */
  async close(): Promise<void> {
    const open = this.#made;
    this.#made = undefined;
    this.#closing.abort();
    this.#closing = new AbortController();
    const server = await open?.server.catch(() => undefined);
    await server?.close();
  }
}
