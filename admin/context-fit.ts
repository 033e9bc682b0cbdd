/** What `/ai-server-ctx` shows of memory: what a size needs, and the largest that fits. */
import type { Unknown } from "../host/fit/fit.ts";
import type { Largest } from "../host/fit/largest.ts";
import { ServerError } from "../lib/errors.ts";
import { maskLines, maskText } from "../masking/masking.ts";
import type { ModelServer } from "../server/model-server.ts";
import type { ModelFacts } from "../server/models/models.ts";
import type { Call } from "./call.ts";
import { listedModels } from "./change.ts";
import { type FitPlace, type Fitting, fittingOf } from "./fit.ts";
import { largestWords, needWords, verdictWords } from "./fit-words.ts";
import type { Host } from "./host-access.ts";
import type { Subject } from "./subject.ts";

/** A model of the config, which the server need not have read yet. */
type InConfig = Pick<Subject, "id" | "file" | "files"> & {
  readonly facts: Pick<ModelFacts, "trainedContext"> | undefined;
};

/** The server's machine, and what the server itself says of its models. @throws the signal's reason, and nothing else */
export async function fitPlaceOf(
  server: ModelServer,
  { machine, memory }: Host,
  { files, loaded }: Pick<FitPlace, "files" | "loaded">,
  signal: AbortSignal,
): Promise<FitPlace> {
  const backend = await server.backend(signal).catch(() => undefined);
  signal.throwIfAborted();
  return {
    memory,
    files,
    loaded,
    unit: () => machine.status(signal).catch(() => undefined),
    startLine: async (model) => {
      const listed = await listedModels(server, backend, signal).catch(() => undefined);
      return listed?.find((one) => one.id === model)?.commandLine;
    },
    signal,
  };
}

/** @throws the signal's reason, and nothing else */
export async function fittingNow(
  call: Call,
  server: ModelServer,
  host: Host,
  { id, file, files, facts }: InConfig,
): Promise<Fitting | Unknown> {
  const { signal } = call.waiting;
  call.waiting.say("Asking llama.cpp what the model needs");
  // A server that does not answer has nothing loaded that could be asked for.
  const loaded = (await server.runningNow(signal).catch(() => undefined)) ?? [];
  signal.throwIfAborted();
  const place = await fitPlaceOf(server, host, { files, loaded }, signal);
  return fittingOf(place, { id, file, trained: facts?.trainedContext?.value });
}

/** What the size needs that is set now, and the largest that fits. @param tokens undefined where none is set */
export async function presentFit(
  call: Call,
  server: ModelServer,
  host: Host,
  subject: InConfig,
  tokens: number | undefined,
): Promise<string[]> {
  return maskLines(await presentLines(call, await fittingNow(call, server, host, subject), tokens), "log");
}

async function presentLines(
  call: Call,
  fitting: Fitting | Unknown,
  tokens: number | undefined,
): Promise<string[]> {
  if (fitting.kind === "unknown") return [fitting.reason];
  // 0 is the trained size; the search for the largest says more about it.
  const need = tokens ? await fitting.needs(tokens) : undefined;
  if (need?.kind === "unknown") return [need.reason];
  const present =
    need === undefined ? [] : [needWords(need, fitting, "a change unloads"), ...verdictWords(need, fitting)];
  return [...present, largestWords(await largestIn(call, fitting))];
}

/** What is known of a new size before it is asked about. */
export interface SizeFit {
  /** Otherwise the only line says why not. */
  readonly isKnown: boolean;
  readonly lines: readonly string[];
  /** What the model was trained for, in tokens, as its file has it. */
  readonly trained: number | undefined;
}

/** What a new size needs, and where it does not fit, which would. */
export async function fitOfSize(call: Call, fitting: Fitting | Unknown, tokens: number): Promise<SizeFit> {
  const need = fitting.kind === "unknown" ? fitting : await fitting.needs(tokens);
  if (fitting.kind === "unknown" || need.kind === "unknown") {
    const reasons = [fitting, need].flatMap((one) => (one.kind === "unknown" ? [one.reason] : []));
    return { isKnown: false, lines: maskLines(reasons.slice(0, 1), "log"), trained: undefined };
  }
  const isShort = fitting.verdictOf(need).kind === "does not fit";
  const largest = isShort ? await largestIn(call, fitting, tokens) : undefined;
  const lines = [needWords(need, fitting, "will be unloaded"), ...verdictWords(need, fitting, largest)];
  return { isKnown: true, lines: maskLines(lines, "log"), trained: need.trained };
}

/** @throws {ServerError} where it is not known, or none fits */
export async function largestSize(call: Call, fitting: Fitting | Unknown): Promise<number> {
  const largest = await largestIn(call, fitting);
  if (largest.kind === "largest") return largest.need.tokens;
  const next = largest.kind === "unknown" ? " Give a number of tokens instead." : "";
  const words = maskText(largestWords(largest), "log");
  throw new ServerError(`${words}${next} Nothing was changed.`, { link: "model" });
}

/** @param below no larger size is looked at */
export async function largestIn(
  { waiting }: Call,
  fitting: Fitting | Unknown,
  below?: number,
): Promise<Largest> {
  if (fitting.kind === "unknown") return fitting;
  waiting.say("Looking for the largest size that fits");
  return fitting.largest(below);
}
