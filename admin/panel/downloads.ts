/** The downloads on the server's machine while the panel is open: looked at over ssh, and only where there may be any. */
import { type DownloadState, isRunning } from "../../host/download/download.ts";
import { REAL_CLOCK } from "../../lib/clock.ts";
import type { ModelServer } from "../../server/model-server.ts";
import type { Call } from "../call.ts";
import { lookAtDownloads } from "../downloads.ts";
import { openConfigHost } from "../host-access.ts";

/** Between two looks: each starts a shell on the server. */
const LOOK_MS = 5000;

export interface PanelDownloadsParts {
  readonly call: Pick<Call, "aiServer">;
  readonly server: ModelServer;
  /** The end of the panel. */
  readonly signal: AbortSignal;
  redraw(): void;
}

export class PanelDownloads {
  readonly #parts: PanelDownloadsParts;
  #states: readonly DownloadState[] = [];
  #following: Promise<void> | undefined;
  #looking: Promise<void> | undefined;

  constructor(parts: PanelDownloadsParts) {
    this.#parts = parts;
  }

  /** As far as they were looked at. */
  get states(): readonly DownloadState[] {
    return this.#states;
  }

  /** Looks if a pi on this machine has seen any. Reports no fault: only the user's own look has to succeed. */
  lookIfKnown(): void {
    const { call, server } = this.#parts;
    const look = async (): Promise<void> => {
      if (await call.aiServer.remembered.hasDownloads(server.config)) await this.look();
    };
    this.#looking = Promise.all([this.#looking, look()]).then(
      () => undefined,
      () => undefined,
    );
  }

  /**
   * Looks now, and again and again while one of them runs.
   *
   * @returns after the first look
   * @throws {ServerError}; the signal's reason
   */
  look(): Promise<void> {
    const first = Promise.withResolvers<void>();
    if (this.#following !== undefined) first.resolve();
    else {
      this.#following = this.#follow(first.resolve)
        .catch(first.reject)
        .finally(() => {
          this.#following = undefined;
        });
    }
    return first.promise;
  }

  /** Resolves when nothing of it is left. */
  async ended(): Promise<void> {
    await this.#looking;
    await this.#following;
  }

  async #follow(looked: () => void): Promise<void> {
    const { call, server, signal, redraw } = this.#parts;
    const host = await openConfigHost(server, signal);
    try {
      for (;;) {
        this.#states = (await lookAtDownloads(call, host, signal)).states;
        redraw();
        looked();
        if (!this.#states.some(({ stage }) => isRunning(stage))) return;
        await REAL_CLOCK.sleep(LOOK_MS, signal);
      }
    } finally {
      await host.close();
    }
  }
}
