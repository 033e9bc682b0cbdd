/** One turn from pi's request to what is remembered of it: the stream, and what the user is told meanwhile. */
import type {
  Api,
  AssistantMessageEventStream,
  Model,
  SimpleStreamOptions,
  TranscriptContext,
} from "@earendil-works/pi-ai";
import type { Activities } from "../activity/activities.ts";
import { TurnActivity, type TurnQuestions } from "../activity/turn-activity.ts";
import type { Variables } from "../config.ts";
import { REAL_CLOCK } from "../lib/clock.ts";
import { streamTurn } from "../stream.ts";
import type { AiServer } from "./ai-server.ts";
import { runsAs, traitsOf } from "./pi-models.ts";

/** For a question about others; nobody waits for it. */
const QUESTION_MS = 5000;

/** What a turn's activity asks while the turn waits; a question that fails has no answer. */
function questionsOf(aiServer: AiServer, model: Model<Api>, stored: Variables | undefined): TurnQuestions {
  const id = runsAs(model);
  // Not beyond the session: a question that was cut off there would open another connection for its next step.
  const limit = (): AbortSignal => AbortSignal.any([aiServer.closing, AbortSignal.timeout(QUESTION_MS)]);
  const expectedLoadMs = async (): Promise<number | undefined> => {
    if (id === undefined) return undefined;
    const loadTimes = await import("./load-times.ts");
    return loadTimes.expectedLoadMs(aiServer, await aiServer.server(stored), id);
  };
  const requestsOf = async (blockedBy: string, signal: AbortSignal): Promise<number | undefined> => {
    const { requestsAhead } = await import("../server/in-flight.ts");
    const { models } = await requestsAhead(await aiServer.server(stored), signal);
    return models.find(({ model: name }) => name === blockedBy)?.total;
  };
  const lastUsed = async (signal: AbortSignal): Promise<string | undefined> => {
    const { readRecentActivity } = await import("../server/kinds/llama-swap/recent-activity.ts");
    const last = (await readRecentActivity(await aiServer.server(stored), signal))?.at(-1)?.model;
    return last === id ? undefined : last;
  };
  return {
    lastUsed: () => lastUsed(limit()).catch(() => undefined),
    expectedLoadMs: () => expectedLoadMs().catch(() => undefined),
    requestsOf: (blockedBy) => requestsOf(blockedBy, limit()).catch(() => undefined),
  };
}

/** Keeps how long a load took that a turn has seen; a turn that ended with its session opens no connection for it. */
async function noteLoad(
  aiServer: AiServer,
  model: Model<Api>,
  stored: Variables | undefined,
  loadMs: number | undefined,
): Promise<void> {
  const id = runsAs(model);
  if (loadMs === undefined || id === undefined) return;
  const { rememberLoad } = await import("./load-times.ts");
  const server = await aiServer.openServer(stored);
  if (server !== undefined) await rememberLoad(aiServer, server, id, loadMs);
}

/** The command, where it is one that restarts the server. */
function restartsServer(command: string | undefined): string | undefined {
  return /^\/ai-server-(?:restart|ctx|rollback)\b/.test(command ?? "") ? command : undefined;
}

/** Runs a turn; how it goes is told by `stream` and by `activities`. */
export async function runTurn(
  aiServer: AiServer,
  activities: Activities,
  stream: AssistantMessageEventStream,
  model: Model<Api>,
  context: TranscriptContext,
  options: SimpleStreamOptions,
): Promise<void> {
  const { id, name } = model;
  const questions = questionsOf(aiServer, model, options.env);
  const process = runsAs(model) ?? id;
  const [blockedBy, beside] = [activities.seenInsteadOf(process), activities.beside(process)];
  const hasAnswered = activities.hasAnswered(id);
  const subject = { id, name, sessionId: options.sessionId, hasAnswered, blockedBy, beside };
  const activity = new TurnActivity(subject, questions, Date.now);
  activities.begin(activity);
  const parts = {
    server: (stored: Variables | undefined) => aiServer.server(stored),
    traits: traitsOf,
    runsAs,
    report: activity,
    restarting: () => restartsServer(aiServer.changing),
    onContextWindow: (served: Model<Api>, tokens: number) => aiServer.correctContextWindow(served.id, tokens),
    clock: REAL_CLOCK,
  };
  const figures = await streamTurn(parts, stream, model, context, options);
  const { loadMs } = activity;
  activities.end(activity, figures && { ...figures, model: name, endedAt: Date.now(), loadMs });
  // To remember is a convenience.
  await noteLoad(aiServer, model, options.env, loadMs).catch(() => {});
}
