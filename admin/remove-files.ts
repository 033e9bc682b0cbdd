/** After a model was taken out of the config: asks whether its files are to be deleted too, and deletes them. */
import { filesNamedIn, formatOf } from "../host/config/config-file.ts";
import type { FileSize } from "../host/download/download.ts";
import type { HostFile } from "../host/ssh/machine.ts";
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
 * @param config the files of the config as they are now
 */
export async function offerToDelete(
  call: Call,
  host: Host,
  id: string,
  paths: readonly string[],
  config: readonly HostFile[],
): Promise<void> {
  const { ctx, waiting } = call;
  const { signal } = waiting;
  if (paths.length === 0) return;
  try {
    waiting.say("Looking for the model's files on the server");
    const { files, notes } = await deletableOf(host, paths, config, signal);
    if (files.length === 0) return void (notes.length > 0 && show(ctx, notes.join("\n")));
    const total = binarySize(files.reduce((sum, { bytes }) => sum + bytes, 0));
    const question = {
      title: `Delete the files of ${id} too?`,
      consequences: [...shownPaths(files), `${counted(files.length, "file")}, ${total} in all.`, ...notes],
    };
    if (!(await isConfirmed(call, question, ["Keep the files", "Delete them"]))) return show(ctx, KEPT);
    waiting.say("Deleting the model's files");
    const left = await host.downloads.deleteFiles(files, signal);
    await forgetDownloads(host, files, signal);
    reportDeleted(call, files, left);
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
  { downloads }: Host,
  paths: readonly string[],
  config: readonly HostFile[],
  signal: AbortSignal,
): Promise<Deletable> {
  const named = config.flatMap(({ name, text }) => filesNamedIn(text, formatOf(name)));
  const own = new Set(paths);
  const sizes = await downloads.fileSizes([...paths, ...named], signal);
  const used = new Set(sizes.flatMap(({ path, realPath }) => (own.has(path) ? [] : (realPath ?? []))));
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
  other: "no regular file",
  missing: "not there",
};

function shownPaths(files: readonly FileSize[]): string[] {
  const lines = files.slice(0, MOST_PATHS).map(({ path, bytes }) => `${path} (${binarySize(bytes)})`);
  return files.length > MOST_PATHS
    ? [...lines, `and ${counted(files.length - MOST_PATHS, "more file")}`]
    : lines;
}

/** A download whose files are gone has nothing to go on from. */
async function forgetDownloads(
  { downloads, config }: Host,
  files: readonly FileSize[],
  signal: AbortSignal,
): Promise<void> {
  const gone = new Set(files.map(({ path }) => path));
  try {
    for (const { id, stage, files: parts } of await downloads.read(config.modelsDir, signal)) {
      const isOver = stage === "complete" || stage === "failed";
      if (isOver && parts.some(({ path }) => gone.has(path)))
        await downloads.clear(config.modelsDir, id, signal);
    }
  } catch {
    signal.throwIfAborted();
    // Only a convenience: the list of downloads would show one that is no longer there.
  }
}

function reportDeleted({ ctx }: Call, files: readonly FileSize[], left: readonly FileSize[]): void {
  const kept = new Set(left.map(({ path }) => path));
  const deleted = files.filter(({ path }) => !kept.has(path));
  const total = binarySize(deleted.reduce((sum, { bytes }) => sum + bytes, 0));
  const lines = [
    ...(deleted.length === 0 ? [] : [`Deleted ${counted(deleted.length, "file")}, ${total}.`]),
    ...left.map(({ path, problem }) => `${path} was not deleted: ${problem ?? "no reason was given"}`),
  ];
  show(ctx, lines.join("\n"), left.length > 0 ? "warning" : "info");
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
      "The router has downloaded it itself: it unloads the model and deletes its files. Another use needs another download.",
    ],
  };
  if (!(await isConfirmed(call, question, ["Keep the files", "Delete them"]))) return show(ctx, KEPT);
  waiting.say(`Deleting ${id}`);
  await backend.deleteModel(id, signal);
  await refreshModels(call).catch(() => undefined);
  show(ctx, `${id} is deleted.`);
}
