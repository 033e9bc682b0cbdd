/** The `/ai-server-*` commands: which there are, and how each is run. What each does is in `commands/`. */
import type { Call } from "./commands/call.ts";
import { show } from "./ui/output.ts";
import { whileWaiting } from "./ui/wait.ts";

type Run = (call: Call) => Promise<void>;

/** Each is read when it is first used. */
const COMMANDS = {
  "ai-server": async () => (await import("./commands/panel.ts")).panel,
  "ai-server-status": async () => (await import("./commands/status.ts")).status,
  "ai-server-refresh": async () => (await import("./commands/status.ts")).refresh,
  "ai-server-load": async () => (await import("./commands/load.ts")).load,
  "ai-server-unload": async () => (await import("./commands/load.ts")).unload,
  "ai-server-ctx": async () => (await import("./commands/context.ts")).changeContext,
  "ai-server-preset": async () => (await import("./commands/preset.ts")).preset,
  "ai-server-restart": async () => (await import("./commands/restart.ts")).restart,
  "ai-server-rollback": async () => (await import("./commands/rollback.ts")).rollback,
  "ai-server-logs": async () => (await import("./commands/logs.ts")).logs,
  "ai-server-last": async () => (await import("./commands/last.ts")).last,
} as const satisfies Record<string, () => Promise<Run>>;

export type CommandName = keyof typeof COMMANDS;

/** Runs a command. Its faults are shown as sentences and never thrown. */
export async function runCommand(name: CommandName, use: Omit<Call, "waiting">): Promise<void> {
  const { ctx, ended, aiServer } = use;
  await whileWaiting(ctx, ended, async (waiting) => {
    try {
      const run = await COMMANDS[name]();
      await run({ ...use, waiting });
    } catch (error) {
      // What was cancelled has nothing to say.
      if (!waiting.signal.aborted) await showFault(ctx, error);
    }
    if (ctx.mode === "print" || ctx.mode === "json") await aiServer.remembered();
  });
}

async function showFault(ctx: Call["ctx"], error: unknown): Promise<void> {
  const { faultText } = await import("./commands/fault-text.ts");
  show(ctx, faultText(error), "error");
}
