/** One load by llama-swap, which loads a model for any request to it. */

import { routeFor } from "../../../config.ts";
import { ServerError } from "../../../lib/errors.ts";
import { type Access, ANSWER_TIMEOUT_MS } from "../../http/access.ts";
import { answerFault } from "../../http/answer-faults.ts";
import { parseErrorBody } from "../../http/error-body.ts";
import { ERROR_BYTES, readText } from "../../http/http.ts";
import { transportFault } from "../../http/transport-faults.ts";
import type { Backend, LoadSteps } from "../backend.ts";
import { processFault, unknownModel } from "../load-failure.ts";
import { isLoadFailure, judgeRefusal, type Refusal, type StateNow, saysLoading } from "../refusal.ts";

/** Between two requests for the same thing; longer where each needs two looks at `/running`. */
const AGAIN_MS = 1000;
const UNCHECKED_MS = 2000;

/** How many interruptions from outside, failures and lost connections are tolerated. */
const INTERRUPTIONS = 1;
const FAILURES = 1;
const LOSSES = 3;
/**
 * Further requests to a process that is shown as ready though nothing listens, each after twice the pause: a minute in
 * all. If it has just died, each request starts it again.
 */
const SILENCES = 5;
/** Looks at `/running` for a model that has answered. */
const LOOKS = 5;

const SILENT =
  "could not be loaded: llama-swap shows it as ready, but nothing answers at its address. Check proxy and the port in its cmd; with checkEndpoint: none llama-swap does not check whether it has started";

/** The model that is loaded, and all that its load needs. */
interface Load extends LoadSteps {
  readonly id: string;
  readonly path: string;
  readonly access: Access;
  readonly backend: Pick<Backend, "running" | "logTail">;
}

/** Repeats the request that loads a model as the server demands, until the model has answered and is shown as ready. */
export async function loadInSwap(
  access: Access,
  backend: Load["backend"],
  id: string,
  steps: LoadSteps,
): Promise<void> {
  const path = routeFor(access.config.upstreamHealthPath, id);
  const load: Load = { ...steps, id, path, access, backend };
  const { signal, clock, watch, givesWay } = steps;
  let [interruptions, failures, losses, silences] = [0, 0, 0, 0];
  /** Whether its process has answered that it is loading. */
  let isHeard = false;

  /** A reload of the configuration may have interrupted the load: begins it again, once. */
  const interrupted = async (isUnloaded: boolean): Promise<void> => {
    interruptions += 1;
    if (interruptions <= INTERRUPTIONS && !givesWay) return watch.restarted();
    throw isUnloaded ? unloadedTwice(id) : await failed(load, "could not be loaded: its process ended");
  };

  /** With `checkEndpoint: none`: each request to a process that has ended starts the next one, without end. */
  const waitUnchecked = async (isLoading: boolean): Promise<void> => {
    // The process answered before, and now nothing listens: this request has started another one.
    if (isHeard && !isLoading) await interrupted(false);
    isHeard = isLoading;
    if (isLoading) silences = 0;
    else if (silences >= SILENCES) throw await failed(load, SILENT);
    await clock.sleep(UNCHECKED_MS * 2 ** silences, signal);
    if (!isLoading) silences += 1;
    if ((await stateNow(load)) !== "gone") return;
    await interrupted(false);
    isHeard = false;
  };

  /** A long silent connection may have been cut in the network while the server continues the load. */
  const passing = async (error: unknown): Promise<"lost"> => {
    signal.throwIfAborted();
    if (!(error instanceof ServerError) || error.remedy !== "retry" || losses >= LOSSES) throw error;
    losses += 1;
    const state = await stateNow(load);
    // Asked again, it would be loaded in the place of what runs now.
    if (state === "unreachable" || (givesWay && state === "gone")) throw error;
    return "lost";
  };

  /** Waits where repeating the request helps. @throws {ServerError} where it does not */
  const wait = async (refusal: Refusal, state: StateNow): Promise<void> => {
    const { status, text } = refusal;
    // It is ready before its process listens, and before it has loaded.
    const isUnready = (status === 502 && text === "") || status === 503;
    if (isUnready && state === "ready") return waitUnchecked(saysLoading(refusal));
    const verdict = judgeRefusal(refusal, state, [], path, clock.now());
    const isUnloaded = verdict.kind === "wait" && verdict.why === "unloaded";
    if (verdict.kind === "failed") throw verdict.error;
    if (verdict.kind === "load failed") throw await failed(load, "could not be loaded", verdict.reason);
    if (verdict.kind === "crashed" || isUnloaded) await interrupted(isUnloaded);
    // If it is shown as ready or starting, it may be loading for another client; endless requests would load it endlessly.
    if (verdict.kind === "wait" && isLoadFailure(text) && state !== "stopping") {
      failures += 1;
      if (failures > FAILURES || givesWay)
        throw await failed(load, "could not be loaded", parseErrorBody(text).message);
      watch.restarted();
    }
    if (verdict.kind === "wait" && verdict.why === "busy") {
      if (givesWay) throw answerFault(status, text, path);
      steps.report({ kind: "busy" });
    }
    await clock.sleep(verdict.kind === "wait" ? verdict.delayMs : AGAIN_MS, signal);
  };

  for (;;) {
    const answer = await ask(load).catch(passing);
    if (answer === "answered") return untilShown(load);
    if (answer === "lost") await clock.sleep(AGAIN_MS, signal);
    else {
      const state = await stateNow(load);
      // The refusal is the model's own, which has no such route but is ready.
      if (answer.status === 404 && state === "ready") return;
      if (isUnknownModel(answer))
        throw state === "unknown" ? answerFault(answer.status, answer.text, path) : unknownModel(id);
      await wait(answer, state);
    }
  }
}

async function ask({ access, path, signal }: Load): Promise<Refusal | "answered"> {
  signal.throwIfAborted();
  const { status, headers, body } = await access.http.request({ method: "GET", path, signal });
  const text = await readText(body, ERROR_BYTES).catch((error: unknown) => {
    signal.throwIfAborted();
    throw transportFault(error, access.config);
  });
  return status === 200 ? "answered" : { status, text, retryAfter: headers["retry-after"] };
}

async function stateNow({ id, backend, watch, signal, clock }: Load): Promise<StateNow> {
  try {
    const running = await backend.running({ signal, timeoutMs: ANSWER_TIMEOUT_MS });
    if (running === undefined) return "unknown";
    watch.sawRunning(running, clock.now());
    return running.find((model) => model.id === id)?.state ?? "gone";
  } catch {
    signal.throwIfAborted();
    return "unreachable";
  }
}

async function untilShown(load: Load): Promise<void> {
  for (let looks = 1; ; looks += 1) {
    const state = await stateNow(load);
    if (state === "ready" || state === "unknown") return;
    if (looks === LOOKS) {
      throw new ServerError(
        `${load.id} answered, but the server does not show it as loaded: it was unloaded at once, or it runs under another id. See /ai-server-status.`,
        { link: "model", remedy: "retry" },
      );
    }
    await load.clock.sleep(AGAIN_MS, load.signal);
  }
}

async function failed({ id, backend, signal }: Load, what: string, reason?: string): Promise<ServerError> {
  const fault = await processFault(backend, { id, name: id }, what, reason, signal);
  signal.throwIfAborted();
  return fault;
}

function unloadedTwice(id: string): ServerError {
  return new ServerError(
    `${id} was unloaded while it was loading, twice: another client unloads it, or the server reloads its configuration. Try again when that is over.`,
    { link: "model", remedy: "retry" },
  );
}

/** 404, and 400 in llama-swap up to v217. */
function isUnknownModel({ status, text }: Refusal): boolean {
  return status === 404 || (status === 400 && /model id required/i.test(text));
}
