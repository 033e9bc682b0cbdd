/** `/ai-server-rollback`: lists the backups of the config, and puts one back. */
import type { Backup, HostFile, RemoteMachine } from "../host/ssh/machine.ts";
import { HostError } from "../host/ssh/ssh-faults.ts";
import { ServerError } from "../lib/errors.ts";
import type { ModelServer } from "../server/model-server.ts";
import { show } from "../ui/output.ts";
import { type Call, canAsk, chosenBy, isConfirmed, requireUser, serverFor } from "./call.ts";
import {
  ALREADY_SO,
  actsOf,
  applyAndReport,
  changeCounts,
  changePlaceOf,
  consequencesOf,
  NOT_CHANGED,
  plannedDiff,
  shownSteps,
} from "./change.ts";
import { type Host, openConfigHost, pathOf } from "./host-access.ts";

interface Offer {
  readonly file: HostFile;
  readonly backup: Backup;
  /** For the list: date, size, difference. */
  readonly words: string;
}

function sizeWords(bytes: number): string {
  return bytes < 1024 ? `${bytes} B` : `${(bytes / 1024).toFixed(1)} KiB`;
}

/** In the user's time zone: `2026-01-31 23:59:59`. */
function dateWords({ date }: Backup): string {
  return date.toLocaleString("sv-SE");
}

/** Lists the backups; one that is chosen, or named by its time stamp, is restored. */
export async function rollback(call: Call): Promise<void> {
  const { aiServer, ctx, waiting } = call;
  const stamp = call.argument.trim();
  if (canAsk(ctx)) aiServer.refuseWhileChanging();
  const server = await serverFor(call);
  const host = await openConfigHost(server, waiting.signal);
  try {
    waiting.say("Reading the backups on the server");
    const offers = await offersOf(host, waiting.signal);
    if (offers.length === 0) return show(ctx, "No backups yet: each change of the config makes one.");
    if (stamp === "" && !canAsk(ctx)) return show(ctx, offers.map(({ words }) => words).join("\n"));
    requireUser(ctx);
    const offer = stamp === "" ? await choose(call, offers) : named(stamp, offers);
    if (offer === undefined) return;
    await aiServer.exclusively("/ai-server-rollback", () => restoreBackup(call, server, host, offer), true);
  } finally {
    await host.close();
  }
}

async function restoreBackup(
  call: Call,
  server: ModelServer,
  host: Host,
  { file, backup }: Offer,
): Promise<void> {
  const { ctx, waiting } = call;
  const { config } = host;
  const place = await changePlaceOf(call, server, host);
  const { planRestore } = await import("../host/change.ts");
  const planned = await planRestore(place, backup.stamp, file.name, shownSteps(waiting, config));
  if (planned === undefined) return show(ctx, ALREADY_SO);

  const version = `${pathOf(file, config)} as of ${dateWords(backup)}`;
  const question = {
    title: `Restore ${version}?`,
    consequences: [
      ...(await consequencesOf(call, server, config, planned, planned.unloads)),
      "The current version is kept as a backup.",
    ],
    diff: plannedDiff(planned, config),
  };
  if (!(await isConfirmed(call, question, actsOf("Restore", planned)))) return show(ctx, NOT_CHANGED);
  await applyAndReport(call, place, planned, `Restored ${version}.`);
}

/** The last written first; of several files, each in its own order. */
async function offersOf({ machine, config }: Host, signal: AbortSignal): Promise<Offer[]> {
  const ofEachFile: Offer[][] = [];
  const files = await machine.read(signal);
  for (const file of files) {
    const offers: Offer[] = [];
    for (const backup of await machine.list(file.name, signal)) {
      const difference = await differenceOf(machine, file, backup, signal);
      const name = files.length > 1 ? [pathOf(file, config)] : [];
      const words = [backup.stamp, dateWords(backup), sizeWords(backup.bytes), difference, ...name].join(
        " · ",
      );
      offers.unshift({ file, backup, words });
    }
    ofEachFile.push(offers);
  }
  return merged(ofEachFile);
}

/** Across files only the stamps give an order; within one file they may not: see `RemoteMachine.list`. */
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

/** One unreadable backup must not keep the others from being restored. */
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
  const question = { title: "Which backup should be restored?", consequences: [] };
  return chosenBy<Offer | undefined>(call, question, [
    { words: "Keep the config as it is", means: undefined },
    ...offers.map((offer) => ({ words: offer.words, means: offer })),
  ]);
}

function named(stamp: string, offers: readonly Offer[]): Offer {
  const offer = offers.find(({ backup }) => backup.stamp === stamp);
  if (offer !== undefined) return offer;
  const stamps = offers.map(({ backup }) => backup.stamp).join(", ");
  throw new ServerError(`No such backup. Available: ${stamps}.`, { link: "config file" });
}
