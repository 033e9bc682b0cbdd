/** Whether each model fits into the memory of the server's machine, by llama.cpp's own tool. Loads nothing. */
import type { Unknown } from "../../../host/fit/fit.ts";
import { counted } from "../../../lib/figures.ts";
import { fitPlaceOf } from "../../context-fit.ts";
import { type FitPlace, fittingOf } from "../../fit.ts";
import { heldWords, verdictWords } from "../../fit-words.ts";
import { type Finding, fault, ok, unchecked, warning } from "../finding.ts";
import { resizing } from "./contexts.ts";
import type { SeenModel, Sight } from "./sight.ts";

/** A model takes from a tenth of a second to half a minute. */
const MOST_MODELS = 12;
const LIMIT_MS = 60_000;

type Verdict =
  | { readonly kind: "fits" }
  | { readonly kind: "not known"; readonly why: string }
  | { readonly kind: "problem"; readonly finding: Finding };

type Counts = Record<Verdict["kind"], number>;

export async function* memory(sight: Sight): AsyncIterable<Finding> {
  const { visit, models, files } = sight;
  const sized = models.filter(({ setting }) => setting.tokens);
  if (sized.length === 0) return;
  const loaded = models.flatMap(({ running }) => running ?? []);
  const end = AbortSignal.timeout(LIMIT_MS);
  const signal = AbortSignal.any([visit.signal, end]);
  const asked = await fitPlaceOf(visit.server, await visit.host(), { files, loaded }, visit.signal);
  const place = { ...asked, signal, unit: async () => sight.unit };
  const counts: Counts = { fits: 0, "not known": 0, problem: 0 };
  const reasons = new Set<string>();
  for (const model of sized.slice(0, MOST_MODELS)) {
    visit.doing = `the memory of ${model.shown}`;
    const found = await verdictOf(place, model).catch((error: unknown) => {
      visit.signal.throwIfAborted();
      if (!end.aborted) throw error;
      return undefined;
    });
    if (found === undefined) break;
    if (found.kind === "unknown") {
      if (found.lacksFile === undefined) reasons.add(found.reason);
      else yield missing(model, found.lacksFile);
      counts[found.lacksFile === undefined ? "not known" : "problem"] += 1;
    } else {
      counts[found.kind] += 1;
      if (found.kind === "not known") reasons.add(found.why);
      if (found.kind === "problem") yield found.finding;
    }
  }
  visit.doing = undefined;
  yield* summary(counts, sized.length, reasons);
}

function* summary(counts: Readonly<Counts>, all: number, reasons: ReadonlySet<string>): Iterable<Finding> {
  const { fits } = counts;
  const sizes = `the context sizes of ${fits} of ${counted(all, "model")} fit`;
  if (fits > 0) yield ok("memory-fit", "Memory", sizes);
  const rest = all - fits - counts.problem;
  if (rest === 0) return;
  const [reason] = reasons;
  const why = reason ?? "What fits is not known: it takes too long.";
  yield unchecked(
    "memory-fit",
    fits === 0 ? "Memory" : "Memory of the rest",
    `${counted(rest, "model")}: ${why}`,
  );
}

/** @throws the signal's reason, and nothing else */
async function verdictOf(place: FitPlace, model: SeenModel): Promise<Unknown | Verdict> {
  const { id, file, setting, facts, shown } = model;
  const fitting = await fittingOf(place, { id, file, trained: facts?.trainedContext?.value });
  if (fitting.kind === "unknown") return fitting;
  const need = await fitting.needs(setting.tokens ?? 0);
  if (need.kind === "unknown") return need;
  const { kind } = fitting.verdictOf(need);
  if (kind === "fits") return { kind };
  const [words = "", ...notes] = verdictWords(need, fitting);
  if (kind === "not known") return { kind, why: [words, ...notes].join(" ") };
  const seen = `needs ${heldWords(need, fitting)}. ${words}`;
  const next = `Set the largest size that fits: /ai-server-ctx ${shown} max.`;
  return {
    kind: "problem",
    finding: warning("memory-fit", `Memory of ${shown}`, seen, next, resizing(model, "max")),
  };
}

function missing({ shown, place }: SeenModel, why: string): Finding {
  const next = `Correct the path (${place}), or download the file: /ai-server-add.`;
  return fault("model-file", `File of ${shown}`, why, next);
}
