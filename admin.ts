/** The `/ai-server-*` commands: which there are, and how each is run. What each does is in `admin/`. */
import leven from "leven";
import type { CommandUse } from "./admin/call.ts";
import { commandOutput, show, withResults } from "./ui/output.ts";
import type { Result } from "./ui/result.ts";
import { whileWaiting } from "./ui/wait.ts";

type Run = (call: CommandUse) => Promise<void>;

/** Each is read when it is first used. */
const COMMANDS = {
  "ai-server": async () => (await import("./admin/panel/panel.ts")).panel,
  "ai-server-status": async () => (await import("./admin/status.ts")).status,
  "ai-server-refresh": async () => (await import("./admin/refresh.ts")).refresh,
  "ai-server-load": async () => (await import("./admin/load.ts")).load,
  "ai-server-unload": async () => (await import("./admin/load.ts")).unload,
  "ai-server-add": async () => (await import("./admin/add.ts")).add,
  "ai-server-remove": async () => (await import("./admin/remove.ts")).remove,
  "ai-server-ctx": async () => (await import("./admin/context.ts")).changeContext,
  "ai-server-preset": async () => (await import("./admin/preset.ts")).preset,
  "ai-server-restart": async () => (await import("./admin/restart.ts")).restart,
  "ai-server-rollback": async () => (await import("./admin/rollback.ts")).rollback,
  "ai-server-logs": async () => (await import("./admin/logs.ts")).logs,
  "ai-server-devices": async () => (await import("./admin/devices.ts")).devices,
  "ai-server-doctor": async () => (await import("./admin/doctor.ts")).doctor,
  "ai-server-last": async () => (await import("./admin/last.ts")).last,
} as const satisfies Record<string, () => Promise<Run>>;

export type CommandName = keyof typeof COMMANDS;

/** `/ai-server status` is meant for `/ai-server-status`, unless a model is called so. */
function meantCommand(name: CommandName, { argument, aiServer }: CommandRequest) {
  const [, word = "", rest = ""] = /^\s*(\S+)\s*(.*)$/s.exec(argument) ?? [];
  const meant = `ai-server-${word}`;
  const isMeant = name === "ai-server" && isCommand(meant) && !aiServer.models.some(({ id }) => id === word);
  return isMeant ? { name: meant, argument: rest } : { name, argument };
}

function isCommand(name: string): name is CommandName {
  return Object.hasOwn(COMMANDS, name);
}

/**
 * What to say of a prompt that is a mistyped command: it must not go to the model. pi runs a command alone where it
 * begins the prompt and a space follows it.
 *
 * @param others what else pi would take for a command, such as the user's prompt templates
 * @returns undefined for any other text
 */
export function mistypedCommand(text: string, others: readonly string[] = []): string | undefined {
  const [, typed] = /^\s*\/(ai-server[\w-]*)(?:\s|$)/i.exec(text) ?? [];
  if (typed === undefined) return undefined;
  if (isCommand(typed))
    return `/${typed} was not run, and not sent to the model. Type it at the beginning, with a space and not a tab or a line break after it.`;
  if (others.includes(typed)) return undefined;
  const distances = Object.keys(COMMANDS).map((name) => ({ name, away: leven(typed.toLowerCase(), name) }));
  const nearest = distances.reduce((a, b) => (b.away < a.away ? b : a));
  return `/${typed} is not a command, and was not sent to the model. Did you mean /${nearest.name}?`;
}

/** A command as pi's user gives it. */
export interface CommandRequest extends Omit<CommandUse, "waiting"> {
  /** Shows a result in the terminal. */
  keepResult(result: Result): void;
}

/** Runs a command. Its faults are shown as sentences and never thrown. */
export async function runCommand(name: CommandName, request: CommandRequest): Promise<void> {
  const { ended, aiServer, keepResult } = request;
  const { mode } = request.ctx;
  const meant = meantCommand(name, request);
  const output = commandOutput(request.ctx, meant.name, keepResult);
  const ctx = withResults(request.ctx, output.take);
  await whileWaiting(ctx, ended, async (waiting) => {
    try {
      const run = await COMMANDS[meant.name]();
      await run({ ...request, ctx, argument: meant.argument, waiting });
    } catch (error) {
      // What was cancelled has nothing to say.
      if (!waiting.signal.aborted) await showFault(ctx, error);
    }
    if (mode === "print" || mode === "json") await aiServer.remembered.written();
    if (!ended.aborted) output.end();
  });
}

async function showFault(ctx: CommandUse["ctx"], error: unknown): Promise<void> {
  const { faultText } = await import("./admin/report.ts");
  show(ctx, faultText(error), "error");
}
