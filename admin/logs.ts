/** `/ai-server-logs`: a model's log from the server, or the unit's journal. */
import { setTimeout as wait } from "node:timers/promises";
import type { RemoteMachine } from "../host/ssh/machine.ts";
import { ServerError } from "../lib/errors.ts";
import { withoutPolling } from "../lib/log-noise.ts";
import { blankerOf, maskLines } from "../masking/masking.ts";
import { followLog } from "../server/kinds/llama-swap/log.ts";
import type { ModelServer } from "../server/model-server.ts";
import { showLive } from "../ui/view.ts";
import { type Call, serverFor } from "./call.ts";
import { openHost } from "./host-access.ts";
import { aliasesOf, chosenModel, modelsNow, requireHere } from "./models.ts";

const FIRST_LINES = 500;
/** The journal has no way to be followed through a forced command: it is asked again. */
const JOURNAL_PAUSE_MS = 2000;

/** Shows the last lines, and in the terminal what comes after them. */
export async function logs(call: Call): Promise<void> {
  const server = await serverFor(call);
  if (call.argument.trim() === "") await showJournal(call, server, undefined);
  else await showModelLog(call, server);
}

async function showModelLog(call: Call, server: ModelServer): Promise<void> {
  const { ctx, waiting, ended, argument } = call;
  const [models, running] = await Promise.all([modelsNow(call, server), server.runningNow(waiting.signal)]);
  const chosen = chosenModel(argument, models, running ?? [], aliasesOf(server));
  if (chosen === undefined) return;
  requireHere(chosen, server);
  const { id } = chosen;
  // Its process writes where the server does.
  if ((await server.backend(waiting.signal)).logTail === undefined) return showJournal(call, server, id);
  waiting.say(`Reading the log of ${id}`);
  const first = await server.logTail(id, FIRST_LINES, waiting.signal);
  const lines =
    first.length > 0
      ? maskLines(first, "log")
      : [`${id} has logged nothing, or this llama-swap is older than v178 and keeps no log per model.`];
  const follow = (append: (lines: readonly string[]) => void, signal: AbortSignal): Promise<void> =>
    followLog(server, id, (more) => append(shownLines(more)), signal);
  await waiting.ask(() => showLive(ctx, { title: `Log of ${id}`, lines, language: "log" }, follow, ended));
}

/** @param id of a model that has no log of its own */
async function showJournal(call: Call, server: ModelServer, id: string | undefined): Promise<void> {
  const { ctx, waiting, ended } = call;
  const { machine, config, close } = await openHost(server, waiting.signal);
  const { serviceUnit } = config;
  try {
    waiting.say(`Reading the journal of ${serviceUnit}`);
    const blank = blankerOf(server.config);
    const masked = (lines: readonly string[]): string[] => shownLines(lines.map(blank));
    const first = await machine.logs(FIRST_LINES, waiting.signal);
    const follow = (append: (lines: readonly string[]) => void, signal: AbortSignal): Promise<void> =>
      followJournal(machine, first, (lines) => append(masked(lines)), signal);
    const view = {
      title: `Journal of ${serviceUnit}${id === undefined ? "" : `, which includes ${id}`}`,
      lines: masked(first),
      language: "log",
    } as const;
    await waiting.ask(() => showLive(ctx, view, follow, ended));
  } finally {
    await close();
  }
}

/** Without secrets, and without the lines of who has looked. */
function shownLines(lines: readonly string[]): string[] {
  return maskLines(withoutPolling(lines), "log");
}

async function followJournal(
  machine: Pick<RemoteMachine, "logs">,
  first: readonly string[],
  append: (lines: readonly string[]) => void,
  signal: AbortSignal,
): Promise<void> {
  let seen = first;
  while (!signal.aborted) {
    await wait(JOURNAL_PAUSE_MS, undefined, { signal }).catch(() => undefined);
    if (signal.aborted) return;
    try {
      const now = await machine.logs(FIRST_LINES, signal);
      const added = linesAfter(seen, now);
      if (added.length > 0) append(added);
      seen = now;
    } catch (error) {
      if (signal.aborted) return;
      throw error instanceof ServerError
        ? error
        : new Error("The journal cannot be followed.", { cause: error });
    }
  }
}

/** What a later reading of a journal's end has that the earlier one had not. Pure. */
export function linesAfter(before: readonly string[], now: readonly string[]): readonly string[] {
  for (let start = 0; start < before.length; start++) {
    const length = before.length - start;
    if (length <= now.length && before.slice(start).every((line, at) => line === now[at]))
      return now.slice(length);
  }
  return now;
}
