/** Puts a model that is on the server into its config: planned, asked about, written, loaded, reported. */
import type { Config } from "../../config.ts";
import { formatOf, modelsIn } from "../../host/config/config-file.ts";
import type { Unknown } from "../../host/fit/fit.ts";
import type { Edit, Planned } from "../../host/outcome.ts";
import type { HostFile } from "../../host/ssh/machine.ts";
import { shortTokens } from "../../lib/figures.ts";
import type { ModelServer } from "../../server/model-server.ts";
import { show } from "../../ui/output.ts";
import type { Question } from "../../ui/question.ts";
import { type Call, isConfirmed } from "../call.ts";
import {
  ALREADY_SO,
  actsOf,
  applyAndReport,
  changePlaceOf,
  consequencesOf,
  plannedDiff,
  shownSteps,
} from "../change.ts";
import { adviceFor } from "../context.ts";
import { fitOfSize, fittingNow } from "../context-fit.ts";
import type { Fitting } from "../fit.ts";
import type { Host } from "../host-access.ts";
import type { Downloaded } from "./download.ts";
import { type Block, chosenPattern, idFor, inConfig, modelWith, plannedBlock } from "./plan.ts";
import { chosenSize } from "./size.ts";

/** The model as its block names it. */
interface OnServer {
  readonly id: string;
  readonly file: string;
  readonly mmproj: string | undefined;
  readonly trained: number | undefined;
}

/** A block, with what is known of the memory that its model needs. */
interface FittedBlock extends Block {
  readonly fitting: Fitting | Unknown;
  readonly trained: number | undefined;
}

/** With the window that it was trained for, in tokens, where that is known. */
type Added = Downloaded & { readonly trained: number | undefined };

/** Adds a model that is on the server to its config: as the user chooses, asked, loaded, reported. */
export async function addBlock(
  call: Call,
  server: ModelServer,
  host: Host,
  { id: download, label, file, mmproj, trained }: Added,
): Promise<void> {
  const { ctx, waiting } = call;
  const { config, machine } = host;
  waiting.say("Reading the config on the server");
  const files = await machine.read(waiting.signal);
  // What is left of it only shows that it is there: the next try removes it.
  const forget = (): Promise<void> =>
    host.downloads.clear(config.modelsDir, download, call.ended).catch(() => undefined);
  const present = modelWith({ label, file }, files);
  if (present !== undefined) {
    await forget();
    return show(ctx, inConfig(label, present));
  }
  const model = { id: idFor(file, files), file, mmproj, trained };
  const block = await chosenBlock(call, server, host, files, model);
  if (block === undefined) return show(ctx, notAdded(label));
  if (await isApplied(call, server, host, block, notAdded(label))) await forget();
}

/**
 * Gives a model that a router has found itself a section with a context size, where one is wanted.
 *
 * @returns `as it is` where none is, or the preset has one already; undefined where everything was reported
 */
export async function addSection(
  call: Call,
  server: ModelServer,
  host: Host,
  id: string,
): Promise<"as it is" | undefined> {
  const { ctx, waiting } = call;
  waiting.say("Reading the preset on the server");
  const files = await host.machine.read(waiting.signal);
  const [file] = files;
  const hasSection = modelsIn(files).some(({ model }) => model === id);
  if (file === undefined || hasSection) return "as it is";
  const fitting = await fittingNow(call, server, host, { id, file, files, facts: undefined });
  const size = await chosenSize(call, id, fitting, { present: undefined, trained: undefined });
  if (size === "as it is") return size;
  const later = `${id} is downloaded; /model has it now.`;
  if (size === undefined) return void show(ctx, later);
  const block = plannedBlock(files, { file, from: undefined }, { id, context: size });
  await isApplied(call, server, host, { ...block, fitting, trained: undefined }, later);
  return undefined;
}

/** Asks, and makes the change. @param otherwise said where the user does not want it @returns whether it was made */
async function isApplied(
  call: Call,
  server: ModelServer,
  host: Host,
  block: FittedBlock,
  otherwise: string,
): Promise<boolean> {
  const { ctx, waiting } = call;
  const { config } = host;
  const place = await changePlaceOf(call, server, host);
  const { planChange } = await import("../../host/change.ts");
  const planned = await planChange(place, editOf(block), shownSteps(waiting, config));
  if (planned !== undefined) {
    const question = await questionFor(call, server, config, planned, block);
    if (await isConfirmed(call, question, actsOf("Add", planned)))
      return applyAndReport(call, place, planned, `${block.id} is added; /model has it now.`);
  }
  show(ctx, planned === undefined ? ALREADY_SO : otherwise);
  return false;
}

function notAdded(label: string): string {
  return `The config was not changed. The files stay on the server; /ai-server-add ${label} goes on from there.`;
}

/** @returns undefined where the user leaves */
async function chosenBlock(
  call: Call,
  server: ModelServer,
  host: Host,
  files: readonly HostFile[],
  { trained, ...model }: OnServer,
): Promise<FittedBlock | undefined> {
  const planned = await chosenPattern(call, files, model);
  if (planned === undefined) return undefined;
  const { pattern, block } = planned;
  // As it would be in the config, which does not have it yet.
  const file = { ...block.file, text: block.addition.text };
  const all = files.map((other) => (other === block.file ? file : other));
  const source = "declared" as const;
  const facts = trained === undefined ? undefined : { trainedContext: { value: trained, source } };
  const fitting = await fittingNow(call, server, host, { id: model.id, file, files: all, facts });
  const present = block.addition.setting.tokens;
  const size = await chosenSize(call, model.id, fitting, { present, trained });
  if (size === undefined) return undefined;
  const chosen = size === "as it is" ? block : plannedBlock(files, pattern, { ...model, context: size });
  return { ...chosen, fitting, trained };
}

/** A router knows the model already, and gets a section for it alone. */
function editOf({ id, file, addition }: Block): Edit {
  const { tokens, slots } = addition.setting;
  const window = tokens === undefined ? {} : { contextSize: tokens };
  const isAdded = formatOf(file.name) === "yaml";
  return { file, text: addition.text, model: { id, slots, ...window, isAdded } };
}

async function questionFor(
  call: Call,
  server: ModelServer,
  config: Config,
  planned: Planned,
  { id, addition, fitting, trained }: FittedBlock,
): Promise<Question> {
  const { tokens } = addition.setting;
  const window = tokens === undefined ? "" : ` with a context of ${tokens} tokens (${shortTokens(tokens)})`;
  const fit = tokens === undefined ? undefined : await fitOfSize(call, fitting, tokens);
  return {
    title: `Add ${id}${window}?`,
    consequences: [
      ...(fit?.isKnown ? fit.lines : []),
      ...(await consequencesOf(call, server, config, planned, [id])),
      ...(tokens === undefined ? [] : adviceFor(tokens, fit?.trained ?? trained)),
      ...addition.warnings,
    ],
    diff: plannedDiff(planned, config),
  };
}
