/** What the models of the panel need of memory, asked over ssh for the selected one and kept while the panel is open. */
import { findContext, formatOf, modelsIn } from "../../host/config/config-file.ts";
import { type Clock, REAL_CLOCK } from "../../lib/clock.ts";
import { maskText } from "../../masking/masking.ts";
import type { ModelServer } from "../../server/model-server.ts";
import { fitPlaceOf } from "../context-fit.ts";
import { fittingOf } from "../fit.ts";
import { heldWords } from "../fit-words.ts";
import { type Host, openConfigHost } from "../host-access.ts";

/** A selection that only passes by asks nothing. */
const SETTLE_MS = 500;

export interface PanelFitsParts {
  /** What a model needs in words, empty where that is not known. Rejects where the machine cannot be asked at all. */
  ask(id: string, signal: AbortSignal): Promise<string>;
  /** Ends what `ask` has opened. */
  close(): Promise<void>;
  onChange(): void;
  readonly signal: AbortSignal;
  readonly clock?: Clock;
}

/** Asks for one model at a time, and for none that is no longer selected. */
export class PanelFits {
  readonly #parts: PanelFitsParts;
  readonly #clock: Clock;
  #known = new Map<string, string>();
  #wanted: string | undefined;
  #asking: Promise<void> | undefined;
  /** Whether the machine did not answer: then it is not asked again until all is read again. */
  #isOut = false;

  constructor(parts: PanelFitsParts) {
    this.#parts = parts;
    this.#clock = parts.clock ?? REAL_CLOCK;
  }

  /**
   * What is known of a model's need, at once; where nothing is, it is asked for soon.
   *
   * @param id under which the server runs it
   */
  of(id: string): string | undefined {
    const known = this.#known.get(id);
    this.#wanted = id;
    if (known === undefined && !this.#isOut) {
      this.#asking ??= this.#work().finally(() => {
        this.#asking = undefined;
      });
    }
    return known;
  }

  /** Forgets everything: the config may have changed. */
  clear(): void {
    this.#known = new Map();
    this.#isOut = false;
  }

  /** Resolves when nothing is asked any more, which the signal brings about. */
  async ended(): Promise<void> {
    await this.#asking;
    await this.#parts.close();
  }

  async #work(): Promise<void> {
    const { ask, onChange, signal } = this.#parts;
    try {
      for (;;) {
        const id = this.#wanted;
        const known = this.#known;
        if (id === undefined || known.has(id)) return;
        await this.#clock.sleep(SETTLE_MS, signal);
        if (id !== this.#wanted) continue;
        known.set(id, await ask(id, signal));
        onChange();
      }
    } catch {
      this.#isOut = true;
    }
  }
}

/** The needs of a server's models, as its machine says them. */
export function panelFits(server: ModelServer, onChange: () => void, signal: AbortSignal): PanelFits {
  const machine = new MachineNeeds(server);
  const ask = (id: string, stop: AbortSignal): Promise<string> => machine.of(id, stop);
  return new PanelFits({ ask, close: () => machine.close(), onChange, signal });
}

/** Asks the server's machine, over one connection that is opened when it is first needed. */
class MachineNeeds {
  readonly #server: ModelServer;
  #host: Promise<Host> | undefined;

  constructor(server: ModelServer) {
    this.#server = server;
  }

  /** As {@link PanelFitsParts.ask}, for the size that the config sets. */
  async of(id: string, signal: AbortSignal): Promise<string> {
    this.#host ??= openConfigHost(this.#server, signal).catch((error: unknown) => {
      this.#host = undefined;
      throw error;
    });
    const host = await this.#host;
    const files = await host.machine.read(signal);
    const file = modelsIn(files).find(({ model }) => model === id)?.file;
    const tokens = file && findContext(file.text, formatOf(file.name), id).tokens;
    if (file === undefined || !tokens) return "";
    // Only what the model itself needs: what others hold now changes while the panel is open.
    const place = await fitPlaceOf(this.#server, host, { files, loaded: [] }, signal);
    const fitting = await fittingOf(place, { id, file, trained: undefined });
    const need = fitting.kind === "unknown" ? fitting : await fitting.needs(tokens);
    if (fitting.kind === "unknown" || need.kind === "unknown") return "";
    return maskText(heldWords(need, fitting), "log");
  }

  async close(): Promise<void> {
    const host = await this.#host?.catch(() => undefined);
    await host?.close();
  }
}
