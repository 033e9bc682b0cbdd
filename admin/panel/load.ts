/** The loads that go on while the panel is open, one at a time. */
import { REAL_CLOCK } from "../../lib/clock.ts";
import { unloadModel } from "../../server/load.ts";
import type { ModelServer } from "../../server/model-server.ts";
import { show } from "../../ui/output.ts";
import { ask } from "../../ui/question.ts";
import { type Said, saidNow } from "../../ui/wait.ts";
import { type Call, isConfirmed } from "../call.ts";
import { loadNow, reportLoaded, runningOf } from "../load.ts";
import { faultText } from "../report.ts";

export class PanelLoad {
  readonly id: string;
  /** What the server does for it: `Loading a`, `a waits for b to unload`. */
  said: Said;
  /** Resolves when it is over, however it went. */
  readonly over: Promise<void>;
  readonly #stopped = new AbortController();
  /** What ran when it began. */
  #before: readonly string[] = [];

  /**
   * @param id under which the server runs the model
   * @param call whose results say how it goes; its own wait is not used
   * @param failed gets the error of a load that was not given up
   */
  constructor(call: Call, server: ModelServer, id: string, failed: (error: unknown) => void) {
    this.id = id;
    this.said = saidNow(undefined, { text: `Loading ${id}` }, REAL_CLOCK.now());
    const signal = AbortSignal.any([this.#stopped.signal, call.ended]);
    this.over = this.#run(call, server, signal).catch((error: unknown) => {
      if (!signal.aborted) failed(error);
    });
  }

  get isGivenUp(): boolean {
    return this.#stopped.signal.aborted;
  }

  /** Stops waiting for it; the server goes on. */
  giveUp(): void {
    this.#stopped.abort(new Error("Cancelled"));
  }

  /** The models that ran before and no longer do. @throws {ServerError} */
  async gone(server: ModelServer, signal: AbortSignal): Promise<string[]> {
    const still = new Set((await runningOf(server, signal)).map(({ id }) => id));
    return this.#before.filter((id) => id !== this.id && !still.has(id));
  }

  async #run(call: Call, server: ModelServer, signal: AbortSignal): Promise<void> {
    const say = (text: string, expectedMs?: number, elapsedMs?: number): void => {
      this.said = saidNow(this.said, { text, expectedMs, elapsedMs }, REAL_CLOCK.now());
    };
    const own: Call = { ...call, waiting: { signal, say, ask: (dialog) => dialog() } };
    await call.aiServer.exclusively(`/ai-server-load ${this.id}`, async () => {
      const running = await runningOf(server, signal);
      this.#before = running.map(({ id }) => id);
      const loaded = await loadNow(own, server, this.id, running);
      await reportLoaded(own, server, this.id, running, loaded);
    });
  }
}

export interface PanelLoadsParts {
  /** Its results are shown in the panel. */
  readonly call: Call;
  /** pi's own. */
  readonly ctx: Call["ctx"];
  readonly server: ModelServer;
  /** The end of the panel. */
  readonly signal: AbortSignal;
  redraw(): void;
  /** Shows a wait in the place of the panel. */
  wait(work: (call: Call) => Promise<void>): Promise<void>;
}

/** The panel's own loads, one after the other. The user can stop each. */
export class PanelLoads {
  readonly #parts: PanelLoadsParts;
  #current: PanelLoad | undefined;

  constructor(parts: PanelLoadsParts) {
    this.#parts = parts;
  }

  get current(): PanelLoad | undefined {
    return this.#current;
  }

  /** Loads models one after the other, while the panel stays. */
  async begin(...ids: readonly string[]): Promise<void> {
    const { call, server, signal, redraw } = this.#parts;
    const { ctx } = call;
    if (this.#current !== undefined)
      return show(ctx, `${this.#current.id} is still loading. Wait for it, or stop it.`, "warning");
    const failed = (error: unknown): void => show(ctx, faultText(error), "error");
    for (const id of ids) {
      const load = new PanelLoad(call, server, id, failed);
      this.#current = load;
      redraw();
      await load.over;
      this.#current = undefined;
      redraw();
      // Stopping one load cancels the rest.
      if (load.isGivenUp || signal.aborted) return;
    }
  }

  /** Leaves the current load to the server. Resolves when nothing of it is left. */
  async giveUp(): Promise<void> {
    this.#current?.giveUp();
    await this.#current?.over;
  }

  /** Asks about the current load, if there is one. @returns whether to leave the panel */
  async askToLeave(): Promise<boolean> {
    const load = this.#current;
    if (load === undefined) return true;
    const question = {
      title: `Stop loading ${load.id}?`,
      consequences: [
        `Stopping unloads ${load.id}. You can then reload the models that were unloaded for it.`,
      ],
    };
    const { call, ctx } = this.#parts;
    const choices = [
      { words: "Let it load", means: "stay" },
      { words: "Let it load, and leave the panel", means: "leave" },
      { words: "Stop and unload it", means: "stop" },
    ] as const;
    // Not with the call's own wait, which is hidden while the panel is open.
    const chosen = await ask<"stay" | "leave" | "stop">(call.ctx, question, choices, call.ended);
    const goesOn = this.#current === load;
    if (chosen === "leave" && goesOn) show(ctx, `The server continues loading ${load.id}.`);
    if (chosen === "stop" && goesOn) await this.#stop(load);
    return chosen === "leave";
  }

  /** Unloads the model that is loading, and offers to reload those that were unloaded for it. */
  async #stop(load: PanelLoad): Promise<void> {
    const { server, signal, wait } = this.#parts;
    load.giveUp();
    await load.over;
    let gone: string[] = [];
    await wait(async ({ ctx, waiting }) => {
      waiting.say(`Stopping ${load.id}`);
      await unloadModel(server, load.id, waiting.signal);
      show(ctx, `${load.id} is unloaded.`);
      gone = await load.gone(server, waiting.signal);
    });
    if (gone.length === 0 || signal.aborted) return;
    const them = gone.join(", ");
    await wait(async (call) => {
      const question = { title: `Load ${them} again?`, consequences: [`Unloaded for ${load.id}: ${them}.`] };
      const acts =
        gone.length === 1
          ? (["Leave it unloaded", "Load it again"] as const)
          : (["Leave them unloaded", "Load them again"] as const);
      const isWanted = await isConfirmed(call, question, acts);
      if (isWanted) void this.begin(...gone);
    });
  }
}
