/** What the server itself says: its version with what is known of that, and its list of models. */
import { ServerError, sentenceOf } from "../../lib/errors.ts";
import { counted } from "../../lib/figures.ts";
import { cleanText } from "../../lib/text.ts";
import type { ServerVersion } from "../../server/kinds/backend.ts";
import type { ModelFacts } from "../../server/models/models.ts";
import { versionWords } from "../status.ts";
import { type Finding, fault, type Group, ok, unchecked, warning } from "./finding.ts";
import { defectsOf, NEWEST_TRIED } from "./server/defects.ts";
import type { Visit } from "./visit.ts";

const TITLE = "The server";

export const server: Group = {
  name: "server",
  title: TITLE,
  async *examine(visit) {
    if (visit.outOfReach !== undefined) {
      yield unchecked("version", TITLE, `not asked: ${visit.outOfReach}`);
      return;
    }
    const models = await visit.models().catch((error: unknown) => {
      visit.signal.throwIfAborted();
      if (!(error instanceof ServerError)) throw error;
      return error;
    });
    yield* version(visit, models instanceof ServerError ? [] : models.map(({ id }) => id));
    if (models instanceof ServerError) {
      yield unlisted(models);
      return;
    }
    yield* list(visit, models);
    yield* states(models);
  },
};

function unlisted(error: ServerError): Finding {
  const seen = sentenceOf(error);
  // One llama-server answers so while it loads its model.
  if (error.status === 503) return unchecked("models", "Models", seen);
  return fault("models", "Models", seen, "Correct what it names, and run /ai-server-doctor again.");
}

async function* version(visit: Visit, ids: readonly string[]): AsyncIterable<Finding> {
  let found: ServerVersion;
  try {
    found = await visit.server.version(visit.signal);
  } catch (error) {
    visit.signal.throwIfAborted();
    if (!(error instanceof ServerError)) throw error;
    yield unchecked("version", "Version", sentenceOf(error));
    return;
  }
  const { kind } = visit.server;
  yield ok("version", "Version", versionWords(found));
  if (kind !== "llama-swap") return;
  const defects = defectsOf(kind, found.version, ids);
  if (defects === undefined) {
    const why =
      found.version === undefined
        ? "it reports no version, as releases before v173 do; the manual says what those lack"
        : "a build without a release's number";
    yield unchecked("version-defects", "Known defects", why);
    return;
  }
  if (defects.length === 0) yield ok("version-defects", "Known defects", "none of this version");
  for (const { name, before, means, until } of defects) {
    const update = `Update llama-swap to v${before} or newer; v${NEWEST_TRIED} is tried.`;
    const next = until === undefined ? update : `${update} Until then: ${until}`;
    yield warning("version-defects", `Defect: ${name}`, `before v${before}, ${means}`, next);
  }
}

async function* list(visit: Visit, models: readonly ModelFacts[]): AsyncIterable<Finding> {
  const [tooMany] = visit.server.tooMany;
  if (tooMany !== undefined) {
    yield warning("models", "Models", tooMany, "List fewer, or give some `unlisted: true`.");
    return;
  }
  if (models.length === 0) {
    const others = visit.server.descriptions.size;
    const seen =
      others === 0
        ? "the server lists no model"
        : `the server lists ${counted(others, "model")}, and none that can chat`;
    yield fault("models", "Models", seen, nextOfNone(visit));
    return;
  }
  const loaded = models.filter(({ state }) => state === "ready").map(({ id }) => cleanText(id, 100));
  const running = loaded.length === 0 ? "" : `; loaded: ${loaded.join(", ")}`;
  yield ok("models", "Models", `${counted(models.length, "model")} to chat with${running}`);
}

function nextOfNone({ server: { kind } }: Visit): string {
  if (kind === "llama-swap" || kind === "router") return "/ai-server-add adds one.";
  return "Start the server with a model.";
}

/** The models that the server itself says something bad of. */
function* states(models: readonly ModelFacts[]): Iterable<Finding> {
  const bad = models.flatMap((model) => problemOf(model) ?? []);
  yield* bad;
  if (bad.length === 0 && models.length > 0)
    yield ok("model-state", "State of the models", "the server reports no failure");
}

function problemOf({ id, problem, failure, state }: ModelFacts): Finding | undefined {
  const shown = cleanText(id, 100);
  const subject = `State of ${shown}`;
  const check = "model-state";
  if (problem === "no model path") {
    const seen = "its section of the preset names no model; loading it never ends and blocks the router";
    return warning(check, subject, seen, "Add `model = <file>` to the section, then /ai-server-refresh.");
  }
  if (failure === undefined || state !== "unloaded") return undefined;
  const { exitCode } = failure;
  const code = exitCode === undefined ? "" : ` with exit code ${exitCode}`;
  const seen = `its last process ended${code}: a load that failed, or a crash`;
  return warning(check, subject, seen, `/ai-server-logs ${shown} shows the log.`);
}
