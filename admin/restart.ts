/** `/ai-server-restart`. */
import type { Config } from "../config.ts";
import type { RemoteMachine } from "../host/ssh/machine.ts";
import { show } from "../ui/output.ts";
import { type Call, isConfirmed, requireUser, serverFor, withMachine } from "./call.ts";
import { changeOn, restartCommandName } from "./change.ts";
import { refreshModels } from "./models.ts";
import { stakesOf } from "./stakes.ts";

/** Restarts the unit, waits until the server answers, and loads again what was loaded. */
export async function restart(call: Call): Promise<void> {
  const { aiServer, ctx, waiting } = call;
  requireUser(call);
  const server = await serverFor(call);
  const work = async (machine: RemoteMachine, config: Config): Promise<void> => {
    const running = await server.runningNow(waiting.signal).catch(() => undefined);
    waiting.signal.throwIfAborted();
    waiting.say("Asking for the state of the unit");
    const unit = await machine.status(waiting.signal);
    const { hasRestartCommand } = unit;
    const how = hasRestartCommand ? `the server, by ${restartCommandName(config)}` : config.serviceUnit;
    const toLoad = running?.map(({ id }) => id) ?? [];
    const consequences = await stakesOf(call, server, running, toLoad, { isRestart: true });
    const keep = running === undefined ? "Leave it as it is" : "Leave it running";
    if (!(await isConfirmed(call, { title: `Restart ${how}?`, consequences }, [keep, "Restart"]))) {
      show(ctx, "Nothing was restarted.");
      return;
    }
    const { host } = await changeOn(call, server, machine, config);
    const { restartServer } = await import("../host/change.ts");
    const notes = await restartServer(host, unit, waiting.signal).catch((error: unknown) => {
      if (!waiting.signal.aborted) throw error;
      return undefined;
    });
    if (notes === undefined) {
      const words = "Cancelled. The server may be restarting all the same; /ai-server-status shows it.";
      show(ctx, words, "warning");
      return;
    }
    const isFirst = aiServer.models.length === 0;
    const found = await refreshModels(call, true).catch(() => []);
    const changes = isFirst ? [] : found;
    const by = hasRestartCommand ? ` by ${restartCommandName(config)}` : "";
    const text = [`The server was restarted${by} and answers.`, ...changes, ...notes].join("\n");
    show(ctx, text, notes.length > 0 ? "warning" : "info");
  };
  await aiServer.exclusively("/ai-server-restart", () => withMachine(server, work, waiting.signal));
}
