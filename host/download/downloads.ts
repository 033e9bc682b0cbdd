/** Downloads that run on the server's machine, by themselves: they need neither this machine nor its ssh connection. */
import { type Answer, type HostRequest, valueFor } from "../ssh/protocol.ts";
import { workerScript } from "../ssh/scripts.ts";
import type { Shell } from "../ssh/shell.ts";
import type { HostError } from "../ssh/ssh-faults.ts";
import { filesInAnswer, statesInAnswer } from "./answer.ts";
import {
  type DownloadPlace,
  type DownloadRequest,
  type DownloadState,
  type FileSize,
  isRunning,
  type Started,
} from "./download.ts";
import { downloadFault, wrapperFault } from "./download-faults.ts";
import { allShards, downloadId, pathList, requestLines } from "./request.ts";

/** Milliseconds for a verb that only looks, and for one that starts, ends or removes something. */
const READ_MS = 15_000;
const WRITE_MS = 60_000;

/** What a start keeps free beside the files: `spare_bytes` in `ai-server-download`. */
const SPARE_BYTES = 1024 ** 3;

const PROGRAMS = ["hf", "curl"] as const;

/** What can be downloaded and removed on the server's machine. */
export class ServerDownloads {
  readonly #shell: Pick<Shell, "ask" | "settings">;

  constructor(shell: Pick<Shell, "ask" | "settings">) {
    this.#shell = shell;
  }

  /** Also goes on with one that was stopped, has failed, or was interrupted. @throws {HostError} */
  async start(request: DownloadRequest, signal?: AbortSignal): Promise<Started> {
    const id = downloadId(request.label);
    const content = Buffer.from(`${requestLines(request)}\n${workerScript()}`);
    const download = { folder: request.folder, token: request.token };
    const answer = await this.#ask({ verb: ["start", id], download, content }, WRITE_MS, signal);
    const state = this.#states(answer).find((one) => one.id === id);
    if (state === undefined) throw this.#fault("unknown-download", "");
    const isNew = answer.lines.some(({ key }) => key === "started");
    const endsAtLogout = answer.lines.some(({ key }) => key === "ends-at-logout");
    return { state, isNew, warning: endsAtLogout ? this.#fault("ends-at-logout", "").message : undefined };
  }

  /** What a download would find on the machine, and all that are known in the folder. @throws {HostError} */
  async look(folder: string, signal?: AbortSignal): Promise<DownloadPlace> {
    const answer = await this.#ask({ verb: ["downloads"], download: { folder } }, READ_MS, signal);
    const free = valueFor(answer.lines, "free") ?? "";
    return {
      folder: valueFor(answer.lines, "folder") ?? folder,
      freeBytes: /^\d{1,15}$/.test(free) ? Number(free) : undefined,
      programs: PROGRAMS.filter((name) =>
        answer.lines.some(({ key, value }) => key === "program" && value === name),
      ),
      states: this.#states(answer),
    };
  }

  /** Those alone, in the order of their start. Starts and changes nothing. @throws {HostError} */
  async read(folder: string, signal?: AbortSignal): Promise<readonly DownloadState[]> {
    return (await this.look(folder, signal)).states;
  }

  /** Keeps what has arrived. @throws {HostError} */
  async stop(folder: string, id: string, signal?: AbortSignal): Promise<void> {
    await this.#ask({ verb: ["stop", id], download: { folder } }, WRITE_MS, signal);
  }

  /** Forgets a download that does not run, and removes what has arrived of it; a complete one keeps its files. */
  async clear(folder: string, id: string, signal?: AbortSignal): Promise<void> {
    await this.#ask({ verb: ["clear", id], download: { folder } }, WRITE_MS, signal);
  }

  /**
   * Checks before the user is asked what a start checks too: that a new download fits beside those that run.
   *
   * @returns the bytes that are free there; undefined where the machine does not say, and nothing is checked
   * @throws {HostError}
   */
  async requireSpace(request: DownloadRequest, signal?: AbortSignal): Promise<number | undefined> {
    const { freeBytes, folder, states } = await this.look(request.folder, signal);
    if (freeBytes === undefined) return undefined;
    const others = states.filter(({ id, stage }) => isRunning(stage) && id !== downloadId(request.label));
    const theirs = others.reduce((sum, { totalBytes, doneBytes }) => sum + totalBytes - doneBytes, 0);
    const room = freeBytes - theirs - SPARE_BYTES;
    if (sizeOf(request.files) <= room) return freeBytes;
    // Files of a model that was removed from the config may be there still.
    const files = request.files.map(({ path, bytes }) => ({ path: `${folder}/${path}`, bytes }));
    const found = await this.fileSizes(
      files.map(({ path }) => path),
      signal,
    );
    const missing = files.filter(
      ({ path, bytes }) => !found.some((one) => one.path === path && one.bytes === bytes),
    );
    const needed = sizeOf(missing);
    if (needed > 0 && needed > room) throw this.#fault("no-space", `${needed} ${freeBytes} ${theirs}`);
    return freeBytes;
  }

  /** @param paths absolute; that of a shard stands for all shards of its file. @throws {HostError} */
  async fileSizes(paths: readonly string[], signal?: AbortSignal): Promise<FileSize[]> {
    if (paths.length === 0) return [];
    const content = Buffer.from(pathList(allShards(paths).map((path) => ({ path, bytes: 0 }))));
    return filesInAnswer(
      await this.#ask({ verb: ["sizes"], download: { folder: "/" }, content }, READ_MS, signal),
    );
  }

  /**
   * Deletes regular files, each only while it still has the size that was shown.
   *
   * @returns those that are still there, with the reason
   * @throws {HostError}
   */
  async deleteFiles(files: readonly FileSize[], signal?: AbortSignal): Promise<FileSize[]> {
    const regular = files.filter(({ kind }) => kind === "file");
    if (regular.length === 0) return [];
    const content = Buffer.from(pathList(regular));
    return filesInAnswer(
      await this.#ask({ verb: ["delete"], download: { folder: "/" }, content }, WRITE_MS, signal),
    );
  }

  async #ask(request: HostRequest, timeoutMs: number, signal: AbortSignal | undefined): Promise<Answer> {
    const { host, mode } = this.#shell.settings;
    if (mode === "wrapper" && host !== "local") throw wrapperFault(host);
    const answer = await this.#shell.ask(request, { timeoutMs, signal });
    if (answer.error !== undefined) throw this.#fault(answer.error, answer.detail);
    return answer;
  }

  #states(answer: Answer): DownloadState[] {
    return statesInAnswer(answer, (...fault) => this.#fault(...fault));
  }

  #fault(code: string, detail: string, isRunning = false): HostError {
    const { host } = this.#shell.settings;
    return downloadFault(code, detail, host === "local" ? "this machine" : host, isRunning);
  }
}

function sizeOf(files: readonly { bytes: number }[]): number {
  return files.reduce((sum, { bytes }) => sum + bytes, 0);
}
