/** What the commands know of downloads on the server's machine. */
import type { DownloadPlace } from "../host/download/download.ts";
import { binarySize } from "../lib/figures.ts";
import type { ModelServer } from "../server/model-server.ts";
import { downloadWords } from "./add/download-words.ts";
import type { Call } from "./call.ts";
import type { Host } from "./host-access.ts";

/**
 * Looks over ssh, and remembers whether there are any: only then does the panel look by itself.
 *
 * @throws {ServerError}; the signal's reason
 */
export async function lookAtDownloads(
  { aiServer }: Pick<Call, "aiServer">,
  { downloads, config }: Pick<Host, "downloads" | "config">,
  signal: AbortSignal,
): Promise<DownloadPlace> {
  const place = await downloads.look(config.modelsDir, signal);
  aiServer.remembered.rememberDownloads(config, place.states.length > 0);
  return place;
}

/**
 * What there is for downloads on the server's machine, a line each: room and program, then the downloads. Nothing with
 * a key that cannot download; without the first line for a server that downloads by itself, or adds no model.
 *
 * @throws {ServerError}; the signal's reason
 */
export async function downloadLines(
  call: Pick<Call, "aiServer">,
  { kind }: Pick<ModelServer, "kind">,
  host: Pick<Host, "downloads" | "config">,
  signal: AbortSignal,
): Promise<string[]> {
  const { modelsDir, sshHost, sshMode } = host.config;
  if (sshMode === "wrapper" && sshHost !== "local") return [];
  const { freeBytes, programs, states } = await lookAtDownloads(call, host, signal);
  const downloads = states.map(downloadWords);
  if (kind !== undefined && kind !== "llama-swap") return downloads;
  const [program] = programs;
  const words = [
    ...(freeBytes === undefined ? [] : [`${binarySize(freeBytes)} free`]),
    program === undefined
      ? "no downloads: neither hf nor curl is installed there"
      : `downloads with ${program}`,
  ];
  return [`${modelsDir}: ${words.join(" · ")}`, ...downloads];
}
