/** What a download asks of the server's machine, as the lines that `ai-server-download` reads. Pure. */
import { createHash } from "node:crypto";
import { shardsOf } from "../config/gguf-paths.ts";
import { shown } from "../config/refusals.ts";
import { HostError } from "../ssh/ssh-faults.ts";
import type { DownloadFile, DownloadRequest } from "./download.ts";

/** Characters of a label, of an address and of a path; a part of a path has a file system's own limit. */
const MOST_LABEL = 300;
const MOST_URL = 2000;
const MOST_PATH = 1000;
const MOST_NAME = 200;

/** Files of one model: the largest come in some hundred shards. */
const MOST_FILES = 1000;

/** The name of a download on the server: a label may hold what a file's name may not. */
export function downloadId(label: string): string {
  return createHash("sha256").update(label).digest("hex").slice(0, 16);
}

/**
 * One line with the label, then one for each file: `file <sha256> <bytes> <url> <path>`. Only the path, at the end, may
 * hold spaces.
 *
 * @throws {HostError} for anything that is not plainly a file of a repository
 */
export function requestLines({ label, files, token }: DownloadRequest): string {
  if (token !== undefined && !/^[\w.~+/=:-]{1,1000}$/.test(token)) {
    throw refusal("The token for Hugging Face contains characters that no token can have.");
  }
  if (!isLine(label, MOST_LABEL))
    throw refusal("The model's name contains characters that no repository can have.");
  if (files.length === 0 || files.length > MOST_FILES) {
    throw refusal(`${label} has ${files.length} files; between 1 and ${MOST_FILES} can be downloaded.`);
  }
  for (const key of ["path", "sha256"] as const) {
    if (new Set(files.map((file) => file[key])).size < files.length) {
      throw refusal(`${label} names a file twice.`);
    }
  }
  return `label ${label}\n${files.map(fileLine).join("")}`;
}

function fileLine({ url, path, bytes, sha256 }: DownloadFile): string {
  if (!isRelativePath(path)) throw refusal(`${shown(path)} is not a valid name for a model file.`);
  if (!isAddress(url)) throw refusal(`The address of ${shown(path)} is not one that can be downloaded from.`);
  if (!Number.isSafeInteger(bytes) || bytes <= 0) throw refusal(`The size of ${shown(path)} is not known.`);
  if (!/^[0-9a-f]{64}$/.test(sha256)) {
    throw refusal(`The repository gives no SHA-256 for ${shown(path)}, so its content could not be checked.`);
  }
  return `file ${sha256} ${bytes} ${url} ${path}\n`;
}

/** Lines `path <bytes> <path>` for files anywhere on the machine. @throws {HostError} */
export function pathList(files: readonly { path: string; bytes: number }[]): string {
  return files
    .map(({ path, bytes }) => {
      if (!path.startsWith("/") || !isLine(path, MOST_PATH) || path.split("/").includes("..")) {
        throw refusal(`${shown(path)} is not the absolute path of a file.`);
      }
      return `path ${bytes} ${path}\n`;
    })
    .join("");
}

/** With all shards of each file: llama-server takes the path of the first one. */
export function allShards(paths: readonly string[]): string[] {
  return [...new Set(paths.flatMap(shardsOf))];
}

/** Nothing hidden, nothing above the folder, and no space at an end, which a shell that reads a line drops. */
function isRelativePath(path: string): boolean {
  return (
    isLine(path, MOST_PATH) &&
    path.split("/").every((part) => !/^$|^[.\s]|\s$/.test(part) && Buffer.byteLength(part) <= MOST_NAME)
  );
}

/** Without credentials, and without what a URL should have encoded: it becomes a quoted word of curl's config. */
function isAddress(url: string): boolean {
  if (url.length > MOST_URL || !/^https?:\/\/[\w.:[\]-]+\/[!#-;=?-[\]_a-z~]*$/i.test(url)) return false;
  return URL.canParse(url);
}

function isLine(text: string, most: number): boolean {
  return text.length > 0 && text.length <= most && !/[\p{C}\p{Zl}\p{Zp}]|^\s|\s$/u.test(text);
}

function refusal(message: string): HostError {
  return new HostError(`${message} Nothing was downloaded.`, "bad-request", { link: "ssh" });
}
