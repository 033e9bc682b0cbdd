/** Completion against the live server. */

import type { ExtensionContext } from "@earendil-works/pi-coding-agent";
import { REAL_CLOCK } from "../lib/clock.ts";
import { shortTokens } from "../lib/figures.ts";
import type { AiServer } from "../provider/ai-server.ts";
import type { ServedModel } from "../provider/pi-models.ts";
import { readCommandLine } from "../server/models/command-line.ts";
import type { ModelFacts } from "../server/models/models.ts";
import type { Complete } from "../ui/autocomplete.ts";
import { serverFor } from "./call.ts";
import { complete, type Entry, LiveIds, takesId } from "./completion.ts";

/** Commands on the config file, which some kinds of server do not have. */
const OF_THE_CONFIG = new Set(["ai-server-ctx", "ai-server-preset"]);

function contextWords({ context: { value, source } }: Pick<ModelFacts, "context">): string | undefined {
  if (source === "default") return undefined;
  return source === "live" ? shortTokens(value) : `${shortTokens(value)} ${source}`;
}

/** A model of the catalogue; how it is at this moment, only the server knows. */
function knownEntry({ id, aiServer: { context } }: ServedModel): Entry {
  return { id, state: "unknown", loaded: false, context: contextWords({ context }) };
}

async function readEntries(
  aiServer: AiServer,
  ctx: Pick<ExtensionContext, "modelRegistry">,
  signal: AbortSignal,
): Promise<Entry[]> {
  const server = await serverFor({ aiServer, ctx });
  const models = await server.discover(await aiServer.rememberedFacts(server.config), { signal });
  const running = new Map((await server.running(signal))?.map((model) => [model.id, model]));
  const loads = (await server.backend(signal)).load !== undefined;
  return models.map((model) => {
    const { id, runsAs, state, problem } = model;
    const command = running.get(runsAs ?? id)?.commandLine;
    return {
      id,
      state,
      loaded: state === "ready" || state === "starting" || state === "stopping",
      isFixed: !loads || runsAs === undefined || problem !== undefined,
      context: problem === undefined ? contextWords(model) : `[${problem}]`,
      contextTokens: command === undefined ? undefined : readCommandLine(command).contextSize,
      trainedTokens: model.trainedContext?.value,
    };
  });
}

/**
 * What Tab offers, read from the server in the background; typing never waits for it.
 *
 * @param ended the session's end
 */
export function completer(
  aiServer: AiServer,
  ctx: Pick<ExtensionContext, "modelRegistry">,
  ended: AbortSignal,
): Complete {
  const live = new LiveIds(
    (signal) => readEntries(aiServer, ctx, signal),
    REAL_CLOCK,
    aiServer.models.map(knownEntry),
  );
  ended.addEventListener("abort", () => live.close(), { once: true });
  return async (command, argument, signal) => {
    // A command without a model is no reason to ask the server.
    if (!takesId(command)) return complete([], command, argument);
    const entries = await live.suggestions(signal);
    // The first entries are those of the catalogue, which does not know the server.
    const server = await aiServer.openServer().catch(() => undefined);
    if (OF_THE_CONFIG.has(command) && server?.hasConfigFile === false) return [];
    const isFixed = server?.canLoad === false;
    return complete(
      entries.map((entry) => (isFixed ? { ...entry, isFixed } : entry)),
      command,
      argument,
    );
  };
}
