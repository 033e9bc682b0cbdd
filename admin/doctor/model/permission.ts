/** Which model the user names, and whether it may be loaded for a trial: asked before the checks begin. */
import { ServerError, sentenceOf } from "../../../lib/errors.ts";
import { requestsInFlight } from "../../../server/in-flight.ts";
import type { ModelServer } from "../../../server/model-server.ts";
import type { RunningModel } from "../../../server/models/models.ts";
import type { Question } from "../../../ui/question.ts";
import { type Call, canAsk, isConfirmed, serverFor } from "../../call.ts";
import { modelNames, requestsOn, requestWords, sessionOf, timeWords } from "../../interruption.ts";
import { aliasesOf, type Chosen, modelsNow, requiredModel } from "../../models.ts";

/** The model of `--model`. */
export interface Trial {
  /** As pi names it. */
  readonly id: string;
  /** Under which the server runs it; undefined where it runs elsewhere. */
  readonly runsAs: string | undefined;
  /** Whether the user has agreed that it is loaded. */
  readonly mayLoad: boolean;
  /** Why it is not tried. */
  readonly obstacle?: string | undefined;
}

/**
 * Finds the model, and asks before it would be loaded. A server that does not answer is left to the checks.
 *
 * @param text the id as the user wrote it
 * @throws {ServerError} for an unknown id; the signal's reason
 */
export async function permittedTrial(call: Call, text: string): Promise<Trial> {
  const seen = await look(call).catch((error: unknown) => {
    if (error instanceof ServerError) return error;
    throw error;
  });
  if (seen instanceof ServerError)
    return { id: text, runsAs: undefined, mayLoad: false, obstacle: sentenceOf(seen) };
  const { server, models, running } = seen;
  const chosen = requiredModel(text, models, running ?? [], aliasesOf(server));
  const runsAs = chosen.facts === undefined ? chosen.id : chosen.facts.runsAs;
  const trial = { id: chosen.facts?.id ?? chosen.id, runsAs };
  if (chosen.facts === undefined)
    return { ...trial, mayLoad: false, obstacle: "the server does not list it, so pi does not offer it" };
  const { problem } = chosen.facts;
  if (problem !== undefined)
    return { ...trial, mayLoad: false, obstacle: `pi does not offer it: ${problem}` };
  if (isReady(running, runsAs)) return { ...trial, mayLoad: false };
  if (!canAsk(call.ctx)) return { ...trial, mayLoad: false, obstacle: notReady(chosen, running) };
  const question = await questionOf(call, server, chosen, running);
  if (await isConfirmed(call, question, ["Do not load it", "Load and try it"]))
    return { ...trial, mayLoad: true };
  return { ...trial, mayLoad: false, obstacle: "it is not loaded, and you chose not to load it" };
}

async function look(call: Call) {
  const server = await serverFor(call);
  const models = await modelsNow(call, server);
  const running = await server.running(call.waiting.signal);
  return { server, models, running };
}

/** Whether a request loads and wakes nothing. */
export function isReady(running: readonly RunningModel[] | undefined, runsAs: string | undefined): boolean {
  const own = running?.find(({ id }) => id === runsAs);
  return own?.state === "ready" && own.isAsleep !== true;
}

/** Where nothing can be asked. */
export function notReady({ id }: Pick<Chosen, "id">, running: readonly RunningModel[] | undefined): string {
  const own = running?.find((model) => model.id === id);
  if (own?.isAsleep === true) return "it is asleep; a prompt wakes it, and then the trial goes ahead";
  if (running !== undefined) return `it is not loaded; load it with /ai-server-load ${id} first`;
  return "the server does not report whether it is loaded; run this in pi's terminal, which can ask";
}

async function questionOf(
  call: Call,
  server: ModelServer,
  { id, facts }: Chosen,
  running: readonly RunningModel[] | undefined,
): Promise<Question> {
  const after = "A few short requests follow, and it stays loaded.";
  if (running === undefined || facts?.runsAs === undefined) {
    const unknown = "The server does not report whether it is loaded: the first request may load it.";
    return { title: `Try ${facts?.id ?? id}?`, consequences: [unknown, after] };
  }
  const [losses, expected] = await Promise.all([
    lossesOf(
      call,
      server,
      running.filter((model) => model.id !== id),
    ),
    call.aiServer.remembered.expectedLoadMs(server.config, id),
  ]);
  return { title: `Load ${id} and try it?`, consequences: [...losses, timeWords([expected]), after] };
}

async function lossesOf(call: Call, server: ModelServer, others: readonly RunningModel[]): Promise<string[]> {
  if (others.length === 0) return ["No other model is loaded."];
  const ids = others.map(({ id }) => id);
  const requests = requestsOn(await requestsInFlight(server, call.waiting.signal), ids);
  return [
    `May be unloaded to make room: ${modelNames(others)}.`,
    requestWords(requests, sessionOf(call), false),
  ];
}
