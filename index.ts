/** The extension: builds the parts, registers provider and commands, owns start and stop. */
import { homedir } from "node:os";
import { join } from "node:path";
import type { Api, Model } from "@earendil-works/pi-ai";
import type { ExtensionAPI, ExtensionContext } from "@earendil-works/pi-coding-agent";
import { Activities } from "./activity/activities.ts";
import type { CommandName } from "./admin.ts";
import { isOffline, PLACEHOLDER_API_KEY, PROVIDER_ID } from "./config.ts";
import { AiServer } from "./provider/ai-server.ts";
import { isContextKnown, noToolsNotice } from "./provider/pi-models.ts";
import { canBeNamed, createProvider } from "./provider/provider.ts";
import type { Display } from "./session/display.ts";
import { SessionPlace } from "./session/place.ts";
import type { Level } from "./ui/output.ts";

const COMMANDS: Readonly<Record<CommandName, string>> = {
  "ai-server": "Show the AI server live: [<id>]",
  "ai-server-status": "Show the models of the AI server and their state: [<id>] [--ssh]",
  "ai-server-refresh": "Read the models of the AI server again: [--config]",
  "ai-server-load": "Load a model: <id>",
  "ai-server-unload": "Unload a model, or all of them: [<id>]",
  "ai-server-ctx": "Show or change a model's context size: <id> [<size>]",
  "ai-server-preset": "Show the AI server's config: [<id>]",
  "ai-server-restart": "Restart the AI server and load again what was loaded",
  "ai-server-rollback": "Put a backup of the AI server's config back: [<stamp>]",
  "ai-server-logs": "Show the log of a model, or of the AI server: [<id>]",
  "ai-server-last": "Show what the last turns on the AI server took",
};

/** Models of which one notice tells that their window changed. */
const MAX_WINDOWS = 5;

/** What lives as long as a session of pi. */
interface Session {
  ctx: ExtensionContext;
  ended: AbortController;
  /** Notices that were given, so that each comes once a session. */
  told: Set<string>;
  /** Whether the user knows that the server cannot be used. */
  knowsProblem: boolean;
  /** Models whose live facts were asked for after a turn. */
  asked: Set<string>;
  /** Whether what it shows besides answers is, or is going to be, open. */
  isShowing: boolean;
  /** In the terminal alone, and only once it is loaded. */
  display: Display | undefined;
  place: SessionPlace;
}

function agentDir(): string {
  const moved = process.env.PI_CODING_AGENT_DIR;
  if (!moved) return join(homedir(), ".pi", "agent");
  return moved.replace(/^~(?=\/|$)/, () => homedir());
}

export default function aiServerExtension(pi: ExtensionAPI): void {
  let session: Session | undefined;
  const aiServer = new AiServer({
    env: process.env,
    agentDir: agentDir(),
    now: Date.now,
    onChanged: (windows) => {
      // After pi's own refresh: only a new registration gives the session's current model its new window.
      const current = session;
      current?.display?.modelsChanged();
      if (current) setImmediate(() => current === session && takeModels(current));
      if (current && windows.length > 0) tellWindows(current, windows).catch(() => {});
    },
  });
  const activities = new Activities();
  const provider = createProvider(aiServer, activities);
  /**
   * Registers the provider, and first by its name with a key: then pi takes it for configured at once, and not only
   * when the last of the overlapping checks of a start has ended, before which pi may choose the session's model
   * (`markProvisionallyConfigured` and `availabilityRefreshSeq` in pi's model-runtime.js).
   */
  const register = (): void => {
    if ((aiServer.isSetUp(undefined) || aiServer.isOnlyClaimed) && canBeNamed(agentDir()))
      pi.registerProvider(PROVIDER_ID, { apiKey: PLACEHOLDER_API_KEY });
    pi.registerProvider(provider);
  };
  const takeModels = (current: Session): void => {
    try {
      pi.registerProvider(provider);
      current.place.modelsRead();
    } catch {
      // The session has ended meanwhile; the next one registers by itself.
    }
  };
  register();

  for (const [name, description] of Object.entries(COMMANDS)) {
    pi.registerCommand(name, {
      description,
      handler: async (argument, ctx) => {
        const ended = session?.ended.signal ?? new AbortController().signal;
        const { runCommand } = await import("./admin.ts");
        const selectModel = (model: Model<Api>): Promise<boolean> => pi.setModel(model);
        await runCommand(name as CommandName, { aiServer, activities, selectModel, ctx, argument, ended });
      },
    });
  }

  /** Ids and sizes on Tab; without it the commands work all the same. */
  const completeArguments = async ({ ctx, ended }: Session): Promise<void> => {
    const [{ aiServerAutocomplete }, { completer }] = await Promise.all([
      import("./ui/autocomplete.ts"),
      import("./admin/live-completion.ts"),
    ]);
    if (ended.signal.aborted) return;
    const complete = completer(aiServer, ctx, ended.signal);
    ctx.ui.addAutocompleteProvider((current) => aiServerAutocomplete(current, complete));
  };

  const showWork = async (current: Session): Promise<void> => {
    const { ctx } = current;
    if (current.isShowing || ctx.mode !== "tui") return;
    current.isShowing = true;
    // At once: a first turn may begin before the rest is loaded.
    if (ctx.model?.provider === PROVIDER_ID && process.env.AI_SERVER_INDICATOR?.trim() !== "off")
      ctx.ui.setWorkingMessage("");
    // After a reload pi hands over what /login stored only when the session has started.
    if (!aiServer.isUsed) await aiServer.started();
    const [{ openDisplay }, { REAL_CLOCK }] = await Promise.all([
      import("./session/display.ts"),
      import("./lib/clock.ts"),
    ]);
    const onReadyChanged = (): void => {
      if (current === session) refreshInBackground(current).catch(() => {});
    };
    const env = process.env;
    const parts = { ctx, aiServer, activities, env, agentDir: agentDir(), onReadyChanged, clock: REAL_CLOCK };
    const display = await openDisplay(parts);
    if (current !== session) return display.close();
    current.display = display;
    display.agentRuns(!ctx.isIdle());
    display.select(ctx.model);
  };

  const tell = async (current: Session, text: string, level: Level = "warning"): Promise<void> => {
    if (current.told.has(text)) return;
    current.told.add(text);
    const [output, { maskText }] = await Promise.all([
      import("./ui/output.ts"),
      import("./masking/masking.ts"),
    ]);
    if (current === session) output.tell(current.ctx, maskText(text, "log"), level);
  };

  /** Each change comes here once, whoever has found it. A single answer in print mode is over before it matters. */
  const tellWindows = async (current: Session, windows: readonly string[]): Promise<void> => {
    if (current.ctx.mode !== "tui" && current.ctx.mode !== "rpc") return;
    const more = windows.length - MAX_WINDOWS;
    const lines = [...windows.slice(0, MAX_WINDOWS), ...(more > 0 ? [`and ${more} more`] : [])];
    const output = await import("./ui/output.ts");
    if (current === session) output.tell(current.ctx, lines.join("\n"), "info");
  };

  /** Asks the server without anybody waiting for it; what is wrong is told once. */
  const refreshInBackground = async (current: Session): Promise<void> => {
    const { signal } = current.ended;
    await current.ctx.modelRegistry.refresh({ providers: [PROVIDER_ID], allowNetwork: true, signal });
    await tellProblem(current);
  };

  const tellProblem = async (current: Session): Promise<void> => {
    const problem = aiServer.takeProblem();
    if (problem === undefined || current.knowsProblem) return;
    current.knowsProblem = true;
    await tell(current, `AI Server: ${problem}`);
  };

  const tellOfModel = async (current: Session, model: Model<Api> | undefined): Promise<void> => {
    if (model?.provider !== PROVIDER_ID) return;
    const noTools = noToolsNotice(model);
    if (noTools !== undefined) await tell(current, noTools);
    if (!isContextKnown(model)) return;
    const { settingsOf, smallWindowNotice } = await import("./session/small-window.ts");
    const notice = smallWindowNotice(model, await settingsOf(pi, agentDir()));
    if (notice !== undefined) await tell(current, notice);
  };

  /** Holds a prompt back that would go to a provider to which the session does not belong. */
  const isHeld = async (current: Session | undefined): Promise<boolean> => {
    if (current === undefined || !(await current.place.isHeld())) return false;
    (await import("./ui/output.ts")).tell(current.ctx, current.place.heldNotice, "error");
    return true;
  };

  const tellWarnings = async (current: Session): Promise<void> => {
    const server = await aiServer.server();
    const identity = await server.http.identity();
    for (const warning of [...(identity?.warnings ?? []), ...server.tooMany])
      await tell(current, `AI Server: ${warning}`);
    tellOfDoor(current).catch(() => {});
  };

  /** In the background. A single answer in print mode makes no second connection. */
  const tellOfDoor = async (current: Session): Promise<void> => {
    const { ctx, ended } = current;
    if ((ctx.mode !== "tui" && ctx.mode !== "rpc") || isOffline(process.env)) return;
    const { openDoor } = await aiServer.server();
    for (const warning of await openDoor.warnings(ended.signal)) await tell(current, `AI Server: ${warning}`);
  };

  pi.on("session_start", async (event, ctx) => {
    const ended = new AbortController();
    const place = new SessionPlace({
      pi,
      ctx,
      aiServer,
      args: process.argv.slice(2),
      register,
      tell: (text, level) => tell(current, text, level),
      ended: ended.signal,
    });
    const current: Session = {
      ctx,
      ended,
      told: new Set(),
      knowsProblem: false,
      asked: new Set(),
      isShowing: false,
      display: undefined,
      place,
    };
    session = current;
    if (ctx.mode === "tui") completeArguments(current).catch(() => {});
    if (aiServer.isUsed || ctx.model?.provider === PROVIDER_ID) showWork(current).catch(() => {});
    await place.begin(event.reason);
    if (current !== session) return;
    const begin = async (): Promise<void> => {
      // As above.
      if (!aiServer.isUsed) await aiServer.started();
      if (!aiServer.isUsed) return;
      await tellProblem(current);
      if (!aiServer.isLive && !current.knowsProblem && !isOffline(process.env))
        await refreshInBackground(current);
      if (aiServer.isLive) await tellWarnings(current).catch(() => {});
      await tellOfModel(current, ctx.model);
    };
    // The session begins without waiting; what fails here has been told or ends with the session.
    begin().catch(() => {});
  });

  pi.on("input", async (_event, ctx) => {
    if (!(await isHeld(session))) return undefined;
    if (ctx.mode === "print" || ctx.mode === "json") process.exitCode = 1;
    return { action: "handled" };
  });

  pi.on("thinking_level_select", ({ level }) => session?.place.levelChanged(level));

  pi.on("model_select", (event) => {
    const current = session;
    if (current === undefined) return;
    const { model } = event;
    current.place.modelChosen(event);
    if (model.provider === PROVIDER_ID) showWork(current).catch(() => {});
    current.display?.select(model);
    const tellAll = async (): Promise<void> => {
      await tellOfModel(current, model);
      if (model.provider !== PROVIDER_ID) return;
      const notice = await current.display?.loadNotice(model);
      if (notice !== undefined && current === session)
        (await import("./ui/output.ts")).tell(current.ctx, notice, "info");
    };
    tellAll().catch(() => {});
  });

  pi.on("session_before_compact", async () => {
    if (await isHeld(session)) return { cancel: true };
    session?.display?.compacts(true);
    return undefined;
  });
  pi.on("session_compact", () => session?.display?.compacts(false));
  pi.on("session_compact_failed", () => session?.display?.compacts(false));

  pi.on("agent_start", () => session?.display?.agentRuns(true));
  pi.on("turn_start", () => session?.display?.turnStarts());

  pi.on("agent_end", (event, ctx) => {
    const current = session;
    const { model } = ctx;
    current?.display?.agentRuns(false);
    if (current === undefined || model?.provider !== PROVIDER_ID) return;
    const { id } = model;
    const last = event.messages.at(-1);
    // A turn that failed has said why, and pi may be about to ask again.
    const hasFailed =
      last?.role === "assistant" && (last.stopReason === "error" || last.stopReason === "aborted");
    const finish = async (): Promise<void> => {
      if (hasFailed) return;
      // A model that was loaded by this turn tells its real window only now, be it another than last time.
      const served = aiServer.models.find((model) => model.id === id);
      const isUnread = served?.aiServer.context.source !== "live" && !current.asked.has(id);
      const isLoaded = activities.takeLoad(id);
      if (isLoaded && !isOffline(process.env))
        (await aiServer.server()).known.outdate(served?.aiServer.runsAs ?? id);
      const isNews = isLoaded || isUnread;
      current.asked.add(id);
      if ((!aiServer.isLive || isNews) && !isOffline(process.env)) await refreshInBackground(current);
      await tellWarnings(current);
      await tellOfModel(current, current.ctx.model);
    };
    finish().catch(() => {});
  });

  pi.on("agent_settled", async (_event, ctx) => {
    if (ctx.mode !== "print") return;
    const { lostFailure } = await import("./session/print-failure.ts");
    const failure = lostFailure(ctx.sessionManager.getBranch());
    if (failure === undefined) return;
    (await import("./ui/output.ts")).tell(ctx, failure, "error");
    process.exitCode = 1;
  });

  pi.on("session_shutdown", async () => {
    session?.ended.abort();
    session?.display?.close();
    session = undefined;
    await aiServer.close();
  });
}
