/** What the checks of the config look at: its files as they are understood, and what the server says of the models. */
import type { Config } from "../../../config.ts";
import { formatOf, surveyOf } from "../../../host/config/config-file.ts";
import type { ConfigSurvey, ModelSurvey, SwapSurvey } from "../../../host/config/survey.ts";
import type { HostFile, UnitStatus } from "../../../host/ssh/machine.ts";
import { orFault, ServerError } from "../../../lib/errors.ts";
import { counted } from "../../../lib/figures.ts";
import { cleanText } from "../../../lib/text.ts";
import { isChatModel } from "../../../server/models/listed-model.ts";
import type { ModelFacts, RunningModel } from "../../../server/models/models.ts";
import { pathOf } from "../../host-access.ts";
import { type Finding, fault, ok } from "../finding.ts";
import type { Visit } from "../visit.ts";

/** A model of a file, with what the server says of it. */
export interface SeenModel extends ModelSurvey {
  /** Its id as a sentence shows it. */
  readonly shown: string;
  readonly file: HostFile;
  /** `path, line 12` */
  readonly place: string;
  readonly isChat: boolean;
  readonly facts: ModelFacts | undefined;
  readonly running: RunningModel | undefined;
}

export interface Sight {
  readonly visit: Visit;
  /** With the path and the unit of this kind of server. */
  readonly config: Config;
  readonly files: readonly HostFile[];
  /** The path of the file, or of the folder of several. */
  readonly path: string;
  readonly isPreset: boolean;
  /** Of the files that are understood. */
  readonly surveys: readonly ConfigSurvey[];
  readonly models: readonly SeenModel[];
  /** Of llama-swap's config, where one of the files is understood. */
  readonly swap: SwapSurvey | undefined;
  /** Undefined where the server does not answer. */
  readonly listed: readonly ModelFacts[] | undefined;
  /** Undefined where systemd does not report it. */
  readonly unit: UnitStatus | undefined;
}

/** A check on a machine, or a server, that may not answer. @throws the signal's reason */
async function known<T>(visit: Visit, asking: Promise<T>): Promise<T | undefined> {
  try {
    return await asking;
  } catch (error) {
    visit.signal.throwIfAborted();
    if (error instanceof ServerError) return undefined;
    throw error;
  }
}

/** Yields what can be said of each file, and returns what was understood. @throws the signal's reason */
export async function* sightOf(
  visit: Visit,
  files: readonly HostFile[],
): AsyncGenerator<Finding, Sight, undefined> {
  const { config } = await visit.host();
  const read: { file: HostFile; survey: ConfigSurvey }[] = [];
  for (const file of files) {
    const path = pathOf(file, config);
    const survey = orFault(() => surveyOf(file.text, formatOf(file.name)));
    if (survey instanceof ServerError) {
      yield fault("config-file", path, survey.message, "The server does not start with it as it is.");
      continue;
    }
    read.push({ file, survey });
    yield ok("config-file", path, counted(survey.models.length, "model"));
  }
  const isReached = visit.outOfReach === undefined;
  const listed = isReached ? await known(visit, visit.models()) : undefined;
  const running = (isReached ? await known(visit, visit.running()) : undefined) ?? [];
  const models = read.flatMap(({ file, survey }) =>
    survey.models.map((model) => seen(model, file, pathOf(file, config), listed ?? [], running)),
  );
  const [only] = files;
  return {
    visit,
    config,
    files,
    path: files.length === 1 && only !== undefined ? pathOf(only, config) : config.presetPath,
    isPreset: files.some(({ name }) => formatOf(name) === "ini"),
    surveys: read.map(({ survey }) => survey),
    models,
    swap: joined(read.flatMap(({ survey }) => survey.swap ?? [])),
    listed,
    unit: await known(visit, visit.unit()),
  };
}

function seen(
  model: ModelSurvey,
  file: HostFile,
  path: string,
  listed: readonly ModelFacts[],
  running: readonly RunningModel[],
): SeenModel {
  const flags = model.start?.flags ?? [];
  const isOther = flags.some(({ name }) => /^(embeddings?|rerank(ing)?)$/.test(name));
  return {
    ...model,
    shown: cleanText(model.id, 100).replaceAll("\n", " "),
    file,
    place: `${path}, line ${model.line}`,
    isChat: !isOther && !model.isOther && isChatModel(model.id, {}, undefined),
    facts: listed.find(({ id, kind }) => id === model.id && kind === "model"),
    running: running.find(({ id }) => id === model.id),
  };
}

/** llama-swap reads the files of a folder as one. */
function joined(swaps: readonly SwapSurvey[]): SwapSurvey | undefined {
  if (swaps.length === 0) return undefined;
  return {
    healthCheckTimeout: swaps.find(({ healthCheckTimeout }) => healthCheckTimeout)?.healthCheckTimeout,
    globalTtl: swaps.find(({ globalTtl }) => globalTtl > 0)?.globalTtl ?? 0,
    sendsLoading: swaps.some(({ sendsLoading }) => sendsLoading),
    mayRunTogether: (one, other) => swaps.some((swap) => swap.mayRunTogether(one, other)),
  };
}

/** Every problem that a check has found, or that there is none. @param fine what is then shown */
export function* allOr(
  problems: readonly Finding[],
  check: string,
  subject: string,
  fine: string,
): Iterable<Finding> {
  yield* problems;
  if (problems.length === 0) yield ok(check, subject, fine);
}
