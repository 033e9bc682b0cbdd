/** `/ai-server-refresh`: the models are read again; llama.cpp's router also reads its preset again. */

import { formatOf } from "../host/config/config-file.ts";
import { isAsHeld } from "../host/config/ini/presets.ts";
import { shown } from "../host/config/refusals.ts";
import { ServerError } from "../lib/errors.ts";
import { counted } from "../lib/figures.ts";
import { ANSWER_TIMEOUT_MS } from "../server/http/access.ts";
import { heldPresets } from "../server/kinds/llama-cpp/list.ts";
import type { ModelServer } from "../server/model-server.ts";
import type { RunningModel } from "../server/models/models.ts";
import { show } from "../ui/output.ts";
import { readFlags } from "./arguments.ts";
import { type Call, canAsk, isConfirmed, serverFor } from "./call.ts";
import { readConfigFacts } from "./config-facts.ts";
import { openHost, pathOf } from "./host-access.ts";
import { interruptionOf } from "./interruption.ts";
import { modelsData } from "./model-words.ts";
import { refreshModels } from "./models.ts";
import { faultText } from "./report.ts";

const NOT_READ = "The router did not reread its preset";

/** Reads the models again, registers them, and reports what changed; with `--config` also what the config sets. */
export async function refresh(call: Call): Promise<void> {
  const { aiServer, ctx, waiting } = call;
  const { given, text } = readFlags(call.argument, ["--config"], []);
  if (text !== "")
    throw new ServerError(`/ai-server-refresh takes only --config, not ${shown(text)}.`, {
      link: "configuration",
    });
  waiting.say("Asking the server for its models");
  const server = await serverFor(call);
  const reloaded = await reloadPreset(call, server);
  const { read, problems } = given.has("--config")
    ? await readConfigFacts(call, server)
    : { read: [], problems: [] };
  const { found, changes } = await refreshModels(call, true);
  const { length } = aiServer.models;
  const models = counted(length, "model");
  const news = `${counted(changes.length, "change")}, ${models} now`;
  const warnings = [...server.tooMany, ...problems];
  show(ctx, {
    level: warnings.length > 0 ? "warning" : "info",
    ...(changes.length === 0 ? {} : { heading: news }),
    content: (_, style) => [
      ...(reloaded === undefined ? [] : [style.dim(reloaded)]),
      ...read.map(style.dim),
      ...(changes.length === 0 ? [`Nothing changed: ${models}.`] : changes),
      ...warnings.map(style.busy),
    ],
    data: { changes, models: modelsData(found) },
  });
}

/**
 * Has a router read its preset again. Where that may unload a model it asks first, and does nothing in a mode that
 * cannot ask.
 *
 * @returns what became of it, as a sentence; undefined where there is nothing to report
 * @throws {ServerError} where the server does not answer; the signal's reason
 */
export async function reloadPreset(call: Call, server: ModelServer): Promise<string | undefined> {
  const { ctx, waiting, aiServer } = call;
  const { signal } = waiting;
  const backend = await server.backend(signal);
  if (backend.reloadConfig === undefined) return undefined;
  const running = (await server.runningNow(signal)) ?? [];
  if (!canAsk(ctx)) {
    if (running.length === 0) return undefined;
    return `${NOT_READ}: that may unload ${namesOf(running)}, and ${ctx.mode} mode cannot ask.`;
  }
  try {
    return await aiServer.exclusively("/ai-server-refresh", async () => {
      if (running.length > 0 && !(await isReloadConfirmed(call, server, running))) return `${NOT_READ}.`;
      waiting.say("Asking the router to reread its preset");
      return (await backend.reloadConfig?.(signal))
        ? "The router reread its preset."
        : "This router cannot reread its preset; use /ai-server-restart.";
    });
  } catch (error) {
    signal.throwIfAborted();
    return `The router did not reread its preset: ${faultText(error)}`;
  }
}

/** Asks nothing where every loaded model certainly stays. */
async function isReloadConfirmed(
  call: Call,
  server: ModelServer,
  running: readonly RunningModel[],
): Promise<boolean> {
  const { signal } = call.waiting;
  let consequences: string[];
  try {
    const { path, changed } = await comparePresets(call, server, running);
    if (changed.length === 0) return true;
    consequences = [
      `${path} differs from what the router runs for ${changed.join(", ")}.`,
      ...(await interruptionOf(call, server, running, [], { isUnloaded: (id) => changed.includes(id) })),
    ];
  } catch (error) {
    signal.throwIfAborted();
    consequences = [
      faultText(error),
      "The changed sections are therefore unknown.",
      `Loaded now: ${namesOf(running)}. Models whose section has changed will be unloaded and their requests cut off.`,
    ];
  }
  const question = { title: "Have the router reread its preset?", consequences };
  return isConfirmed(call, question, ["Leave it as it is", "Reread it"]);
}

/** The loaded models whose section in the file may differ from the one that the router has read. */
async function comparePresets(
  { waiting }: Call,
  server: ModelServer,
  running: readonly RunningModel[],
): Promise<{ path: string; changed: string[] }> {
  const { signal } = waiting;
  waiting.say("Reading the preset on the server");
  const limits = { signal, timeoutMs: ANSWER_TIMEOUT_MS };
  const held = heldPresets(await server.http.json(server.config.modelsPath, limits));
  const { machine, config, close } = await openHost(server, signal);
  try {
    const files = await machine.read(signal);
    const { commandLine = [] } = await machine.status(signal);
    const presets = files.filter(({ name }) => formatOf(name) === "ini");
    const isKept = (id: string): boolean =>
      presets.some(({ text }) => isAsHeld(text, id, held.get(id) ?? "", commandLine));
    return {
      path: presets.map((file) => pathOf(file, config)).join(", ") || config.presetPath,
      changed: running.map(({ id }) => id).filter((id) => !isKept(id)),
    };
  } finally {
    await close();
  }
}

function namesOf(running: readonly RunningModel[]): string {
  return running.map(({ id }) => id).join(", ");
}
