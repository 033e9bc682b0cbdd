/** `/ai-server-rollback`: lists the backups of the config, and puts one back. */
import type { Config } from "../config.ts";
import { formatOf } from "../host/config/config-file.ts";
import type { Preview } from "../host/outcome.ts";
import type { Backup, HostFile, RemoteMachine } from "../host/ssh/machine.ts";
import { HostError } from "../host/ssh/ssh-faults.ts";
import { ServerError } from "../lib/errors.ts";
import type { ModelServer } from "../server/model-server.ts";
import { show } from "../ui/output.ts";
import { type Call, chosenBy, isConfirmed, pathOf, requireUser, serverFor, withConfigFile } from "./call.ts";
import {
  actsOf,
  askAndApply,
  type Change,
  changeOn,
  effectWords,
  isRestart,
  offerWayBack,
  restartedWords,
} from "./change.ts";
import { changeCounts, diffLines } from "./diff-text.ts";
import { refreshModels } from "./models.ts";
import { answerWords, reportOf } from "./outcome.ts";
import { stakesOf } from "./stakes.ts";

/** One backup, with how it differs from the file as it is now. */
interface Offer {
  readonly file: HostFile;
  readonly backup: Backup;
  /** For the list: date, size, difference. */
  readonly words: string;
}

function sizeWords(bytes: number): string {
  return bytes < 1024 ? `${bytes} B` : `${(bytes / 1024).toFixed(1)} KiB`;
}

/** Lists the backups; one that is chosen, or named by its time stamp, is put back by the safe way. */
export async function rollback(call: Call): Promise<void> {
  const { aiServer, ctx, waiting, argument } = call;
  if (ctx.mode === "tui" || ctx.mode === "rpc") aiServer.refuseWhileChanging();
  const server = await serverFor(call);
  const work = async (machine: RemoteMachine, config: Config): Promise<void> => {
    waiting.say("Reading the backups on the server");
    const offers = await offersOf(machine, config, waiting.signal);
    if (offers.length === 0) {
      show(ctx, "There is no backup yet: each change of the config makes one.");
      return;
    }
    if (argument.trim() === "" && ctx.mode !== "tui" && ctx.mode !== "rpc") {
      show(ctx, offers.map(({ words }) => words).join("\n"));
      return;
    }
    requireUser(call);
    const offer = argument.trim() === "" ? await choose(call, offers) : named(argument.trim(), offers);
    if (offer === undefined) return;
    await aiServer.exclusively("/ai-server-rollback", async () =>
      putBack(call, server, await changeOn(call, server, machine, config), offer),
    );
  };
  await withConfigFile(server, work, waiting.signal);
}

/** The last written first; of several files, each in its own order. */
async function offersOf(machine: RemoteMachine, config: Config, signal: AbortSignal): Promise<Offer[]> {
  const ofEachFile: Offer[][] = [];
  const files = await machine.read(signal);
  for (const file of files) {
    const offers: Offer[] = [];
    for (const backup of await machine.list(file.name, signal)) {
      const difference = await differenceOf(machine, file, backup, signal);
      const name = files.length > 1 ? [pathOf(file, config)] : [];
      const date = backup.date.toLocaleString("sv-SE");
      const words = [backup.stamp, date, sizeWords(backup.bytes), difference, ...name].join(" · ");
      offers.unshift({ file, backup, words });
    }
    ofEachFile.push(offers);
  }
  return merged(ofEachFile);
}

/** Only the stamps tell of different files which backup was first, and of one file they may not: see `Machine.list`. */
function merged(ofEachFile: readonly Offer[][]): Offer[] {
  const offers: Offer[] = [];
  for (;;) {
    const [next] = ofEachFile
      .filter((left) => left.length > 0)
      .sort(([a], [b]) => (b?.backup.stamp ?? "").localeCompare(a?.backup.stamp ?? ""));
    const offer = next?.shift();
    if (offer === undefined) return offers;
    offers.push(offer);
  }
}

/** One backup that cannot be read must not keep the others from being put back. */
async function differenceOf(
  machine: RemoteMachine,
  file: HostFile,
  { stamp }: Backup,
  signal: AbortSignal,
): Promise<string> {
  try {
    const { text } = await machine.readBackup(stamp, file.name, signal);
    const { added, removed } = changeCounts(file.text, text);
    return added + removed === 0 ? "the same as now" : `+${added} −${removed} lines`;
  } catch (error) {
    if (!(error instanceof HostError) || error.link !== "config file") throw error;
    return "cannot be read";
  }
}

async function choose(call: Call, offers: readonly Offer[]): Promise<Offer | undefined> {
  const question = { title: "Which backup of the config is put back?", consequences: [] };
  return chosenBy<Offer | undefined>(call, question, [
    { words: "Keep the config as it is", means: undefined },
    ...offers.map((offer) => ({ words: offer.words, means: offer })),
  ]);
}

function named(stamp: string, offers: readonly Offer[]): Offer {
  const offer = offers.find(({ backup }) => backup.stamp === stamp);
  if (offer !== undefined) return offer;
  const stamps = offers.map(({ backup }) => backup.stamp).join(", ");
  throw new ServerError(`There is no such backup. There are: ${stamps}.`, {
    link: "config file",
    remedy: "none",
  });
}

async function putBack(
  call: Call,
  server: ModelServer,
  change: Change,
  { file, backup }: Offer,
): Promise<void> {
  const { ctx, waiting } = call;
  const path = pathOf(file, change.config);
  const confirm = async (preview: Preview): Promise<boolean> => {
    const { edit, loaded, unloads } = preview;
    const isUnloaded = (id: string): boolean => unloads.includes(id);
    const toLoad = loaded.map(({ id }) => id).filter(isUnloaded);
    return isConfirmed(
      call,
      {
        title: `Put back ${path} as of ${backup.date.toLocaleString("sv-SE")}?`,
        consequences: [
          effectWords(preview, change.config),
          ...(await stakesOf(call, server, loaded, toLoad, { isUnloaded, isRestart: isRestart(preview) })),
          "The present text becomes a backup itself.",
        ],
        diff: { title: `In ${path}:`, lines: diffLines(edit.file.text, edit.text, formatOf(file.name)) },
      },
      actsOf("Put back", preview),
    );
  };
  const { backupEdit } = await import("../host/change.ts");
  const edit = await backupEdit(change.host.machine, file.name, backup.stamp, waiting.signal);
  const { outcome, preview: asked } = await askAndApply(call, change, edit, confirm);
  const changed = `${path} is as of ${backup.date.toLocaleString("sv-SE")}, and ${answerWords(outcome)}.`;
  const { level, text } = reportOf(outcome, changed + restartedWords(asked, change.config), path);
  if (outcome.kind === "changed") await refreshModels(call).catch(() => undefined);
  show(ctx, text, level);
  await offerWayBack(call, change, outcome, file, path);
}
