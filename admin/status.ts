/** `/ai-server-status` and `/ai-server-refresh`. */

import type { Config } from "../config.ts";
import { findContexts, formatOf } from "../host/config/config-file.ts";
import { shown } from "../host/config/refusals.ts";
import type { RemoteMachine } from "../host/ssh/machine.ts";
import { type Link, ServerError, sentenceOf } from "../lib/errors.ts";
import { maskText } from "../masking/masking.ts";
import { expectedLoadMs } from "../provider/load-times.ts";
import type { BackendKind } from "../server/kinds/backend.ts";
import type { ServerVersion } from "../server/kinds/version.ts";
import { NO_DESCRIPTION } from "../server/models/model-description.ts";
import { show, widthOf } from "../ui/output.ts";
import { readFlags } from "./arguments.ts";
import { type Call, pathOf, serverFor, withMachine } from "./call.ts";
import { readConfigFacts } from "./config-facts.ts";
import { faultText } from "./fault-text.ts";
import { modelDetails, statusTable } from "./model-words.ts";
import { askedFacts, chosenModel, modelsNow, refreshModels } from "./models.ts";
import { reloadPreset } from "./refresh.ts";

const WAY: readonly Link[] = [
  "configuration",
  "certificates",
  "DNS",
  "TCP",
  "TLS",
  "Caddy",
  "server",
  "model",
];

/** What the way ends at, where that is known and has a name. */
const SERVERS: Readonly<Record<BackendKind, string>> = {
  "llama-swap": "llama-swap",
  router: "llama.cpp's router",
  "llama-server": "llama-server",
  other: "server",
};

export function versionWords({ name, version }: ServerVersion): string {
  return version === undefined ? name : `${name} ${version}`;
}

/**
 * Which link of the way to the model fails, and the sentence with what to do.
 *
 * @param kind of the server, as far as it is known
 */
export function faultReport(error: unknown, kind: BackendKind | undefined): string {
  if (!(error instanceof ServerError)) return sentenceOf(error);
  const failed = WAY.indexOf(error.link);
  if (failed < 0) return error.message;
  const way = WAY.slice(0, failed + 1).map((link, at) => {
    const name = link === "server" ? SERVERS[kind ?? "other"] : link;
    return `${name} ${at === failed ? "FAILS" : "ok"}`;
  });
  return `${way.join(" · ")}\n${error.message}`;
}

/** Shows the models, or one of them, and whether the way to the server's machine is open. */
export async function status(call: Call): Promise<void> {
  const { ctx, aiServer, waiting } = call;
  const ids = aiServer.models.map(({ id }) => id);
  const { given, text } = readFlags(call.argument, ["--ssh"], ids);
  let failure: string | undefined;
  const lines = await serverLines(call, text).catch(async (error: unknown) => {
    waiting.signal.throwIfAborted();
    const server = await serverFor(call).catch(() => undefined);
    failure = maskText(faultReport(error, server?.kind), "log");
    return [failure];
  });
  if (given.has("--ssh")) lines.push("", ...(await machineLines(call)));
  show(ctx, lines.join("\n"), failure === undefined ? "info" : "error");
}

async function serverLines(call: Call, text: string): Promise<string[]> {
  const { ctx, waiting } = call;
  const { signal } = waiting;
  const server = await serverFor(call);
  const address = server.config.origin + server.config.basePath;
  const list = modelsNow(call, server);
  const [models, running, version, door] = await Promise.all([
    list,
    server.runningNow(signal),
    server.version(signal),
    // Without the certificate only what has answered with it is looked at.
    list.then(() => server.openDoor.warnings(signal)),
  ]);
  const abilities = server.canLoad === false ? " · loads and unloads nothing when asked" : "";
  const head = [`${address} · ${versionWords(version)}${abilities}`, ...door, ...server.tooMany];
  const chosen = chosenModel(text, models, running ?? []);
  if (chosen === undefined) return [...head, statusTable(models, widthOf(ctx), running)];
  const found = running?.find(({ id }) => id === chosen.id);
  if (chosen.facts === undefined)
    return [...head, `${chosen.id} is ${found?.state ?? "unknown"}, and is not listed for chatting.`];
  const [{ facts, isAsked }, lastLoadMs] = await Promise.all([
    askedFacts(call, server, chosen.facts),
    expectedLoadMs(call.aiServer, server, chosen.id),
  ]);
  const description = server.descriptions.get(facts.id) ?? NO_DESCRIPTION;
  const details = modelDetails(facts, { running: found, lastLoadMs, description, address });
  const isCounted = isAsked && (found?.ttlSeconds ?? 0) > 0;
  return [
    ...head,
    ...details,
    ...(isCounted ? ["The model itself was asked: its idle time begins again."] : []),
  ];
}

/** Whether ssh, the config file and the unit are reachable. */
async function machineLines(call: Call): Promise<string[]> {
  const { waiting } = call;
  const server = await serverFor(call);
  const { sshHost } = server.config;
  const where = sshHost === "local" ? "this machine" : `ssh ${sshHost}`;
  waiting.say(`Asking ${where}`);
  const work = async (machine: RemoteMachine, config: Config): Promise<string[]> => {
    const lines: string[] = [];
    const unit = await machine.status(waiting.signal).catch(sentence(waiting.signal));
    if (typeof unit === "string") lines.push(`${where}: ${unit}`);
    else {
      lines.push(`${where}: reachable`);
      const states = [unit.activeState, unit.subState].filter((word) => word !== "").join(", ");
      const extras = [
        unit.watchesConfig ? "reloads its config by itself" : "",
        unit.isBlind ? "never sees a new config, as its container has it as one mounted file" : "",
        unit.hasRestartCommand ? "restarted by a command of yours" : "",
      ];
      const words = [states === "" ? "state unknown" : states, ...extras]
        .filter((word) => word !== "")
        .join(" · ");
      lines.push(`${config.serviceUnit}: ${unit.problem ?? words}`);
    }
    if (typeof unit === "string" && !unit.includes(config.serviceUnit)) return lines;
    const files = await machine.read(waiting.signal).catch(sentence(waiting.signal));
    if (typeof files === "string") return [...lines, `${config.presetPath}: ${files}`];
    return [...lines, ...files.map((file) => `${pathOf(file, config)}: ${file.mode}, ${fileWords(file)}`)];
  };
  const told = await withMachine(server, work, waiting.signal).catch(sentence(waiting.signal));
  return typeof told === "string" ? [told] : told;
}

function sentence(signal: AbortSignal): (error: unknown) => string {
  return (error) => {
    signal.throwIfAborted();
    return faultText(error);
  };
}

function fileWords({ name, text }: { name: string; text: string }): string {
  try {
    const models = findContexts(text, formatOf(name));
    const problems = models.flatMap(({ problem }) => (problem === undefined ? [] : [problem]));
    const count = `${models.length} ${models.length === 1 ? "model" : "models"}`;
    return problems.length === 0 ? count : [`${count}, of which not understood:`, ...problems].join("\n  ");
  } catch (error) {
    return faultText(error);
  }
}

/** Reads the models again, registers them, and says what changed; asked to, with what the config says of them. */
export async function refresh(call: Call): Promise<void> {
  const { ctx, waiting } = call;
  const { given, text } = readFlags(call.argument, ["--config"], []);
  if (text !== "")
    throw new ServerError(`/ai-server-refresh takes nothing but --config, and not ${shown(text)}.`, {
      link: "configuration",
      remedy: "none",
    });
  waiting.say("Asking the server for its models");
  const reloaded = await reloadPreset(call);
  const { read, problems } = given.has("--config") ? await readConfigFacts(call) : { read: [], problems: [] };
  const changes = await refreshModels(call, true);
  const { length } = call.aiServer.models;
  const noun = length === 1 ? "model" : "models";
  const told = changes.length === 0 ? [`Nothing changed: ${length} ${noun}.`] : changes;
  const { tooMany } = await serverFor(call);
  const lines = [...(reloaded === undefined ? [] : [reloaded]), ...read, ...told, ...tooMany, ...problems];
  show(ctx, lines.join("\n"), problems.length + tooMany.length > 0 ? "warning" : "info");
}
