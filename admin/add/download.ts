/** The download onto the server's machine: begun or found again, watched, and left or stopped. */
import type { Config } from "../../config.ts";
import type { DownloadRequest, DownloadState } from "../../host/download/download.ts";
import type { ServerDownloads } from "../../host/download/downloads.ts";
import type { HubFile } from "../../huggingface/quantisations.ts";
import { REAL_CLOCK } from "../../lib/clock.ts";
import { ServerError } from "../../lib/errors.ts";
import { binarySize, counted } from "../../lib/figures.ts";
import { show } from "../../ui/output.ts";
import type { Question } from "../../ui/question.ts";
import { type Call, isConfirmed } from "../call.ts";
import { faultText } from "../report.ts";
import { type Chosen, gatedWords } from "./choose.ts";
import { downloadWords, progressWords } from "./download-words.ts";
import { type Room, roomWords } from "./room.ts";

/** Between two looks over ssh; the first ones follow each other sooner. */
const LOOK_MS = 1000;
const FIRST_LOOK_MS = 200;

/** Files that are on the server, under their final names. */
export interface Downloaded {
  readonly id: string;
  readonly label: string;
  /** The path that llama-server is started with. */
  readonly file: string;
  readonly mmproj: string | undefined;
}

/** What to fetch, into a folder of its own: files of different repositories have equal names. */
export function requestFor(
  { label, repository, quantisation }: Chosen,
  projector: HubFile | undefined,
  folder: string,
  token: string | undefined,
): DownloadRequest {
  const files = [...quantisation.files, ...(projector === undefined ? [] : [projector])].map(
    ({ url, path, bytes, sha256 }) => ({ url, path: `${repository.id}/${path}`, bytes, sha256 }),
  );
  return { label, folder, files, ...(repository.needsToken && token !== undefined ? { token } : {}) };
}

/** The question before anything is fetched. */
export function downloadQuestion(
  { repository }: Chosen,
  { label, files }: DownloadRequest,
  { modelsDir, sshHost }: Pick<Config, "modelsDir" | "sshHost">,
  freeBytes: number | undefined,
  room: Room | undefined,
): Question {
  const bytes = files.reduce((sum, file) => sum + file.bytes, 0);
  const where = sshHost === "local" ? "this machine" : "the server";
  const free = freeBytes === undefined ? "" : `, where ${binarySize(freeBytes)} is free`;
  return {
    title: `Download ${label}?`,
    consequences: [
      `${binarySize(bytes)} in ${counted(files.length, "file")}, into ${modelsDir}/${repository.id} on ${where}${free}.`,
      ...roomWords(room),
      ...gatedWords(repository),
      "The server downloads it by itself, and continues when pi is closed.",
    ],
  };
}

/**
 * Watches a download until all of it is there. Escape asks whether to stop it or leave it running.
 *
 * @returns undefined where the user has left or stopped it, which was then reported
 * @throws {ServerError} where it fails
 */
export async function watched(
  call: Call,
  downloads: ServerDownloads,
  folder: string,
  first: DownloadState,
): Promise<Downloaded | undefined> {
  try {
    return downloadedBy(await untilEnd(call, downloads, folder, first));
  } catch (error) {
    if (!call.waiting.signal.aborted) throw error;
    await leftOrStopped(call, downloads, folder, first).catch((fault: unknown) => {
      // Nothing else reports it: a cancelled command throws in silence.
      if (!call.ended.aborted) show(call.ctx, faultText(fault), "error");
    });
    return undefined;
  }
}

async function untilEnd(
  { waiting }: Call,
  downloads: ServerDownloads,
  folder: string,
  first: DownloadState,
): Promise<DownloadState> {
  for (let state = first, pauseMs = FIRST_LOOK_MS; ; pauseMs = Math.min(LOOK_MS, 2 * pauseMs)) {
    if (state.stage === "complete") return state;
    if (!isGoing(state)) {
      throw (
        state.problem ??
        elsewhere(`The download of ${state.label} was stopped by another pi or on the server.`)
      );
    }
    waiting.say(downloadWords(state));
    await REAL_CLOCK.sleep(pauseMs, waiting.signal);
    const states = await downloads.read(folder, waiting.signal);
    const now = states.find(({ id }) => id === first.id);
    if (now === undefined)
      throw elsewhere(`The download of ${first.label} was removed by another pi or on the server.`);
    state = now;
  }
}

/** Whether all of it is there or on its way: nothing has to be asked of the hub. */
export function isGoing({ stage }: DownloadState): boolean {
  return stage !== "stopped" && stage !== "failed";
}

function elsewhere(message: string): ServerError {
  return new ServerError(message, { link: "ssh" });
}

function downloadedBy({ id, label, files }: DownloadState): Downloaded {
  const paths = files.map(({ path }) => path);
  return { id, label, file: paths[0] ?? "", mmproj: paths.slice(1).find(isProjector) };
}

/** Whether a file of a download is a model's projector and not a part of it. */
function isProjector(path: string): boolean {
  return /mmproj[^/]*$/i.test(path);
}

/** By the session's own end alone: the user's signal is aborted already. */
async function leftOrStopped(
  call: Call,
  downloads: ServerDownloads,
  folder: string,
  { id, label }: DownloadState,
): Promise<void> {
  const { ctx, ended } = call;
  if (ended.aborted) return;
  const state = (await downloads.read(folder, ended)).find((one) => one.id === id);
  if (state === undefined) return;
  const again = `/ai-server-add ${label} goes on from there.`;
  if (state.stage === "complete") return show(ctx, `${label} is downloaded. ${again}`);
  if (state.problem !== undefined && !isGoing(state)) return show(ctx, state.problem.message, "error");
  const question = {
    title: `Stop the download of ${label}?`,
    consequences: [
      `Downloaded so far: ${progressWords(state.doneBytes, state.totalBytes, state.rate)}.`,
      `What has arrived is kept, and ${again}`,
    ],
  };
  if (!(await isConfirmed(call, question, ["Leave it running", "Stop it"])))
    return show(ctx, `The server goes on with the download. /ai-server-add ${label} shows it again.`);
  await downloads.stop(folder, id, ended);
  show(ctx, `The download is stopped. ${again}`);
}
