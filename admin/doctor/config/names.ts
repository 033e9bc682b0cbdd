/** The names in a config: those that mean two things, keys that are ignored, and what the server lists of it. Pure. */
import { cleanText } from "../../../lib/text.ts";
import { type Finding, fault, warning } from "../finding.ts";
import { allOr, type SeenModel, type Sight } from "./sight.ts";

const BY_HAND = "Correct it by hand, then /ai-server-restart.";

export function* names(sight: Sight): Iterable<Finding> {
  const { surveys, isPreset } = sight;
  const clashes = [...surveys.flatMap((survey) => survey.clashes), ...inTwoFiles(sight)];
  yield* allOr(
    clashes.map(({ name, what, isFatal }) => {
      const make = isFatal ? fault : warning;
      return make("config-names", `Name ${cleanText(name, 100)}`, what, BY_HAND);
    }),
    "config-names",
    "Names",
    "each means one model",
  );
  if (isPreset) return;
  const slips = surveys.flatMap((survey) => survey.slips);
  yield* allOr(
    slips.map((slip, at) =>
      warning("config-keys", slips.length > 1 ? `Key ${at + 1}` : "Key", slip, BY_HAND),
    ),
    "config-keys",
    "Keys",
    "none is misspelled",
  );
}

function inTwoFiles({ models }: Sight): { name: string; what: string; isFatal: boolean }[] {
  return models.flatMap(({ id, file, shown }) => {
    const first = models.find((model) => model.id === id);
    if (first === undefined || first.file === file) return [];
    const what = `${first.file.name} and ${file.name} both have the model ${shown}: llama-swap does not start.`;
    return [{ name: id, what, isFatal: true }];
  });
}

/** Whether the server has read these files: what it lists is of more sources, but has to have their models. */
export function* served({ visit: { server }, models, listed, path, isPreset }: Sight): Iterable<Finding> {
  if (listed === undefined || server.several.isKnown || server.tooMany.length > 0) return;
  const missing = models.filter(({ id, isUnlisted }) => !isUnlisted && !server.descriptions.has(id));
  const reads = isPreset ? "/ai-server-refresh" : "/ai-server-restart";
  const next = `${reads} makes the server read it. If that changes nothing, AI_SERVER_PRESET_PATH is another file than the server's.`;
  const ids = new Intl.ListFormat("en-GB").format(missing.slice(0, 5).map(({ shown }) => shown));
  const seen = `${path} has ${ids}, which the server does not list`;
  const subject = "What the server has read";
  yield* allOr(
    missing.length === 0 ? [] : [warning("config-served", subject, seen, next)],
    "config-served",
    subject,
    "it lists the models of the file",
  );
}

/** A model whose command says too little, or too much. */
export function* commands({ models }: Sight): Iterable<Finding> {
  const broken = models.filter(({ fault: why }) => why !== undefined);
  yield* allOr(
    broken.map(({ shown, place, fault: why }) =>
      fault(
        "command",
        `Command of ${shown}`,
        `it ${why} (${place})`,
        "Correct it by hand, then /ai-server-restart.",
      ),
    ),
    "command",
    "Commands",
    strangers(models),
  );
}

function strangers(models: readonly SeenModel[]): string {
  const unread = models.filter(({ setting }) => setting.problem !== undefined).length;
  return unread === 0
    ? "all are understood"
    : `complete; of ${unread} this extension cannot tell what they start`;
}
