/** The `/ai-server-*` commands: which there are, and how each is run. What each does is in `admin/`. */
import type { CommandUse } from "./admin/call.ts";
import { show } from "./ui/output.ts";
import { whileWaiting } from "./ui/wait.ts";

type Run = (call: CommandUse) => Promise<void>;

/** Each is read when it is first used. */
const COMMANDS = {
  "ai-server": async () => (await import("./admin/panel/panel.ts")).panel,
  "ai-server-status": async () => (await import("./admin/status.ts")).status,
  "ai-server-refresh": async () => (await import("./admin/refresh.ts")).refresh,
  "ai-server-load": async () => (await import("./admin/load.ts")).load,
  "ai-server-unload": async () => (await import("./admin/load.ts")).unload,
  "ai-server-ctx": async () => (await import("./admin/context.ts")).changeContext,
  "ai-server-preset": async () => (await import("./admin/preset.ts")).preset,
  "ai-server-restart": async () => (await import("./admin/restart.ts")).restart,
  "ai-server-rollback": async () => (await import("./admin/rollback.ts")).rollback,
  "ai-server-logs": async () => (await import("./admin/logs.ts")).logs,
  "ai-server-last": async () => (await import("./admin/last.ts")).last,
} as const satisfies Record<string, () => Promise<Run>>;

export type CommandName = keyof typeof COMMANDS;

/** Runs a command. Its faults are shown as sentences and never thrown. */
export async function runCommand(name: CommandName, use: Omit<CommandUse, "waiting">): Promise<void> {
  const { ctx, ended, aiServer } = use;
  await whileWaiting(ctx, ended, async (waiting) => {
    try {
      const run = await COMMANDS[name]();
      await run({ ...use, waiting });
    } catch (error) {
      // What was cancelled has nothing to say.
      if (!waiting.signal.aborted) await showFault(ctx, error);
    }
    if (ctx.mode === "print" || ctx.mode === "json") await aiServer.remembered.written();
  });
}

async function showFault(ctx: CommandUse["ctx"], error: unknown): Promise<void> {
  const { faultText } = await import("./admin/report.ts");
  show(ctx, faultText(error), "error");
}
