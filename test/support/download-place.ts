import { existsSync, mkdirSync, readdirSync, renameSync, symlinkSync } from "node:fs";
import { join } from "node:path";
import { type DownloadRequest, type DownloadState, isRunning } from "../../host/download/download.ts";
import { ServerDownloads } from "../../host/download/downloads.ts";
import { downloadId } from "../../host/download/request.ts";
import type { Shell } from "../../host/ssh/shell.ts";
import { HubClient } from "../../huggingface/hub.ts";
import { sha256Of } from "../../sim/hub/content.ts";
import { type Hub, type HubOptions, startHub } from "../../sim/hub.ts";
import { LocalHost } from "./local-host.ts";
import { eventually } from "./processes.ts";

/** A shell of the server's: `sh` is a link to it. */
export type ServerShell = "dash" | "bash" | "busybox";

export const SHELLS: readonly ServerShell[] = ["dash", "bash", "busybox"];

/** The repository that most tests download: three shards and a projector, of sizes that take a moment. */
export const REPOSITORY = "org/Model-GGUF";
export const SHARDS = [1, 2, 3].map((n) => `Model-Q4_K_M-0000${n}-of-00003.gguf`);
export const PROJECTOR = "mmproj-F16.gguf";
const FILES = Object.fromEntries(
  [...SHARDS, PROJECTOR].map((path, at) => [path, { bytes: 200_000 + at * 50_001, seed: path }]),
);

/**
 * What `hf download` of huggingface_hub 1.x does, by its sources: a temporary name of its own below the folder, never
 * continued; the token and the hub from the environment; and a file under its name when it is whole.
 */
const HF = `
[ "$1" = download ] && [ "$4" = --revision ] && [ "$6" = --local-dir ] || exit 2
cache=$7/.cache/huggingface/download
mkdir -p "$cache" "$7/$(dirname "$3")"
part=$cache/abcdef.$$.incomplete
options() {
  printf '%s\\n' silent show-error fail location
  printf '%s = "%s"\\n' url "$HF_ENDPOINT/$2/resolve/$5/$3" output "$part"
  [ -z "$HF_TOKEN" ] || printf 'header = "Authorization: Bearer %s"\\n' "$HF_TOKEN"
}
if ! options "$@" | curl -q -K -; then
  rm -f "$part"
  echo 'huggingface_hub.errors.HfHubHTTPError' >&2
  exit 1
fi
mv "$part" "$7/$3"
echo "$7/$3"
`;

/** The server's machine, with or without ssh. */
export interface DownloadHost {
  readonly folder: string;
  readonly tools: string;
  own(path: string): void;
  tool(name: string, script: string): void;
  shell(): Shell;
  remove(): void | Promise<void>;
}

/** A server's machine, a stand-in for Hugging Face, and what is between them. */
export class DownloadPlace {
  readonly host: DownloadHost;
  readonly hub: Hub;
  readonly downloads: ServerDownloads;
  readonly label: string;
  /** The folder for models on the machine. */
  readonly folder: string;
  readonly #files: DownloadRequest["files"];

  static async start(
    shell: ServerShell = "dash",
    options: Partial<HubOptions> = {},
    host: DownloadHost = new LocalHost(""),
  ): Promise<DownloadPlace> {
    const hub = await startHub({ repositories: { [REPOSITORY]: { files: FILES } }, ...options });
    const id = Object.keys(options.repositories ?? {})[0] ?? REPOSITORY;
    const client = new HubClient({ url: hub.url, isDefault: false, token: undefined });
    const { quantisations, projectors } = await client.repository(id, new AbortController().signal);
    const files = [...(quantisations[0]?.files ?? []), ...projectors];
    return new DownloadPlace(host, shell, hub, `${id}:${quantisations[0]?.name}`, files);
  }

  private constructor(
    host: DownloadHost,
    shell: ServerShell,
    hub: Hub,
    label: string,
    files: DownloadRequest["files"],
  ) {
    this.host = host;
    this.hub = hub;
    this.label = label;
    this.#files = files;
    this.folder = join(this.host.folder, "models");
    symlinkSync(`/usr/bin/${shell}`, join(this.host.tools, "sh"));
    // A worker that waits before it tries again does not keep a test waiting.
    this.host.tool("sleep", "exec /usr/bin/sleep 0.02");
    this.downloads = this.session();
  }

  /** As another session of pi has it: with a connection of its own. */
  session(): ServerDownloads {
    return new ServerDownloads(this.host.shell());
  }

  /** Puts the stand-in for `hf` on the path. */
  installHf(): void {
    this.host.tool("hf", HF);
  }

  /** As on a machine without these programs: its scripts look for others that no machine has. */
  without(...programs: readonly string[]): void {
    const shell = join(this.host.tools, "sh");
    const real = join(this.host.tools, "real");
    mkdirSync(real);
    renameSync(shell, join(real, "sh"));
    const edits = programs.map((program) => `-e 's/has ${program}/has no-${program}/g'`).join(" ");
    this.host.tool(
      "sh",
      [
        `if [ "$1" = -s ]; then sed ${edits} | '${real}/sh' -s; exit; fi`,
        `sed ${edits} "$1" >"$1.edited"; mv "$1.edited" "$1"; exec '${real}/sh' "$@"`,
      ].join("\n"),
    );
  }

  get id(): string {
    return downloadId(this.label);
  }

  request(change: Partial<DownloadRequest> = {}): DownloadRequest {
    return { label: this.label, folder: this.folder, files: this.#files, ...change };
  }

  async state(id = this.id): Promise<DownloadState | undefined> {
    return (await this.downloads.read(this.folder)).find((state) => state.id === id);
  }

  /** Waits until the download is like this. Each look is a shell with some programs, so they are not too many. */
  async sees(
    what: string,
    isLike: (state: DownloadState) => boolean | undefined,
    id = this.id,
  ): Promise<DownloadState> {
    const look = async (): Promise<DownloadState | undefined> => {
      const state = await this.state(id);
      return state && isLike(state) ? state : undefined;
    };
    return eventually(what, look, 45_000, 100);
  }

  /** Waits until the download has no process any more. */
  async ended(id = this.id): Promise<DownloadState> {
    return this.sees("the download ends", ({ stage }) => !isRunning(stage), id);
  }

  /** Names under the folder, staging left out. */
  get names(): string[] {
    if (!existsSync(this.folder)) return [];
    return readdirSync(this.folder, { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile() && !entry.parentPath.includes(".ai-server-download"))
      .map((entry) => join(entry.parentPath, entry.name).slice(this.folder.length + 1))
      .sort();
  }

  get staged(): string[] {
    const staging = join(this.folder, ".ai-server-download");
    return existsSync(staging) ? readdirSync(staging).sort() : [];
  }

  /** That every file under a final name is the repository's, byte for byte. */
  async wrongFiles(files = this.#files): Promise<string[]> {
    const wrong = await Promise.all(
      this.names.map(async (name) => {
        const file = files.find(({ path }) => path === name);
        const hash = await sha256Of({ from: join(this.folder, name) });
        return hash === file?.sha256 ? [] : [name];
      }),
    );
    return wrong.flat();
  }

  async remove(): Promise<void> {
    const state = await this.downloads.read(this.folder).catch(() => []);
    for (const { id } of state) await this.downloads.stop(this.folder, id).catch(() => undefined);
    await this.hub.close();
    await this.host.remove();
  }
}
