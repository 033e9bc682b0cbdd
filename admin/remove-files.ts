/** After a model was taken out of the config: asks whether its files are to be deleted too, and deletes them. */
import { filesNamedIn, formatOf } from "../host/config/config-file.ts";
import type { FileSize } from "../host/download/download.ts";
import { HostError } from "../host/ssh/ssh-faults.ts";
import { binarySize, counted } from "../lib/figures.ts";
import type { ModelServer } from "../server/model-server.ts";
import { show } from "../ui/output.ts";
import { type Call, isConfirmed } from "./call.ts";
import type { Host } from "./host-access.ts";
import { refreshModels } from "./models.ts";
import { faultText } from "./report.ts";

/** Paths in a question; the rest is counted. */
const MOST_PATHS = 12;

const KEPT = "The files are still there.";

/** What can be deleted of a model's files, and why the rest stays. */
interface Deletable {
  readonly files: readonly FileSize[];
  readonly notes: readonly string[];
}

/**
 * Asks whether to delete files that only this model has named.
 *
 * @param paths as its command named them
 */
export async function offerToDelete(
  call: Call,
  host: Host,
  id: string,
  paths: readonly string[],
): Promise<void> {
  const { ctx, waiting } = call;
  const { signal } = waiting;
  if (paths.length === 0) return;
  try {
    waiting.say("Looking for the model's files on the server");
    const { files, notes } = await deletableOf(host, paths, signal);
    if (files.length === 0) return void (notes.length > 0 && show(ctx, notes.join("\n")));
    const total = binarySize(files.reduce((sum, { bytes }) => sum + bytes, 0));
    const question = {
      title: `Delete the files of ${id} too?`,
      consequences: [...shownPaths(files), `${counted(files.length, "file")}, ${total} in all.`, ...notes],
    };
    if (!(await isConfirmed(call, question, ["Keep the files", "Delete them"]))) return show(ctx, KEPT);
    waiting.say("Deleting the model's files");
    // The config may have changed during the question.
    const now = new Set((await deletableOf(host, paths, signal)).files.map(({ path }) => path));
    const chosen = files.filter(({ path }) => now.has(path));
    const spared = files.filter(({ path }) => !now.has(path));
    reportDeleted(call, chosen, await host.downloads.deleteFiles(chosen, signal), spared);
  } catch (error) {
    signal.throwIfAborted();
    // What was asked for is done: this is no failure of it.
    show(
      ctx,
      [`The files of ${id} were not deleted: ${paths.join(", ")}.`, faultText(error)].join("\n"),
      level(error),
    );
  }
}

/** A key that cannot do it is no fault. */
function level(error: unknown): "info" | "error" {
  return error instanceof HostError && error.code === "not-allowed" ? "info" : "error";
}

/** Follows links: a file that another model names under another path stays. */
async function deletableOf(
  { downloads, machine }: Host,
  paths: readonly string[],
  signal: AbortSignal,
): Promise<Deletable> {
  const config = await machine.read(signal);
  const named = config.flatMap(({ name, text }) => filesNamedIn(text, formatOf(name)));
  const own = new Set(paths);
  const sizes = await downloads.fileSizes([...paths, ...named], signal);
  const others = new Set(named);
  const used = new Set(sizes.flatMap(({ path, realPath }) => (others.has(path) ? (realPath ?? []) : [])));
  const found = sizes.filter(({ path, kind }) => own.has(path) && kind !== "missing");
  const isUsed = ({ realPath }: FileSize): boolean => realPath !== undefined && used.has(realPath);
  const files = found.filter((file) => file.kind === "file" && !isUsed(file));
  const notes = found.flatMap((file) => {
    if (isUsed(file)) return [`${file.path} stays: another model uses that file.`];
    return file.kind === "file" ? [] : [`${file.path} stays: it is ${KINDS[file.kind]}.`];
  });
  return { files, notes };
}

const KINDS: Readonly<Record<FileSize["kind"], string>> = {
  file: "a file",
  link: "a link to a file elsewhere",
  other: "not a regular file",
  missing: "not there",
};

function shownPaths(files: readonly FileSize[]): string[] {
  const lines = files.slice(0, MOST_PATHS).map(({ path, bytes }) => `${path} (${binarySize(bytes)})`);
  return files.length > MOST_PATHS
    ? [...lines, `and ${counted(files.length - MOST_PATHS, "more file")}`]
    : lines;
}

function reportDeleted(
  { ctx }: Call,
  files: readonly FileSize[],
  left: readonly FileSize[],
  spared: readonly FileSize[],
): void {
  const kept = new Set(left.map(({ path }) => path));
  const deleted = files.filter(({ path }) => !kept.has(path));
  const total = binarySize(deleted.reduce((sum, { bytes }) => sum + bytes, 0));
  const lines = [
    ...(deleted.length === 0 ? [] : [`Deleted ${counted(deleted.length, "file")}, ${total}.`]),
    ...left.map(({ path, problem }) => `${path} was not deleted: ${problem ?? "no reason was given"}`),
    ...spared.map(({ path }) => `${path} was not deleted: it has changed, or the config names it again.`),
  ];
  show(ctx, lines.join("\n"), left.length + spared.length > 0 ? "warning" : "info");
}

/** Asks whether a router is to delete a model that it has downloaded itself, with its files. */
export async function offerToDeleteDownloaded(call: Call, server: ModelServer, id: string): Promise<void> {
  const { ctx, waiting } = call;
  const { signal } = waiting;
  const backend = await server.backend(signal);
  if (backend.deleteModel === undefined) return;
  const question = {
    title: `Delete ${id} from the router's cache?`,
    consequences: [
      "The router downloaded this model itself, so it unloads the model and deletes the files. To use the model again, download it again.",
    ],
  };
  if (!(await isConfirmed(call, question, ["Keep the files", "Delete them"]))) return show(ctx, KEPT);
  waiting.say(`Deleting ${id}`);
  await backend.deleteModel(id, signal);
  await refreshModels(call).catch(() => undefined);
  show(ctx, `${id} is deleted.`);
}
