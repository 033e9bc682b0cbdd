/** pi's compaction settings against the windows of the models. */
import { readFile, realpath, rename, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { getAgentDir, SettingsManager } from "@earendil-works/pi-coding-agent";
import { compactionFor, isTooSmall } from "../../config/compaction.ts";
import { codeOf, ServerError } from "../../lib/errors.ts";
import { counted, shortTokens } from "../../lib/figures.ts";
import { parsed, record } from "../../lib/json.ts";
import { isContextKnown, type ServedModel } from "../../provider/pi-models.ts";
import { asking, type Finding, ok, unchecked, warning } from "./finding.ts";
import type { Visit } from "./visit.ts";

/** Models that a sentence names. */
const MOST_NAMED = 5;

export function compaction({ call: { aiServer, ctx } }: Visit): Finding {
  const check = "compaction";
  const subject = "Compaction";
  const known = aiServer.models.filter(isContextKnown);
  if (known.length === 0) return unchecked(check, subject, "no model's context is known yet");
  const settings = SettingsManager.create(ctx.cwd, getAgentDir(), {
    projectTrusted: ctx.isProjectTrusted(),
  }).getSettings();
  const small = known.filter((model) => isTooSmall(model, settings));
  if (small.length === 0)
    return ok(check, subject, `pi's settings suit the context of ${counted(known.length, "model")}`);
  const named = small
    .slice(0, MOST_NAMED)
    .map(({ id, contextWindow }) => `${id} (${shortTokens(contextWindow)})`);
  const more = small.length > MOST_NAMED ? ` and ${small.length - MOST_NAMED} more` : "";
  const seen = `the context is too small for pi's own settings, so pi would compact all the time: ${named.join(", ")}${more}`;
  const next =
    "Give the model a larger context with /ai-server-ctx, or settings of its own in settings.json.";
  return warning(check, subject, seen, next, settingsFix(small));
}

function settingsFix(small: readonly ServedModel[]) {
  const path = join(getAgentDir(), "settings.json");
  const added = { compaction: compactionFor(small) };
  return asking(
    "add compaction settings for models with a small context",
    {
      title: "Add compaction settings for these models?",
      consequences: [
        `Adds to ${path}; everything else in it stays. pi reads it at its next start.`,
        ...JSON.stringify(added, null, 2).split("\n"),
      ],
    },
    ["Leave it as it is", "Add them"],
    () => addCompaction(path, added.compaction.modelOverrides),
  );
}

/**
 * Adds overrides to pi's settings; the file is the old one or the new one, whole.
 *
 * @throws {ServerError} where the file is not JSON, or cannot be written
 */
async function addCompaction(path: string, overrides: Readonly<Record<string, object>>): Promise<void> {
  const text = await readFile(path, "utf8").catch((error: unknown) => {
    if (codeOf(error) === "ENOENT") return "{}";
    throw settingsFault(path, error);
  });
  const settings = record(parsed(text));
  if (settings === undefined) {
    throw new ServerError(`${path} is not a JSON object, so nothing was added. Correct it first.`, {
      link: "configuration",
    });
  }
  const compaction = record(settings.compaction) ?? {};
  const modelOverrides = { ...record(compaction.modelOverrides), ...overrides };
  const changed = { ...settings, compaction: { ...compaction, modelOverrides } };
  try {
    const target = await realpath(path).catch(() => path);
    const mode = await stat(target).then(
      (file) => file.mode & 0o777,
      () => 0o600,
    );
    const temporary = `${target}.${process.pid}.tmp`;
    await writeFile(temporary, `${JSON.stringify(changed, null, 2)}\n`, { mode });
    await rename(temporary, target);
  } catch (error) {
    throw settingsFault(path, error);
  }
}

function settingsFault(path: string, cause: unknown): ServerError {
  return new ServerError(
    `${path} could not be changed (${codeOf(cause) || "unknown reason"}). Check its owner and mode.`,
    { link: "configuration", cause },
  );
}
