/** `/ai-server-refresh --config`: the windows of all models as the config on the server's machine sets them. */

import { type ContextSetting, findContexts, formatOf } from "../host/config/config-file.ts";
import { shareOf } from "../host/config/context-setting.ts";
import { shown } from "../host/config/refusals.ts";
import type { HostFile } from "../host/ssh/machine.ts";
import type { Memory, StoredFacts } from "../memory/memory.ts";
import { baseUrlOf, readRemembered } from "../provider/pi-models.ts";
import type { ModelServer } from "../server/model-server.ts";
import type { Fact, RememberedFacts } from "../server/models/models.ts";
import { idOf } from "../server/models/names.ts";
import type { Call } from "./call.ts";
import { openConfigHost, pathOf } from "./host-access.ts";
import { faultText } from "./report.ts";

/** What the files set, and what in them could not be read. */
export interface ConfigFacts {
  /** Tokens that one request may use, by the id of each model; undefined where the file sets none in tokens. */
  readonly windows: ReadonlyMap<string, number | undefined>;
  /** Sentences. */
  readonly problems: readonly string[];
  /** Whether every file was understood as a whole. */
  readonly isWhole: boolean;
}

/** The fact of a window that is no longer known. */
const FORGOTTEN = { value: 1, source: "default" } as const satisfies Fact<number>;

const MAX_PROBLEMS = 5;

/**
 * Tokens for one request as a file sets them. Zero is llama-server's word for the trained size, which is no window
 * that is known. Not rounded up to 256, as no command line is: a running model's own report is compared with both.
 */
function windowOf({ tokens, setBy, slots }: ContextSetting): number | undefined {
  // Without a size llama-server takes as much as all slots need.
  if (setBy === "nothing") return slots.perSlot;
  return tokens === undefined || tokens === 0 ? undefined : shareOf(tokens, slots) || undefined;
}

function problemOf(setting: ContextSetting, path: string): string[] {
  const { problem, model, tokens, setBy, name, line } = setting;
  if (problem !== undefined) return [problem];
  if (tokens !== undefined || setBy === "nothing") return [];
  return [`The context size of ${shown(model)} (${name} in ${path}, line ${line}) is not a plain number.`];
}

/** Reads what files of a config set. @param pathOf the path of a file, as the user knows it */
export function configFacts(files: readonly HostFile[], pathOf: (file: HostFile) => string): ConfigFacts {
  const windows = new Map<string, number | undefined>();
  const problems: string[] = [];
  let isWhole = true;
  for (const file of files) {
    try {
      for (const setting of findContexts(file.text, formatOf(file.name))) {
        const id = idOf(setting.model);
        if (id !== undefined) windows.set(id, windowOf(setting));
        problems.push(...problemOf(setting, pathOf(file)));
      }
    } catch (error) {
      isWhole = false;
      problems.push(`${pathOf(file)}: ${faultText(error)}`);
    }
  }
  return { windows, problems, isWhole };
}

/**
 * The window to learn from the files for one model.
 *
 * @param learnt the facts known so far
 * @returns undefined where the files have nothing new: a running model's own report stays, as long as the files say what
 *   its command line said then
 */
function newsOf(id: string, facts: ConfigFacts, learnt: RememberedFacts): Fact<number> | undefined {
  const window = facts.windows.get(id);
  const { context, refuted } = learnt;
  if (window === undefined) {
    const isGone = context?.source === "config file" && facts.isWhole;
    return isGone ? FORGOTTEN : undefined;
  }
  const isKnown = context !== undefined && context.source !== "default";
  if (isKnown && (context.value === window || refuted?.commandLine === window)) return undefined;
  return { value: window, source: "config file" };
}

/** Keeps the windows of a config like everything that is learnt. @returns whether that could be written */
export async function learnConfig(
  memory: Memory,
  url: string,
  facts: ConfigFacts,
  now: number,
): Promise<boolean> {
  const kept = await memory.allFacts(url);
  const ids = new Set([...kept.keys(), ...facts.windows.keys()]);
  const news = [...ids].flatMap((id): [string, StoredFacts][] => {
    const context = newsOf(id, facts, readRemembered(kept.get(id) ?? {}));
    return context === undefined ? [] : [[id, { context, seenAt: now }]];
  });
  await Promise.all(news.map(([id, learnt]) => memory.remember(url, id, learnt)));
  const after = await memory.allFacts(url);
  return news.every(
    ([id, { context }]) => JSON.stringify(after.get(id)?.context) === JSON.stringify(context),
  );
}

async function factsOnHost(server: ModelServer, signal: AbortSignal): Promise<ConfigFacts> {
  const { machine, config, close } = await openConfigHost(server, signal);
  try {
    return configFacts(await machine.read(signal), (file) => pathOf(file, config));
  } finally {
    await close();
  }
}

/**
 * Reads the config on the server's machine, and keeps the windows that it sets for the discovery that follows.
 *
 * @returns sentences of what was read, and of what could not be
 */
export async function readConfigFacts(
  { aiServer, waiting }: Call,
  server: ModelServer,
): Promise<{ read: readonly string[]; problems: readonly string[] }> {
  const { sshHost = "local" } = server.config;
  waiting.say(`Reading the config on ${sshHost === "local" ? "this machine" : sshHost}`);
  let facts: ConfigFacts;
  try {
    facts = await factsOnHost(server, waiting.signal);
  } catch (error) {
    waiting.signal.throwIfAborted();
    return { read: [], problems: [`The config was not read: ${faultText(error)}`] };
  }
  // First whatever models have just reported.
  await aiServer.remembered.written();
  const isKept = await learnConfig(
    await aiServer.remembered.memory(),
    baseUrlOf(server.config),
    facts,
    Date.now(),
  );
  const known = [...facts.windows.values()].filter((window) => window !== undefined).length;
  const more = facts.problems.length - MAX_PROBLEMS;
  return {
    read: [`The config sets the context size of ${known} of its ${facts.windows.size} models.`],
    problems: [
      ...facts.problems.slice(0, MAX_PROBLEMS),
      ...(more > 0 ? [`and ${more} more like these; /ai-server-status --ssh lists them.`] : []),
      ...(isKept
        ? []
        : ["These sizes cannot be saved: ai-server.json in pi's agent folder is not writable."]),
    ],
  };
}
