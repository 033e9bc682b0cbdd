/** What `/ai-server-ctx` shows of memory: what a size needs, and the largest that fits. */
import type { Unknown } from "../host/fit/fit.ts";
import type { Largest } from "../host/fit/largest.ts";
import type { HostFile } from "../host/ssh/machine.ts";
import { ServerError } from "../lib/errors.ts";
import type { ModelServer } from "../server/model-server.ts";
import type { ModelFacts } from "../server/models/models.ts";
import type { Call } from "./call.ts";
import { startLineOf } from "./change.ts";
import { type Fitting, fittingOf } from "./fit.ts";
import { largestWords, needWords, verdictWords } from "./fit-words.ts";
import type { Host } from "./host-access.ts";

/** A model of the config. */
interface FitSubject {
  readonly id: string;
  readonly file: HostFile;
  /** All files of the config. */
  readonly files: readonly HostFile[];
  readonly facts: ModelFacts | undefined;
}

/** @throws the signal's reason, and nothing else */
export async function fittingNow(
  call: Call,
  server: ModelServer,
  { machine, memory }: Host,
  { id, file, files, facts }: FitSubject,
): Promise<Fitting | Unknown> {
  const { signal } = call.waiting;
  call.waiting.say("Asking llama.cpp what the model needs");
  const backend = await server.backend(signal).catch(() => undefined);
  // A server that does not answer has nothing loaded that could be asked for.
  const loaded = (await server.runningNow(signal).catch(() => undefined)) ?? [];
  signal.throwIfAborted();
  return fittingOf(
    {
      memory,
      files,
      loaded,
      unit: () => machine.status(signal).catch(() => undefined),
      startLine: (model) => startLineOf(server, backend, model, signal).catch(() => undefined),
      signal,
    },
    { id, file, trained: facts?.trainedContext?.value },
  );
}

/** What the size needs that is set now, and the largest that fits. @param tokens undefined where none is set */
export async function presentFit(
  call: Call,
  server: ModelServer,
  host: Host,
  subject: FitSubject,
  tokens: number | undefined,
): Promise<string[]> {
  const fitting = await fittingNow(call, server, host, subject);
  if (fitting.kind === "unknown") return [fitting.reason];
  // 0 is the trained size, of which the largest says more.
  const need = tokens ? await fitting.needs(tokens) : undefined;
  if (need?.kind === "unknown") return [need.reason];
  const present =
    need === undefined ? [] : [needWords(need, fitting, "a change unloads"), ...verdictWords(need, fitting)];
  return [...present, largestWords(await largestIn(call, fitting))];
}

/** What a new size needs, and where it does not fit, which would; with the trained size as the model's file has it. */
export async function fitOfSize(
  call: Call,
  fitting: Fitting | Unknown,
  tokens: number,
): Promise<{ lines: readonly string[]; trained: number | undefined }> {
  if (fitting.kind === "unknown") return { lines: [fitting.reason], trained: undefined };
  const need = await fitting.needs(tokens);
  if (need.kind === "unknown") return { lines: [need.reason], trained: undefined };
  const isShort = fitting.verdictOf(need).kind === "does not fit";
  const largest = isShort ? await largestIn(call, fitting, tokens) : undefined;
  const lines = [needWords(need, fitting, "will be unloaded"), ...verdictWords(need, fitting, largest)];
  return { lines, trained: need.trained };
}

/** @throws {ServerError} where it is not known, or none fits */
export async function largestSize(call: Call, fitting: Fitting | Unknown): Promise<number> {
  const largest = fitting.kind === "unknown" ? fitting : await largestIn(call, fitting);
  if (largest.kind === "largest") return largest.need.tokens;
  const next = largest.kind === "unknown" ? " Give a number of tokens instead." : "";
  throw new ServerError(`${largestWords(largest)}${next} Nothing was changed.`, { link: "model" });
}

function largestIn({ waiting }: Call, fitting: Fitting, below?: number): Promise<Largest> {
  waiting.say("Looking for the largest size that fits");
  return fitting.largest(below);
}
