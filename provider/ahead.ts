/** What the server can do before a session's first prompt: load the model, and read what the prompt will begin with. */
import type { Api, Model, SimpleStreamOptions, TranscriptContext } from "@earendil-works/pi-ai";
import type { ModelServer } from "../server/model-server.ts";
import type { AiServer } from "./ai-server.ts";
import { runsAs, traitsOf } from "./pi-models.ts";

/** How one piece of work ahead is followed, and ended. */
export interface AheadWork {
  /** Called when the server is given the work. */
  onBegin(): void;
  /** Ends it at once; the server goes on with a load. */
  signal: AbortSignal;
}

/** Whether nothing in this pi needs the server. */
function isFree({ activities, isChanging }: AiServer): boolean {
  return activities.front(undefined) === undefined && !isChanging;
}

/**
 * Loads a model, if that disturbs no other client.
 *
 * @returns whether it is ready: `loaded` by this
 * @throws {ServerError}; the signal's reason
 */
export async function loadAhead(
  aiServer: AiServer,
  model: Model<Api>,
  { onBegin, signal }: AheadWork,
): Promise<"ready" | "loaded" | undefined> {
  const [id, server] = [runsAs(model), await aiServer.server()];
  const rest = id === undefined || !isFree(aiServer) ? undefined : await askRest(server, id, signal);
  if (id === undefined || rest === undefined) return undefined;
  const { own, backend } = rest;
  if (own?.isAsleep) {
    onBegin();
    // The question wakes it, and is answered once it is back.
    await backend.slots(id, { signal, timeoutMs: server.config.loadTimeoutMs });
    return "loaded";
  }
  if (own?.state === "ready") return "ready";
  if (backend.load === undefined) return undefined;
  onBegin();
  const { loadModel } = await import("../server/load.ts");
  const { loadMs } = await loadModel(server, id, { signal, report: () => {}, givesWay: true });
  // With the same command line it may have got another window.
  server.known.outdate(id);
  if (loadMs !== undefined) await aiServer.remembered.rememberLoad(server.config, id, loadMs);
  return "loaded";
}

/**
 * Has a ready model read what the next request begins with, if that disturbs no other client.
 *
 * @param context of that request, with a short prompt in the place of the user's
 * @param options of that request
 * @returns whether all of it was read
 * @throws {ServerError}; the signal's reason; what a hook throws
 */
export async function readAhead(
  aiServer: AiServer,
  model: Model<Api>,
  context: TranscriptContext,
  options: SimpleStreamOptions,
  { onBegin, signal }: AheadWork,
): Promise<boolean> {
  const [id, server] = [runsAs(model), await aiServer.server()];
  const rest = id === undefined || !isFree(aiServer) ? undefined : await askRest(server, id, signal);
  if (id === undefined || rest?.own?.state !== "ready") return false;
  const { readingBody } = await import("../stream/body.ts");
  const body = await readingBody({ traits: traitsOf, runsAs }, server, model, context, options);
  if (body === undefined) return false;
  const { figures } = aiServer.activities;
  // A slot holds the prompt and the answer of its last turn.
  const isOwn = (tokens: number): boolean =>
    figures.some(
      (turn) =>
        turn.model === model.name && tokens >= turn.promptTokens && tokens <= turn.promptTokens + turn.tokens,
    );
  const limit = AbortSignal.any([signal, AbortSignal.timeout(server.config.loadTimeoutMs)]);
  return server.readAhead.read(rest.own, body, isOwn, limit, onBegin);
}

async function askRest(server: ModelServer, id: string, signal: AbortSignal) {
  const { restOf } = await import("../server/at-rest.ts");
  return restOf(server, id, signal);
}
