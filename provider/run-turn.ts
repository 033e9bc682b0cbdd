/** One turn from pi's request to what is remembered of it: the stream, and the activity that the user sees. */
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
import { type Clock, REAL_CLOCK } from "../lib/clock.ts";
import { streamTurn } from "../stream.ts";
import type { AiServer } from "./ai-server.ts";
import { runsAs, traitsOf } from "./pi-models.ts";

/** For a question that no turn waits for. */
const QUESTION_MS = 5000;

/** The questions of a turn's activity while the turn waits; one that fails has no answer. */
function questionsOf(aiServer: AiServer, model: Model<Api>, stored: Variables | undefined): TurnQuestions {
  const id = runsAs(model);
  // Not beyond the session: a question cut off there would open another connection for its next step.
  const limit = (): AbortSignal => AbortSignal.any([aiServer.closing, AbortSignal.timeout(QUESTION_MS)]);
  const expectedLoadMs = async (): Promise<number | undefined> =>
    id === undefined ? undefined : aiServer.remembered.expectedLoadMs(aiServer.config(stored), id);
  const requestsOf = async (blockedBy: string, signal: AbortSignal): Promise<number | undefined> => {
    const { requestsAhead } = await import("../server/in-flight.ts");
    const { models } = await requestsAhead(await aiServer.server(stored), signal);
    return models.find(({ model: name }) => name === blockedBy)?.total;
  };
  const lastUsed = async (signal: AbortSignal): Promise<string | undefined> => {
    const { readRecentActivity } = await import("../server/kinds/llama-swap/metrics.ts");
    const last = (await readRecentActivity(await aiServer.server(stored), signal))?.at(-1)?.model;
    return last === id ? undefined : last;
  };
  return {
    lastUsed: () => lastUsed(limit()).catch(() => undefined),
    expectedLoadMs: () => expectedLoadMs().catch(() => undefined),
    requestsOf: (blockedBy) => requestsOf(blockedBy, limit()).catch(() => undefined),
  };
}

/** Runs a turn, which reports to `stream` and `activities`. */
export async function runTurn(
  aiServer: AiServer,
  activities: Activities,
  stream: AssistantMessageEventStream,
  model: Model<Api>,
  context: TranscriptContext,
  options: SimpleStreamOptions,
  clock: Clock = REAL_CLOCK,
): Promise<void> {
  const { id, name } = model;
  const questions = questionsOf(aiServer, model, options.env);
  const process = runsAs(model) ?? id;
  const [blockedBy, beside] = [activities.seenInsteadOf(process), activities.beside(process)];
  const hasAnswered = activities.hasAnswered(id);
  const subject = { id, name, sessionId: options.sessionId, hasAnswered, blockedBy, beside };
  const activity = new TurnActivity(subject, questions, clock.now);
  activities.begin(activity);
  aiServer.payloadHook.keep(options);
  const parts = {
    server: (stored: Variables | undefined) => aiServer.server(stored),
    traits: traitsOf,
    runsAs,
    report: activity,
    restarting: () => aiServer.restarting,
    onContextWindow: (served: Model<Api>, tokens: number) => aiServer.correctContextWindow(served.id, tokens),
    onNotice: (text: string) => aiServer.notice(text),
    clock,
  };
  const figures = await streamTurn(parts, stream, model, context, options);
  const { loadMs } = activity;
  activities.end(activity, figures && { ...figures, model: name, endedAt: clock.now(), loadMs });
  const ranAs = runsAs(model);
  if (loadMs === undefined || ranAs === undefined) return;
  await aiServer.remembered.rememberLoad(aiServer.config(options.env), ranAs, loadMs).catch(() => {});
}
