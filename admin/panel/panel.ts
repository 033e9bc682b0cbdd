/** `/ai-server`: the server on one screen, live, with the other commands on its keys. */

import { PROVIDER_ID } from "../../config.ts";
import { REAL_CLOCK } from "../../lib/clock.ts";
import { baseUrlOf, toServedModels } from "../../provider/pi-models.ts";
import type { ModelServer } from "../../server/model-server.ts";
import { show, widthOf, withResults } from "../../ui/output.ts";
import { plainLines, type Result } from "../../ui/result.ts";
import { showText } from "../../ui/view.ts";
import { whileWaiting } from "../../ui/wait.ts";
import { inWholeTerminal } from "../../ui/whole-terminal.ts";
import { add } from "../add.ts";
import { readId, typedId } from "../arguments.ts";
import { type Call, type CommandUse, serverFor } from "../call.ts";
import { changeContext } from "../context.ts";
import { sessionOf } from "../interruption.ts";
import { unload } from "../load.ts";
import { logs } from "../logs.ts";
import { faultText } from "../report.ts";
import { restart } from "../restart.ts";
import { status } from "../status.ts";
import { PanelDownloads } from "./downloads.ts";
import { type PanelFits, panelFits } from "./fits.ts";
import type { PanelAction, PanelContent, PanelPlace } from "./lines.ts";
import { PanelLoads } from "./load.ts";
import { PanelSource } from "./source.ts";
import type { PanelModel } from "./state.ts";
import { PanelView } from "./view.ts";
import { isLoaded, isTicking, panelContent, STEP_MS } from "./words.ts";

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
  readonly #loads: PanelLoads;
  readonly #downloads: PanelDownloads;
  readonly #fits: PanelFits;
  /** The argument of the command, until the models are known. */
  #named: string | undefined;
  readonly #closed = new AbortController();
  readonly #signal: AbortSignal;
  #view: PanelView | undefined;
  #message: PanelContent["message"];
  #reading: Promise<unknown> | undefined;

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
      onChange: () => this.#redraw(),
    });
    const redraw = (): void => this.#redraw();
    this.#downloads = new PanelDownloads({ call, server, signal: this.#signal, redraw });
    this.#fits = panelFits(server, redraw, this.#signal);
    this.#loads = new PanelLoads({
      call: this.#call,
      ctx: call.ctx,
      server,
      signal: this.#signal,
      redraw,
      wait: (work) => this.#wait(work),
    });
  }

  /** Returns when the user leaves it or the session ends, with nothing left running. */
  async run(): Promise<void> {
    const { ended } = this.#call;
    const under = [this.#source.follow(this.#signal), this.#tick()];
    this.#downloads.lookIfKnown();
    try {
      while (!ended.aborted) {
        const action = await this.#show();
        if (ended.aborted || action === undefined || (await this.#carryOut(action))) return;
      }
    } finally {
      this.#closed.abort(new Error("The panel was closed."));
      const ends = [this.#loads.giveUp(), this.#downloads.ended(), this.#fits.ended(), this.#reading];
      await Promise.all([...under, ...ends]);
    }
  }

  async #show(): Promise<PanelAction | undefined> {
    const { ctx, ended } = this.#call;
    try {
      return await inWholeTerminal<PanelAction>(ctx, ended, (terminal, done) => {
        const act = (action: PanelAction): void => {
          if (this.#needsScreen(action)) done(action);
          else void this.#inPlace(action);
        };
        const content = this.#content.bind(this);
        this.#view = new PanelView({ ...terminal, content, place: this.#place, act });
        return this.#view;
      });
    } finally {
      this.#view = undefined;
    }
  }

  #content(selected: string | undefined): PanelContent {
    const hasSsh = this.#server.config.sshHost !== undefined;
    const hasConfigFile = this.#server.hasConfigFile !== false;
    const extras = {
      address: baseUrlOf(this.#server.config),
      kind: this.#server.kind,
      ownLoad: this.#loads.current,
      message: this.#message,
      session: sessionOf(this.#call),
      modelInPi: this.#modelInPi,
      downloads: this.#downloads.states,
      hasConfigFile,
      hasSsh,
      needOf: (id: string) => (hasSsh && hasConfigFile ? this.#fits.of(id) : undefined),
    };
    return panelContent(this.#source.state, extras, selected, REAL_CLOCK.now());
  }

  get #modelInPi(): string | undefined {
    const { model } = this.#ctx;
    return model?.provider === PROVIDER_ID ? model.id : undefined;
  }

  /** Selects the model named by the argument, else pi's own. An argument that names none is a filter. */
  #goToFirst(): void {
    const ids = this.#source.state.models.map(({ id }) => id);
    if (this.#named === undefined || ids.length === 0) return;
    const read = readId(this.#named, ids);
    const isNamed = read !== undefined && "id" in read && read.rest === "";
    this.#place.selected = isNamed ? read.id : this.#modelInPi;
    if (read !== undefined && !isNamed) this.#place.filter = this.#named;
    this.#named = undefined;
  }

  #redraw(): void {
    try {
      this.#goToFirst();
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
          this.#loads.current !== undefined || state.models.some(({ loading }) => loading !== undefined);
        await REAL_CLOCK.sleep(isLoading ? STEP_MS : TICK_MS, this.#signal);
        if (this.#loads.current !== undefined || isTicking(this.#source.state)) this.#redraw();
      }
    } catch {
      // The panel was closed.
    }
  }

  #modelOf(id: string): PanelModel | undefined {
    return this.#source.state.models.find((model) => model.id === id);
  }

  #isOwnLoad(id: string): boolean {
    const { current } = this.#loads;
    return current !== undefined && this.#modelOf(id)?.runsAs === current.id;
  }

  /** Whether the panel has to close its screen for a question, a view or a wait. */
  #needsScreen(action: PanelAction): boolean {
    if (action.kind === "refresh" || action.kind === "use") return false;
    if (action.kind === "downloads") return this.#downloads.states.length > 0 || this.#isRouter;
    if (action.kind !== "toggle") return true;
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
      else if (action.kind === "downloads") await this.#lookForDownloads();
    } catch (error) {
      if (!this.#signal.aborted) show(ctx, faultText(error), "error");
    }
    this.#redraw();
  }

  async #refresh(): Promise<void> {
    const { aiServer, ctx } = this.#call;
    const wasDown = this.#source.state.problem !== undefined;
    show(ctx, "Reading everything again…");
    this.#fits.clear();
    try {
      const found = await this.#source.refresh(this.#signal);
      const models = toServedModels(found, this.#server.config);
      await aiServer.publish(models, ctx.modelRegistry, false);
    } catch (error) {
      // The fault itself is on the screen already.
      if (!wasDown || this.#signal.aborted) throw error;
      return show(ctx, "Tried again; it still fails.");
    }
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

  /** Which downloads by itself, and reports that to the command alone. */
  get #isRouter(): boolean {
    return this.#server.kind === "router";
  }

  async #lookForDownloads(): Promise<void> {
    const { ctx } = this.#call;
    show(ctx, "Looking for downloads on the server…");
    await this.#downloads.look();
    const found = this.#downloads.states.length;
    show(ctx, found === 0 ? "There is no download on the server." : "Press d again to open it.");
  }

  #begin(id: string): void {
    const { ctx } = this.#call;
    const runsAs = this.#modelOf(id)?.runsAs;
    if (runsAs === undefined)
      show(ctx, `${id} runs on another server, which loads and unloads it.`, "warning");
    else void this.#loads.begin(runsAs);
  }

  /** Does an action that needs the screen. @returns whether it leaves the panel */
  async #carryOut(action: PanelAction): Promise<boolean> {
    this.#message = undefined;
    switch (action.kind) {
      case "leave":
        return this.#loads.askToLeave();
      case "toggle":
        if (this.#isOwnLoad(action.id)) return this.#loads.askToLeave();
        await this.#commandFor(unload, action.id);
        break;
      case "log":
        await this.#commandFor(logs, action.id);
        break;
      case "context":
        await this.#commandFor(changeContext, action.id, action.size);
        this.#fits.clear();
        break;
      case "journal":
        await this.#command(logs, "");
        break;
      case "add":
        await this.#add("");
        break;
      case "downloads":
        await this.#add(this.#onlyDownload);
        break;
      case "restart":
        await this.#command(restart, "");
        break;
      case "unload all":
        await this.#command(unload, "");
        break;
      case "help":
        await showText(this.#ctx, { title: "Keys of the panel", lines: action.lines, language: "plain" });
        break;
    }
    return false;
  }

  /** Among several the command lets the user choose. */
  get #onlyDownload(): string {
    const [first, ...others] = this.#downloads.states;
    return others.length === 0 ? (first?.label ?? "") : "";
  }

  async #add(argument: string): Promise<void> {
    await this.#command(add, argument);
    // It may have left one on the server.
    this.#downloads.lookIfKnown();
  }

  /** Runs a command on a model as if the user had typed it. */
  async #commandFor(run: (call: Call) => Promise<void>, id: string, size = ""): Promise<void> {
    const ids = this.#source.state.models.map((model) => model.id);
    const typed = typedId(id, ids);
    if (typed === undefined) {
      return show(this.#call.ctx, `${id} cannot be quoted as an argument of a command.`, "warning");
    }
    await this.#command(run, size === "" ? typed : `${typed} ${size}`);
  }

  /** Runs a command with its own wait. */
  async #command(run: (call: Call) => Promise<void>, argument: string): Promise<void> {
    await this.#wait((call) => run({ ...call, argument }));
    // Without events the result has to be read; a server that is down takes its time to say so.
    if (this.#source.state.following !== "live")
      this.#reading = this.#source.refresh(this.#signal).catch(() => []);
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
}
