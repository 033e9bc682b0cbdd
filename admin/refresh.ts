/** The part of `/ai-server-refresh` that llama.cpp's router has: its preset is read again, without a restart. */
import { formatOf } from "../host/config/config-file.ts";
import { isAsHeld } from "../host/config/ini/presets.ts";
import { heldPresets } from "../server/kinds/llama-cpp/list.ts";
import type { ModelServer } from "../server/model-server.ts";
import type { RunningModel } from "../server/models/models.ts";
import { type Call, isConfirmed, pathOf, serverFor, withMachine } from "./call.ts";
import { faultText } from "./fault-text.ts";
import { stakesOf } from "./interruption.ts";

const ANSWER_TIMEOUT_MS = 10_000;

/** What the preset file says of the loaded models. */
interface Compared {
  readonly path: string;
  /** The loaded models whose section is not for sure the one that the router has read. */
  readonly others: readonly string[];
}

/**
 * Lets a router read its preset again. Where that may unload a model it asks first, and does nothing in a
 * mode that cannot ask.
 *
 * @returns what became of it, as a sentence; undefined where there is nothing to report
 * @throws {ServerError} where the server does not answer; the signal's reason
 */
export async function reloadPreset(call: Call): Promise<string | undefined> {
  const { ctx, waiting, aiServer } = call;
  const { signal } = waiting;
  const server = await serverFor(call);
  const backend = await server.backend(signal);
  if (backend.reloadConfig === undefined) return undefined;
  const running = (await server.runningNow(signal)) ?? [];
  if (ctx.mode !== "tui" && ctx.mode !== "rpc") {
    if (running.length === 0) return undefined;
    return `The router was not asked to read its preset again: that may unload ${namesOf(running)}, and in ${ctx.mode} mode there is nobody to ask.`;
  }
  try {
    return await aiServer.exclusively("/ai-server-refresh", async () => {
      const costs = running.length === 0 ? [] : await costsOf(call, server, running);
      const question = { title: "Let the router read its preset again?", consequences: costs };
      if (costs.length > 0 && !(await isConfirmed(call, question, ["Leave it as it is", "Read it again"])))
        return "The router was not asked to read its preset again.";
      waiting.say("Letting the router read its preset again");
      const isRead = await backend.reloadConfig?.(signal);
      return isRead
        ? "The router has read its preset again."
        : "This router cannot read its preset again; /ai-server-restart restarts it.";
    });
  } catch (error) {
    signal.throwIfAborted();
    return `The router has not read its preset again: ${faultText(error)}`;
  }
}

/** The lines of the question; none where every loaded model stays for sure. */
async function costsOf(call: Call, server: ModelServer, running: readonly RunningModel[]): Promise<string[]> {
  const { signal } = call.waiting;
  const compared = await compare(call, server, running).catch((error: unknown) => {
    signal.throwIfAborted();
    return faultText(error);
  });
  if (typeof compared === "string") {
    return [
      compared,
      "So which sections have changed is not known.",
      `Loaded now: ${namesOf(running)}. Those whose section has changed are unloaded, and their requests are cut.`,
    ];
  }
  const { path, others } = compared;
  if (others.length === 0) return [];
  return [
    `${path} differs from what the router runs for ${others.join(", ")}.`,
    ...(await stakesOf(call, server, running, [], { isUnloaded: (id) => others.includes(id) })),
  ];
}

async function compare(call: Call, server: ModelServer, running: readonly RunningModel[]): Promise<Compared> {
  const { signal } = call.waiting;
  call.waiting.say("Reading the preset on the server");
  const limits = { signal, timeoutMs: ANSWER_TIMEOUT_MS };
  const held = heldPresets(await server.http.json(server.config.modelsPath, limits));
  return withMachine(
    server,
    async (machine, config) => {
      const files = await machine.read(signal);
      const unit = await machine.status(signal);
      const presets = files.filter(({ name }) => formatOf(name) === "ini");
      const isKept = (id: string): boolean =>
        presets.some(({ text }) => isAsHeld(text, id, held.get(id) ?? "", unit.commandLine ?? []));
      return {
        path: presets.map((file) => pathOf(file, config)).join(", ") || config.presetPath,
        others: running.map(({ id }) => id).filter((id) => !isKept(id)),
      };
    },
    signal,
  );
}

function namesOf(running: readonly RunningModel[]): string {
  return running.map(({ id }) => id).join(", ");
}
