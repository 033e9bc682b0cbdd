/** One session of pi: keeps it on its model, shows the server's work, and gives notices. */
import type { Api, Model, ModelThinkingLevel } from "@earendil-works/pi-ai";
import type {
  AgentEndEvent,
  ExtensionAPI,
  ExtensionContext,
  ModelSelectEvent,
  SessionStartEvent,
} from "@earendil-works/pi-coding-agent";
import { unknownVariables } from "../config/unknown-variables.ts";
import { isOffline, PROVIDER_ID } from "../config.ts";
import { isContextKnown, noToolsNotice } from "../provider/pi-models.ts";
import type { ProviderParts } from "../provider/provider.ts";
import type { Ahead } from "./ahead.ts";
import type { Display } from "./display.ts";
import { placedNotice } from "./model.ts";
import { lostFailure, smallWindowNotice, windowsNotice } from "./notices.ts";
import { Notifier } from "./notifier.ts";
import { SessionPlace } from "./place.ts";
import { writtenCallNotice } from "./written-call.ts";

export interface SessionParts extends ProviderParts {
  pi: ExtensionAPI;
  ctx: ExtensionContext;
  agentDir: string;
}

const NOT_THINKING =
  "There is no thinking to end: no model of the AI server is thinking, or the server cannot end it.";
const NOT_ENDED = "The server did not end the thinking; it may be over already.";

/** Runs on without being waited for: it has reported its own failures, or ends with the session. */
function background(work: Promise<unknown> | undefined): void {
  work?.catch(() => {});
}

/** Once it has ended it touches pi's context no more, which would throw. */
export class Session {
  readonly id: string;
  readonly #parts: SessionParts;
  readonly #ended = new AbortController();
  readonly #place: SessionPlace;
  readonly #says: Notifier;
  /** Models whose live facts were read after a turn. */
  readonly #read = new Set<string>();
  #hasReportedProblem = false;
  #isOpeningDisplay = false;
  #registering: Promise<void> | undefined;
  /** In the terminal alone, and only once it is loaded. */
  #display: Display | undefined;
  /** Once a model was chosen for which the server may work ahead. */
  #ahead: Ahead | undefined;

  constructor(parts: SessionParts) {
    this.#parts = parts;
    this.id = parts.ctx.sessionManager.getSessionId();
    this.#says = new Notifier(parts.ctx, this.ended);
    this.#place = new SessionPlace({ ...parts, args: process.argv.slice(2), ended: this.ended });
  }

  get ended(): AbortSignal {
    return this.#ended.signal;
  }

  /** Ends once the session is on its model; everything else happens in the background. */
  async begin(reason: SessionStartEvent["reason"]): Promise<void> {
    const { ctx, aiServer } = this.#parts;
    if (ctx.mode === "tui") background(this.#completeArguments());
    if (aiServer.isUsed || ctx.model?.provider === PROVIDER_ID) background(this.#openDisplay());
    const placed = await this.#place.begin(reason);
    if (placed !== undefined) await this.#says.notify(placedNotice(placed));
    const unknown = await unknownVariables(process.env);
    const notified = unknown.length === 0 ? undefined : this.#says.notify(`AI Server: ${unknown.join("\n")}`);
    // A quick command ends print and JSON mode before what happens in the background.
    if (ctx.mode === "print" || ctx.mode === "json") await notified?.catch(() => {});
    else if (notified !== undefined) background(notified);
    if (!this.ended.aborted) background(this.#firstLook());
  }

  /** Idempotent. */
  end(): void {
    this.#ended.abort();
    this.#display?.close();
  }

  /**
   * The list of models changed.
   *
   * @param windows a line for each model whose window changed, as far as no command reports it
   */
  modelsChanged(windows: readonly string[]): void {
    this.#display?.modelsChanged();
    // After pi's own refresh: only a new registration gives the session's current model its new window.
    this.#registering = new Promise((resolve) => setImmediate(resolve)).then(() => this.#registerAgain());
    background(this.#registering);
    // A single answer in print mode is over before it matters.
    if (windows.length > 0) background(this.#says.showInteractive(windowsNotice(windows)));
  }

  modelSelected(event: Pick<ModelSelectEvent, "model" | "source">): void {
    const { model } = event;
    this.#place.modelChosen(event);
    if (model.provider === PROVIDER_ID) background(this.#openDisplay());
    this.#display?.select(model);
    background(this.#introduce(model));
  }

  levelSelected(level: ModelThinkingLevel): void {
    this.#place.levelChanged(level);
    background(this.#ahead?.changed());
  }

  /**
   * Whether a prompt must not be sent: it is a mistyped command, or it would go to a provider that the session does not
   * belong to.
   */
  async refusesPrompt(text: string): Promise<boolean> {
    const isRefused = (await this.#isMistyped(text)) || (await this.#refuses());
    const { mode } = this.#parts.ctx;
    if (isRefused && (mode === "print" || mode === "json")) process.exitCode = 1;
    return isRefused;
  }

  async refusesCompaction(): Promise<boolean> {
    if (await this.#refuses()) return true;
    this.#display?.compacts(true);
    return false;
  }

  compactionEnds(): void {
    this.#display?.compacts(false);
    background(this.#ahead?.changed());
  }

  noticeOfTurn(text: string): void {
    background(this.#says.notify(text));
  }

  /** The key that ends the model's thinking was pressed. */
  async answerNow(): Promise<void> {
    const { ctx, activities } = this.#parts;
    const front = activities.front(ctx.sessionManager.getSessionId());
    const hasEnded = await front?.turn.answerNow();
    if (hasEnded !== true) await this.#says.show(hasEnded === false ? NOT_ENDED : NOT_THINKING, "info");
  }

  agentStarts(): void {
    this.#ahead?.stop();
    this.#display?.agentRuns(true);
  }

  commandEnds(): void {
    this.#display?.commandEnds();
  }

  turnStarts(): void {
    this.#display?.turnStarts();
  }

  agentEnds(messages: AgentEndEvent["messages"]): void {
    this.#display?.agentRuns(false);
    const { model } = this.#parts.ctx;
    const last = messages.at(-1);
    // A turn that failed has said why, and pi may be about to ask again.
    const hasFailed =
      last?.role === "assistant" && (last.stopReason === "error" || last.stopReason === "aborted");
    if (model?.provider !== PROVIDER_ID || hasFailed) return;
    background(this.#afterTurn(model.id));
    const tools = noToolsNotice(model) === undefined ? this.#parts.pi.getActiveTools() : [];
    const writtenCall = writtenCallNotice(last, tools);
    if (writtenCall !== undefined) background(this.#says.notify(writtenCall));
  }

  async agentSettles(): Promise<void> {
    const { ctx } = this.#parts;
    const failure = ctx.mode === "print" ? lostFailure(ctx.sessionManager.getBranch()) : undefined;
    if (failure === undefined) return;
    await this.#says.show(failure, "error");
    process.exitCode = 1;
  }

  async #firstLook(): Promise<void> {
    const { ctx, aiServer } = this.#parts;
    // After a reload pi hands over the stored login only when the session has started.
    if (!aiServer.isUsed) await aiServer.started();
    if (!aiServer.isUsed) return;
    await this.#notifyProblem();
    if (!aiServer.isLive && !this.#hasReportedProblem) await this.#refresh();
    if (aiServer.isLive) await this.#notifyWarnings().catch(() => {});
    await this.#notifyOfModel(ctx.model);
    await this.#workAhead();
  }

  /** Only now does a model that this turn has loaded report its real window, which may differ from last time. */
  async #afterTurn(id: string): Promise<void> {
    const { ctx, aiServer, activities } = this.#parts;
    const served = aiServer.models.find((model) => model.id === id);
    const isUnread = served?.aiServer.context.source !== "live" && !this.#read.has(id);
    this.#read.add(id);
    const isLoaded = activities.takeLoad(id);
    if (isLoaded && !isOffline(process.env))
      (await aiServer.server()).known.outdate(served?.aiServer.runsAs ?? id);
    if (!aiServer.isLive || isLoaded || isUnread) await this.#refresh();
    await this.#notifyWarnings();
    await this.#notifyOfModel(ctx.model);
  }

  async #introduce(model: Model<Api>): Promise<void> {
    await this.#notifyOfModel(model);
    if (model.provider !== PROVIDER_ID) return;
    const notice = (await this.#workAhead()) ? undefined : await this.#display?.loadNotice(model);
    if (notice !== undefined) await this.#says.show(notice, "info");
  }

  /** Has the server work for the chosen model before its first prompt. @returns whether it loads the model */
  async #workAhead(): Promise<boolean> {
    const { pi, ctx, aiServer } = this.#parts;
    // In the other modes the prompt is there already.
    const mayWait = ctx.mode === "tui" || ctx.mode === "rpc";
    if (!mayWait || isOffline(process.env) || !aiServer.isUsed || aiServer.config().warm === "off")
      return false;
    const { Ahead } = await import("./ahead.ts");
    if (this.ended.aborted) return false;
    this.#ahead ??= new Ahead({
      pi,
      ctx,
      aiServer,
      refresh: () => this.#refresh(),
      show: (doing) => this.#display?.worksAhead(doing),
      ended: this.ended,
    });
    return this.#ahead.chosen();
  }

  async #isMistyped(text: string): Promise<boolean> {
    if (!text.trimStart().startsWith("/")) return false;
    const { mistypedCommand } = await import("../admin.ts");
    const { ctx, pi } = this.#parts;
    const others = pi.getCommands().map(({ name }) => name);
    const notice = mistypedCommand(text, others);
    if (notice === undefined) return false;
    await this.#says.show(notice, "error");
    if (ctx.mode === "tui" && !this.ended.aborted) ctx.ui.setEditorText(text);
    return true;
  }

  async #refuses(): Promise<boolean> {
    const notice = await this.#place.heldNotice();
    if (notice !== undefined) await this.#says.show(notice, "error");
    return notice !== undefined;
  }

  async #registerAgain(): Promise<void> {
    if (this.ended.aborted) return;
    this.#parts.pi.registerProvider(this.#parts.provider);
    const selected = await this.#place.modelsRead();
    if (selected !== undefined) await this.#says.notify(`AI Server: ${selected} is selected.`, "info");
  }

  /** Ids and sizes on Tab; the commands work without it too. */
  async #completeArguments(): Promise<void> {
    const { ctx, aiServer } = this.#parts;
    const [{ aiServerAutocomplete }, { completer }] = await Promise.all([
      import("../ui/autocomplete.ts"),
      import("../admin/completion.ts"),
    ]);
    if (this.ended.aborted) return;
    const complete = completer(aiServer, ctx, this.ended);
    ctx.ui.addAutocompleteProvider((current) => aiServerAutocomplete(current, complete));
  }

  async #openDisplay(): Promise<void> {
    const { ctx, aiServer, activities, agentDir } = this.#parts;
    if (this.#isOpeningDisplay || ctx.mode !== "tui") return;
    this.#isOpeningDisplay = true;
    const { env } = process;
    // At once: a first turn may begin before the rest is loaded.
    if (ctx.model?.provider === PROVIDER_ID && env.AI_SERVER_INDICATOR?.trim() !== "off")
      ctx.ui.setWorkingMessage("");
    if (!aiServer.isUsed) await aiServer.started();
    const [{ openDisplay }, { REAL_CLOCK }] = await Promise.all([
      import("./display.ts"),
      import("../lib/clock.ts"),
    ]);
    const onReadyChanged = (): void => {
      if (!this.ended.aborted) background(this.#refresh());
    };
    const display = await openDisplay({
      ctx,
      aiServer,
      activities,
      env,
      agentDir,
      onReadyChanged,
      clock: REAL_CLOCK,
    });
    if (this.ended.aborted) return display.close();
    this.#display = display;
    display.agentRuns(!ctx.isIdle());
    display.select(ctx.model);
  }

  async #refresh(): Promise<void> {
    if (isOffline(process.env)) return;
    const options = { providers: [PROVIDER_ID], allowNetwork: true, signal: this.ended };
    await this.#parts.ctx.modelRegistry.refresh(options);
    await this.#registering;
    await this.#notifyProblem();
  }

  async #notifyProblem(): Promise<void> {
    const problem = this.#parts.aiServer.takeProblem();
    if (problem === undefined || this.#hasReportedProblem) return;
    this.#hasReportedProblem = true;
    await this.#says.notify(`AI Server: ${problem}`);
  }

  async #notifyOfModel(model: Model<Api> | undefined): Promise<void> {
    if (model?.provider !== PROVIDER_ID) return;
    const noTools = noToolsNotice(model);
    if (noTools !== undefined) await this.#says.notify(noTools);
    if (!isContextKnown(model)) return;
    const smallWindow = smallWindowNotice(model, this.#parts.pi.getSettings());
    if (smallWindow !== undefined) await this.#says.notify(smallWindow);
  }

  async #notifyWarnings(): Promise<void> {
    const server = await this.#parts.aiServer.server();
    const identity = await server.http.identity();
    for (const warning of [...(identity?.warnings ?? []), ...server.tooMany])
      await this.#says.notify(`AI Server: ${warning}`);
    background(this.#notifyOfOpenDoor());
  }

  /** A single answer in print mode makes no second connection. */
  async #notifyOfOpenDoor(): Promise<void> {
    const { ctx, aiServer } = this.#parts;
    if ((ctx.mode !== "tui" && ctx.mode !== "rpc") || isOffline(process.env)) return;
    const { openDoor } = await aiServer.server();
    for (const warning of await openDoor.warnings(this.ended))
      await this.#says.notify(`AI Server: ${warning}`);
  }
}
