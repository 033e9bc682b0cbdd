/** `/ai-server`: the server on one screen, live, with the other commands on its keys. */

import { PROVIDER_ID } from "../../config.ts";
import { REAL_CLOCK } from "../../lib/clock.ts";
import { baseUrlOf, toServedModels } from "../../provider/pi-models.ts";
import { unloadModel } from "../../server/load.ts";
import type { ModelServer } from "../../server/model-server.ts";
import { show, widthOf, withResults } from "../../ui/output.ts";
import { ask } from "../../ui/question.ts";
import { plainLines, type Result } from "../../ui/result.ts";
import { WHOLE_TERMINAL } from "../../ui/view.ts";
import { whileWaiting } from "../../ui/wait.ts";
import { readId, typedId } from "../arguments.ts";
import { type Call, type CommandUse, isConfirmed, serverFor } from "../call.ts";
import { changeContext } from "../context.ts";
import { sessionOf } from "../interruption.ts";
import { unload } from "../load.ts";
import { logs } from "../logs.ts";
import { faultText } from "../report.ts";
import { status } from "../status.ts";
import type { PanelAction, PanelContent, PanelPlace } from "./lines.ts";
import { PanelLoad } from "./load.ts";
import { PanelSource } from "./source.ts";
import type { PanelModel } from "./state.ts";
import { PanelView } from "./view.ts";
import { isLoaded, isTicking, offersOf, panelContent, STEP_MS } from "./words.ts";

const TICK_MS = 1000;

/** Shows the panel in the terminal until the user leaves it; elsewhere shows the status. */
export async function panel(call: CommandUse): Promise<void> {
  if (call.ctx.mode !== "tui") return status(call);
  const server = await serverFor(call);
  await call.waiting.ask(() => new Panel(call, server).run());
}

/** The panel while it is open: its screen is closed for each question and view. */
class Panel {
  /** pi's own. */
  readonly #ctx: Call["ctx"];
  /** Its results are shown in the panel. */
  readonly #call: CommandUse;
  readonly #server: ModelServer;
  readonly #source: PanelSource;
  readonly #place: PanelPlace = { selected: undefined, filter: "" };
  /** The argument of the command, until the models are known. */
  #named: string;
  readonly #closed = new AbortController();
  readonly #signal: AbortSignal;
  #view: PanelView | undefined;
  #message: PanelContent["message"];
  #load: PanelLoad | undefined;

  constructor(call: CommandUse, server: ModelServer) {
    const take = (result: Result): void => {
      const { level } = result;
      this.#message = { level, text: plainLines(result, widthOf(call.ctx)).join("\n") };
      // It may be longer than the panel has room for, and worth reading afterwards.
      if (level !== "info") show(call.ctx, result);
      this.#redraw();
    };
    this.#ctx = call.ctx;
    this.#call = { ...call, ctx: withResults(call.ctx, take) };
    this.#server = server;
    this.#named = call.argument.trim();
    this.#signal = AbortSignal.any([this.#closed.signal, call.ended]);
    this.#source = new PanelSource({
      server,
      remembered: () => call.aiServer.rememberedFacts(server.config),
      expectedLoadMs: (id) => call.aiServer.remembered.expectedLoadMs(server.config, id),
      onChange: () => {
        this.#goToNamed();
        this.#redraw();
      },
    });
  }

  /** Returns when the user leaves it or the session ends, with nothing left running. */
  async run(): Promise<void> {
    const { ended } = this.#call;
    const under = [this.#source.follow(this.#signal), this.#tick()];
    try {
      while (!ended.aborted) {
        const action = await this.#show();
        if (ended.aborted || action === undefined || (await this.#isLeft(action))) return;
      }
    } finally {
      this.#closed.abort(new Error("The panel was closed."));
      this.#load?.giveUp();
      await Promise.all([...under, this.#load?.over]);
    }
  }

  async #show(): Promise<PanelAction | undefined> {
    const { ctx, ended } = this.#call;
    const hidden = new AbortController();
    try {
      return await ctx.ui.custom<PanelAction | undefined>((tui, theme, keys, done) => {
        ended.addEventListener("abort", () => done(undefined), { once: true, signal: hidden.signal });
        const act = (action: PanelAction): void => {
          if (this.#needsScreen(action)) done(action);
          else void this.#inPlace(action);
        };
        const content = this.#content.bind(this);
        this.#view = new PanelView({ tui, theme, keys, content, place: this.#place, act });
        return this.#view;
      }, WHOLE_TERMINAL);
    } finally {
      this.#view = undefined;
      hidden.abort();
    }
  }

  #content(selected: string | undefined): PanelContent {
    const { ctx } = this.#call;
    const extras = {
      address: baseUrlOf(this.#server.config),
      kind: this.#server.kind,
      ownLoad: this.#load,
      message: this.#message,
      session: sessionOf(this.#call),
      modelInPi: ctx.model?.provider === PROVIDER_ID ? ctx.model.id : undefined,
      hasConfigFile: this.#hasConfigFile,
    };
    return panelContent(this.#source.state, extras, selected, REAL_CLOCK.now());
  }

  get #hasConfigFile(): boolean {
    return this.#server.hasConfigFile !== false;
  }

  /** Selects the model named by the argument; an argument that names none is a filter. */
  #goToNamed(): void {
    const ids = this.#source.state.models.map(({ id }) => id);
    const read = ids.length === 0 ? undefined : readId(this.#named, ids);
    if (read === undefined) return;
    if ("id" in read && read.rest === "") this.#place.selected = read.id;
    else this.#place.filter = this.#named;
    this.#named = "";
  }

  #redraw(): void {
    try {
      this.#view?.update();
    } catch {
      // The session has just ended, and its context with it.
    }
  }

  /** Redraws while something on the screen counts time. */
  async #tick(): Promise<void> {
    try {
      for (;;) {
        const { state } = this.#source;
        const isLoading =
          this.#load !== undefined || state.models.some(({ loading }) => loading !== undefined);
        await REAL_CLOCK.sleep(isLoading ? STEP_MS : TICK_MS, this.#signal);
        if (this.#load !== undefined || isTicking(this.#source.state)) this.#redraw();
      }
    } catch {
      // The panel was closed.
    }
  }

  #modelOf(id: string): PanelModel | undefined {
    return this.#source.state.models.find((model) => model.id === id);
  }

  #isOwnLoad(id: string): boolean {
    return this.#load !== undefined && this.#modelOf(id)?.runsAs === this.#load.id;
  }

  /** Whether the panel has to close its screen for a question, a view or a wait. */
  #needsScreen(action: PanelAction): boolean {
    if (action.kind === "leave" || action.kind === "context" || action.kind === "log") return true;
    if (action.kind !== "toggle") return false;
    const model = this.#modelOf(action.id);
    return this.#isOwnLoad(action.id) || (model !== undefined && isLoaded(model));
  }

  async #inPlace(action: PanelAction): Promise<void> {
    const { ctx } = this.#call;
    this.#message = undefined;
    try {
      if (action.kind === "refresh") await this.#refresh();
      else if (action.kind === "use") await this.#use(action.id);
      else if (action.kind === "toggle") this.#begin(action.id);
    } catch (error) {
      if (!this.#signal.aborted) show(ctx, faultText(error), "error");
    }
    this.#redraw();
  }

  async #refresh(): Promise<void> {
    const { aiServer, ctx } = this.#call;
    const found = await this.#source.refresh(this.#signal);
    const models = toServedModels(found, this.#server.config);
    await aiServer.publish(models, ctx.modelRegistry, false);
    show(ctx, "Refreshed.");
  }

  async #use(id: string): Promise<void> {
    const { ctx } = this.#call;
    const model = ctx.modelRegistry.find(PROVIDER_ID, id);
    if (model === undefined) return show(ctx, `pi lists no chat model ${id}.`, "warning");
    const isDone = await this.#call.selectModel(model);
    if (isDone) return show(ctx, `${id} is pi's model now.`);
    show(ctx, "pi has no credentials for this server: use /login ai-server.", "warning");
  }

  #begin(id: string): void {
    const { ctx } = this.#call;
    const runsAs = this.#modelOf(id)?.runsAs;
    if (runsAs === undefined)
      show(ctx, `${id} runs on another server, which loads and unloads it.`, "warning");
    else void this.#loadNow(runsAs);
  }

  /** Loads models one after the other, while the panel stays. */
  async #loadNow(...ids: readonly string[]): Promise<void> {
    const { ctx } = this.#call;
    if (this.#load !== undefined) {
      show(ctx, `${this.#load.id} is still loading. Wait for it, or stop it.`, "warning");
      return;
    }
    const failed = (error: unknown): void => show(ctx, faultText(error), "error");
    for (const id of ids) {
      const load = new PanelLoad(this.#call, this.#server, id, failed);
      this.#load = load;
      this.#redraw();
      await load.over;
      this.#load = undefined;
      this.#redraw();
      // Stopping one load cancels the rest.
      if (load.isGivenUp || this.#signal.aborted) return;
    }
  }

  /** Does an action that needs the screen. @returns whether it leaves the panel */
  async #isLeft(action: PanelAction): Promise<boolean> {
    this.#message = undefined;
    switch (action.kind) {
      case "leave":
        return this.#load === undefined || (await this.#askAboutLoad(this.#load)) === "leave";
      case "toggle":
        if (this.#load !== undefined && this.#isOwnLoad(action.id)) {
          return (await this.#askAboutLoad(this.#load)) === "leave";
        }
        await this.#command(unload, action.id, "");
        break;
      case "log":
        await this.#command(logs, action.id, "");
        break;
      case "context":
        await this.#changeContext(action.id);
        break;
    }
    return false;
  }

  async #changeContext(id: string): Promise<void> {
    const { ctx, ended } = this.#call;
    const model = this.#modelOf(id);
    // Without a size the command explains why.
    if (model !== undefined && !offersOf(model, this.#hasConfigFile).includes("context"))
      return this.#command(changeContext, id, "");
    const size = await ctx.ui.input(`Context size of ${id}`, "65536, 64k or 128K", { signal: ended });
    if (size?.trim()) await this.#command(changeContext, id, ` ${size.trim()}`);
  }

  /** Runs a command as if the user had typed it, with its own wait. */
  async #command(run: (call: Call) => Promise<void>, id: string, rest: string): Promise<void> {
    const ids = this.#source.state.models.map((model) => model.id);
    const typed = typedId(id, ids);
    if (typed === undefined) {
      return show(this.#call.ctx, `${id} cannot be quoted as an argument of a command.`, "warning");
    }
    await this.#wait((call) => run({ ...call, argument: typed + rest }));
    // Without events the result has to be read.
    if (this.#source.state.following !== "live") await this.#source.refresh(this.#signal).catch(() => []);
  }

  async #wait(work: (call: Call) => Promise<void>): Promise<void> {
    const { ctx, ended } = this.#call;
    await whileWaiting(ctx, ended, async (waiting) => {
      try {
        await work({ ...this.#call, waiting });
      } catch (error) {
        if (!waiting.signal.aborted) show(ctx, faultText(error), "error");
      }
    });
  }

  async #askAboutLoad(load: PanelLoad): Promise<"stay" | "leave"> {
    const question = {
      title: `Stop loading ${load.id}?`,
      consequences: [
        `Stopping unloads ${load.id}. You can then reload the models that were unloaded for it.`,
      ],
    };
    const { ctx, ended } = this.#call;
    const choices = [
      { words: "Let it load", means: "stay" },
      { words: "Let it load, and leave the panel", means: "leave" },
      { words: "Stop and unload it", means: "stop" },
    ] as const;
    // Not with the call's own wait, which is hidden while the panel is open.
    const chosen = await ask<"stay" | "leave" | "stop">(ctx, question, choices, ended);
    if (chosen === "leave") {
      if (this.#load === load) show(this.#ctx, `The server continues loading ${load.id}.`);
      return "leave";
    }
    if (chosen === "stop" && this.#load === load) await this.#stop(load);
    return "stay";
  }

  /** Unloads the model that is loading, and offers to reload those that were unloaded for it. */
  async #stop(load: PanelLoad): Promise<void> {
    load.giveUp();
    await load.over;
    let gone: string[] = [];
    await this.#wait(async ({ ctx, waiting }) => {
      waiting.say(`Stopping ${load.id}`);
      await unloadModel(this.#server, load.id, waiting.signal);
      show(ctx, `${load.id} is unloaded.`);
      gone = await load.gone(this.#server, waiting.signal);
    });
    if (gone.length === 0 || this.#signal.aborted) return;
    const them = gone.join(", ");
    await this.#wait(async (call) => {
      const question = { title: `Load ${them} again?`, consequences: [`Unloaded for ${load.id}: ${them}.`] };
      const acts =
        gone.length === 1
          ? (["Leave it unloaded", "Load it again"] as const)
          : (["Leave them unloaded", "Load them again"] as const);
      const isWanted = await isConfirmed(call, question, acts);
      if (isWanted) void this.#loadNow(...gone);
    });
  }
}
