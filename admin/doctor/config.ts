/** What the server is configured to do, read over ssh. */
import { ServerError, sentenceOf } from "../../lib/errors.ts";
import { hasConfigFile } from "../../server/kinds/backend.ts";
import { withoutSshHost } from "../host-access.ts";
import { ports, secrets, templates, unread } from "./config/commands.ts";
import { contexts, loadedContexts, routerContext } from "./config/contexts.ts";
import { memory } from "./config/memory.ts";
import { commands, names, served } from "./config/names.ts";
import { sightOf } from "./config/sight.ts";
import { single } from "./config/single.ts";
import { idleTimes, loadTimes } from "./config/times.ts";
import { type Finding, fault, type Group, unchecked } from "./finding.ts";
import type { Visit } from "./visit.ts";

const FILE = "The config";

export const config: Group = {
  name: "config",
  title: FILE,
  async *examine(visit) {
    if (visit.config.sshHost === undefined) {
      yield unchecked("config-file", FILE, withoutSshHost().message);
      return;
    }
    // The server's kind is asked for by this, as far as it answers.
    const opened = await visit.host().then(
      () => undefined,
      (error: unknown) => failure(visit, error),
    );
    if (opened !== undefined) yield opened;
    else yield* looks(visit);
  },
};

async function* looks(visit: Visit): AsyncIterable<Finding> {
  const kind = visit.server.lastKind;
  if (kind === "llama-server") {
    yield* single(visit);
    return;
  }
  if (kind !== undefined && !hasConfigFile(kind)) {
    yield unchecked("config-file", FILE, "this kind of server has none that this extension reads");
    return;
  }
  const files = await visit.files().catch((error: unknown) => failure(visit, error));
  if (!Array.isArray(files)) {
    yield files;
    return;
  }
  const sight = yield* sightOf(visit, files);
  if (sight.models.length === 0) return;
  yield* served(sight);
  yield* names(sight);
  yield* commands(sight);
  yield* unread(sight);
  if (sight.isPreset) yield* routerContext(sight);
  yield* contexts(sight);
  yield* loadedContexts(sight);
  yield* memory(sight);
  yield* templates(sight);
  yield* ports(sight);
  yield* loadTimes(sight);
  yield* idleTimes(sight);
  yield* secrets(sight);
}

/** Only what is wrong with the file is a fault of this group. @throws what is no {@link ServerError}; the signal's reason */
function failure({ signal }: Visit, error: unknown): Finding {
  signal.throwIfAborted();
  if (!(error instanceof ServerError)) throw error;
  const { link } = error;
  if (link !== "config file" && link !== "configuration") {
    return unchecked("config-file", FILE, sentenceOf(error));
  }
  const next = "Correct the path or its rights, and run /ai-server-doctor again.";
  return fault("config-file", FILE, sentenceOf(error), next);
}
