/** `/ai-server-restart`. */
import { show } from "../ui/output.ts";
import { type Call, isConfirmed, requireUser, serverFor } from "./call.ts";
import { changePlaceOf, restartCommandName, restartedName, shownSteps } from "./change.ts";
import { openHost } from "./host-access.ts";
import { interruptionOf } from "./interruption.ts";
import { refreshModels } from "./models.ts";

export async function restart(call: Call): Promise<void> {
  requireUser(call.ctx);
  await call.aiServer.exclusively("/ai-server-restart", () => restartNow(call), true);
}

async function restartNow(call: Call): Promise<void> {
  const { ctx, waiting } = call;
  const { signal } = waiting;
  const server = await serverFor(call);
  const host = await openHost(server, signal);
  try {
    const running = await server.runningNow(signal).catch(() => undefined);
    signal.throwIfAborted();
    waiting.say("Checking the unit");
    const unit = await host.machine.status(signal);

    const toLoad = running?.map(({ id }) => id) ?? [];
    const question = {
      title: `Restart ${restartedName(unit, host.config)}?`,
      consequences: await interruptionOf(call, server, running, toLoad, { isRestart: true }),
    };
    const keep = running === undefined ? "Leave it as it is" : "Leave it running";
    if (!(await isConfirmed(call, question, [keep, "Restart"]))) return show(ctx, "Nothing was restarted.");

    const place = await changePlaceOf(call, server, host);
    const { restartServer } = await import("../host/change.ts");
    const steps = shownSteps(waiting, host.config, unit);
    const notes = await restartServer(place, unit, steps).catch((error: unknown) => {
      if (!signal.aborted) throw error;
      return undefined;
    });
    if (notes === undefined) {
      const words = "Cancelled. The server may still restart; see /ai-server-status.";
      return show(ctx, words, "warning");
    }

    const isFirst = call.aiServer.models.length === 0;
    const { changes } = await refreshModels(call, true).catch(() => ({ changes: [] }));
    const how = unit.hasRestartCommand ? ` with ${restartCommandName(host.config)}` : "";
    const head = `The server was restarted${how} and answers.`;
    const text = [head, ...(isFirst ? [] : changes), ...notes].join("\n");
    show(ctx, text, notes.length > 0 ? "warning" : "info");
  } finally {
    await host.close();
  }
}
