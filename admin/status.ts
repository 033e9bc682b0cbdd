/** `/ai-server-status`. */

import { findContexts, formatOf } from "../host/config/config-file.ts";
import type { UnitStatus } from "../host/ssh/machine.ts";
import { type Link, ServerError, sentenceOf } from "../lib/errors.ts";
import { counted } from "../lib/figures.ts";
import { maskLines, maskText } from "../masking/masking.ts";
import type { BackendKind, ServerVersion } from "../server/kinds/backend.ts";
import type { ModelServer } from "../server/model-server.ts";
import { NO_DESCRIPTION } from "../server/models/listed-model.ts";
import type { ModelFacts, RunningModel } from "../server/models/models.ts";
import { show } from "../ui/output.ts";
import type { Result, Style } from "../ui/result.ts";
import { readFlags } from "./arguments.ts";
import { type Call, serverFor } from "./call.ts";
import { downloadLines } from "./downloads.ts";
import { programsIn } from "./fit.ts";
import { toolWords } from "./fit-words.ts";
import { openHost, pathOf, withoutSshHost } from "./host-access.ts";
import { modelDetails, modelsData, statusTable } from "./model-words.ts";
import { aliasesOf, askedFacts, chosenModel, modelsNow } from "./models.ts";
import { faultText } from "./report.ts";

type Lines = (width: number, style: Style) => readonly string[];

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

/** Links that plain HTTP to this machine does not have. */
const OF_TLS: readonly Link[] = ["certificates", "TLS", "Caddy"];

/** Where the doctor sees more than the one sentence. */
const OF_WAY: readonly Link[] = ["certificates", "DNS", "TCP", "TLS", "Caddy", "server"];

/**
 * Which link of the way to the model fails, and the sentence with what to do.
 *
 * @param kind of the server, as far as it is known
 */
export function faultReport(error: unknown, kind: BackendKind | undefined, isTls: boolean): string {
  if (!(error instanceof ServerError)) return sentenceOf(error);
  const failed = WAY.indexOf(error.link);
  if (failed < 0) return error.message;
  const way = WAY.slice(0, failed + 1)
    .filter((link) => isTls || link === error.link || !OF_TLS.includes(link))
    .map((link) => {
      const name = link === "server" ? SERVERS[kind ?? "other"] : link;
      return `${name} ${link === error.link ? "FAILS" : "ok"}`;
    });
  return `${way.join(" · ")}\n${error.message}`;
}

/** Shows the models, or one of them, and whether the way to the server's machine is open. */
export async function status(call: Call): Promise<void> {
  const { ctx, aiServer, waiting } = call;
  const ids = aiServer.models.map(({ id }) => id);
  const { given, text } = readFlags(call.argument, ["--ssh"], ids);
  const result = await serverResult(call, text).catch(async (error: unknown): Promise<Result> => {
    waiting.signal.throwIfAborted();
    const server = await serverFor(call).catch(() => undefined);
    const fault = faultReport(error, server?.kind, server?.http.isTls ?? true);
    const isOfWay = error instanceof ServerError && OF_WAY.includes(error.link);
    const next = isOfWay ? "\n/ai-server-doctor looks at each of these links." : "";
    return { level: "error", content: maskText(fault, "log") + next };
  });
  if (!given.has("--ssh")) return show(ctx, result);
  const machine = await machineLines(call, await serverFor(call)).catch(sentence(waiting.signal));
  show(ctx, withLines(result, ["", ...[machine].flat()]));
}

/** A result with lines after it, which are no errors of its own. */
function withLines(result: Result, lines: readonly string[]): Result {
  const { content, level } = result;
  const before = (width: number, style: Style): readonly string[] => {
    if (typeof content !== "string") return content(width, style);
    return content.split("\n").map((line) => (level === "error" ? style.bad(line) : line));
  };
  return { ...result, content: (width, style) => [...before(width, style), ...lines] };
}

/** Read again where the answers have just shown that several servers give them: the first ones were of one alone. */
async function modelsAndRunning(
  call: Call,
  server: ModelServer,
): Promise<[ModelFacts[], RunningModel[] | undefined]> {
  const read = () => Promise.all([modelsNow(call, server), server.runningNow(call.waiting.signal, true)]);
  const wasKnown = server.several.isKnown;
  const found = await read();
  return server.several.isKnown && !wasKnown ? read() : found;
}

async function serverResult(call: Call, text: string): Promise<Result> {
  const { waiting } = call;
  const { signal } = waiting;
  const server = await serverFor(call);
  const address = server.config.origin + server.config.basePath;
  const list = modelsAndRunning(call, server);
  const [[models, running], version, door] = await Promise.all([
    list,
    server.version(signal),
    // Without the certificate only what has answered with it is looked at.
    list.then(() => server.openDoor.warnings(signal)),
  ]);
  const abilities = server.canLoad === false ? " · cannot load or unload on request" : "";
  const { upstream, warning } = server.several;
  // Of several that take turns, the next answer is of another one.
  const answeredBy = upstream === undefined || warning !== undefined ? "" : ` · answered by ${upstream}`;
  const heading = `${address} · ${versionWords(version)}${answeredBy}${abilities}`;
  const warnings = [...(warning === undefined ? [] : [warning]), ...door, ...server.tooMany];
  const chosen = chosenModel(text, models, running ?? [], aliasesOf(server));
  const found = running?.find(({ id }) => id === chosen?.id);
  const about = { address, ...version, ...(upstream === undefined ? {} : { upstream }) };
  const result = (lines: Lines, facts: readonly ModelFacts[], others: readonly RunningModel[]): Result => ({
    level: "info",
    heading,
    content: (width, style) => [...warnings.map(style.busy), ...lines(width, style)],
    data: { server: about, models: modelsData(facts, others) },
  });
  if (chosen === undefined)
    return result((width, style) => statusTable(models, width, running, style), models, running ?? []);
  if (chosen.facts === undefined) {
    const state = found?.state ?? "unknown";
    const words = `${chosen.id} is ${state}; the server does not list it as a chat model.`;
    return result(() => [words], [], found === undefined ? [] : [found]);
  }
  const [{ facts, isAsked }, lastLoadMs] = await Promise.all([
    askedFacts(call, server, chosen.facts),
    call.aiServer.remembered.expectedLoadMs(server.config, chosen.id),
  ]);
  const description = server.descriptions.get(facts.id) ?? NO_DESCRIPTION;
  const around = { running: found, lastLoadMs, description, address };
  const isCounted = isAsked && (found?.ttlSeconds ?? 0) > 0;
  const note = isCounted ? ["This asked the model itself, which restarted the model's idle time."] : [];
  return result(
    (width, style) => [...modelDetails(facts, around, width, style), ...note.map(style.dim)],
    [facts],
    [],
  );
}

/** Whether ssh, the config file and the unit are reachable, and what is being downloaded. */
async function machineLines(call: Call, server: ModelServer): Promise<string[]> {
  const { waiting } = call;
  const { signal } = waiting;
  const { sshHost } = server.config;
  if (sshHost === undefined) return [withoutSshHost().message];
  const where = sshHost === "local" ? "this machine" : `ssh ${sshHost}`;
  waiting.say(`Asking ${where}`);
  const host = await openHost(server, signal);
  const { machine, memory, config, close } = host;
  const { serviceUnit, presetPath } = config;
  try {
    const unit = await machine.status(signal).catch(sentence(signal));
    const lines =
      typeof unit === "string"
        ? [`${where}: ${unit}`]
        : [`${where}: reachable`, `${serviceUnit}: ${unit.problem ?? unitWords(unit)}`];
    if (typeof unit === "string" && !unit.includes(serviceUnit)) return lines;
    const files = await machine.read(signal).catch(sentence(signal));
    const read =
      typeof files === "string"
        ? [`${presetPath}: ${files}`]
        : files.map((file) => `${pathOf(file, config)}: ${file.mode}, ${fileWords(file)}`);
    const commandLine = typeof unit === "string" ? undefined : unit.commandLine;
    const found = await memory.devices(
      signal,
      typeof files === "string" ? undefined : programsIn(files, commandLine),
    );
    const tools = maskLines(toolWords(found), "log");
    const downloads = await downloadLines(call, server, host, signal).catch(sentence(signal));
    return [...lines, ...read, ...tools, ...[downloads].flat()];
  } finally {
    await close();
  }
}

function unitWords(unit: UnitStatus): string {
  const states = [unit.activeState, unit.subState].filter((word) => word !== "").join(", ");
  return [
    states === "" ? "state unknown" : states,
    ...(unit.watchesConfig ? ["reloads its config by itself"] : []),
    ...(unit.isBlind ? ["never sees a new config: its container mounts it as a single file"] : []),
    ...(unit.hasRestartCommand ? ["restarted by your own command"] : []),
  ].join(" · ");
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
    const count = counted(models.length, "model");
    return problems.length === 0 ? count : [`${count}; could not parse:`, ...problems].join("\n  ");
  } catch (error) {
    return faultText(error);
  }
}
