/** A download on the server's machine, as plain data. */
import type { HostError } from "../ssh/ssh-faults.ts";

export interface DownloadFile {
  /** `https://host/owner/repository/resolve/<commit>/<path>`; any other address works too, but not with `hf`. */
  url: string;
  /** Where it belongs in the folder: relative, parts divided by `/`. */
  path: string;
  bytes: number;
  /** 64 digits, small letters. */
  sha256: string;
}

export interface DownloadRequest {
  /** `owner/repository:quantisation`. There is one download of each label in a folder. */
  label: string;
  /** On the server: absolute, or below `~`. */
  folder: string;
  /** The first one is the file that llama-server is started with: it gets its name last. */
  files: readonly DownloadFile[];
  /** For Hugging Face. It stays in the memory of the processes there; the next start needs it again. */
  token?: string | undefined;
}

export interface DownloadedFile {
  /** On the server, absolute. */
  path: string;
  bytes: number;
  doneBytes: number;
}

/** Everything but `running`, `waiting` and `checking` has no process any more; a new start goes on from there. */
export type DownloadStage =
  | "running"
  /** For another download that fetches the same file. */
  | "waiting"
  /** The SHA-256 of a file that has arrived. */
  | "checking"
  | "stopped"
  | "failed"
  /** All files are there under their names. */
  | "complete";

/** Whether a process of it lives. */
export function isRunning(stage: DownloadStage): boolean {
  return stage === "running" || stage === "waiting" || stage === "checking";
}

export interface DownloadState {
  id: string;
  label: string;
  files: readonly DownloadedFile[];
  doneBytes: number;
  totalBytes: number;
  stage: DownloadStage;
  /** The program that fetches, or did last. */
  program: "hf" | "curl" | undefined;
  /** Bytes a second since it was started last; undefined where nothing can be said yet, or after a problem. */
  rate: number | undefined;
  /** Why it failed or was interrupted; while it runs, what it tries again after. */
  problem: HostError | undefined;
}

/** What there is for downloads on the machine. */
export interface DownloadPlace {
  /** The folder, as an absolute path. */
  folder: string;
  /** On the file system of the folder; undefined where that is not known. */
  freeBytes: number | undefined;
  /** Those that are installed, the first one fetches. */
  programs: readonly ("hf" | "curl")[];
  /** The one that was started first comes first. */
  states: readonly DownloadState[];
}

export interface Started {
  state: DownloadState;
  /** False where it ran already. */
  isNew: boolean;
  /** A sentence, where something will end it that the user should know of. */
  warning: string | undefined;
}

/** A file on the server's machine, as it was found. */
export interface FileSize {
  path: string;
  bytes: number;
  /** Only a regular file is ever deleted; `link` leads to a file elsewhere. */
  kind: "file" | "link" | "other" | "missing";
  /** Where it is once all links are followed, those of its folders too; undefined where it leads nowhere. */
  realPath?: string | undefined;
  /** Why it could not be deleted, in the words of `rm`, or undefined. */
  problem?: string | undefined;
}
