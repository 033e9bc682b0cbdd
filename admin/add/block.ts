/** Puts a model that is on the server into its config: planned, asked about, written, loaded, reported. */
import type { Config } from "../../config.ts";
import { modelsIn } from "../../host/config/config-file.ts";
import type { Planned } from "../../host/outcome.ts";
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
import type { Host } from "../host-access.ts";
import type { Downloaded } from "./download.ts";
import { type Block, chosenPattern, idFor, modelWith, plannedBlock } from "./plan.ts";
import { chosenSize } from "./size.ts";

/** The model as its block names it. */
interface OnServer {
  readonly id: string;
  readonly file: string;
  readonly mmproj: string | undefined;
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
    return show(ctx, `${label} is in the config already: ${present}.`);
  }
  const block = await chosenBlock(call, files, { id: idFor(file, files), file, mmproj }, trained);
  if (block === undefined) return show(ctx, notAdded(label));
  if (await isApplied(call, server, host, block, { trained, otherwise: notAdded(label) })) await forget();
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
  const windows = { present: undefined, trained: undefined, largest: undefined };
  const size = await chosenSize(call, id, windows, []);
  if (size === "as it is") return size;
  const later = `${id} is downloaded; /model has it now.`;
  if (size === undefined) return void show(ctx, later);
  const block = plannedBlock(files, { file, from: undefined }, { id, context: size });
  await isApplied(call, server, host, block, { trained: undefined, otherwise: later });
  return undefined;
}

/** Asks, and makes the change. @param otherwise said where the user does not want it @returns whether it was made */
async function isApplied(
  call: Call,
  server: ModelServer,
  host: Host,
  block: Block,
  { trained, otherwise }: { trained: number | undefined; otherwise: string },
): Promise<boolean> {
  const { ctx, waiting } = call;
  const { config } = host;
  const place = await changePlaceOf(call, server, host);
  const { planChange } = await import("../../host/change.ts");
  const planned = await planChange(place, editOf(block), shownSteps(waiting, config));
  if (planned !== undefined) {
    const question = await questionFor(call, server, config, planned, block, trained);
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
  files: readonly HostFile[],
  model: OnServer,
  trained: number | undefined,
): Promise<Block | undefined> {
  const pattern = await chosenPattern(call, files, model);
  if (pattern === undefined) return undefined;
  const block = plannedBlock(files, pattern, model);
  const windows = { present: block.addition.setting.tokens, trained, largest: undefined };
  const size = await chosenSize(call, model.id, windows, []);
  if (size === undefined) return undefined;
  return size === "as it is" ? block : plannedBlock(files, pattern, { ...model, context: size });
}

function editOf({ id, file, addition }: Block) {
  const { tokens, slots } = addition.setting;
  const window = tokens === undefined ? {} : { contextSize: tokens };
  return { file, text: addition.text, model: { id, slots, ...window } };
}

async function questionFor(
  call: Call,
  server: ModelServer,
  config: Config,
  planned: Planned,
  { id, addition }: Block,
  trained: number | undefined,
): Promise<Question> {
  const { tokens } = addition.setting;
  const window = tokens === undefined ? "" : ` with a context of ${tokens} tokens (${shortTokens(tokens)})`;
  return {
    title: `Add ${id}${window}?`,
    consequences: [
      ...(await consequencesOf(call, server, config, planned, [id])),
      ...(tokens === undefined ? [] : adviceFor(tokens, trained)),
      ...addition.warnings,
    ],
    diff: plannedDiff(planned, config),
  };
}
