import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { onTestFinished } from "vitest";
import { ServerDownloads } from "../../host/download/downloads.ts";
import { Shell } from "../../host/ssh/shell.ts";
import { type Hub, type HubOptions, startHub } from "../../sim/hub.ts";
import { type Place, startPlace } from "./command-place.ts";
import { kept } from "./wire.ts";

export const TOKEN = "hf_ReaderReaderReaderReaderReaderReade";

/** Repositories of every sort, with files of a few kilobytes. */
const REPOSITORIES: HubOptions["repositories"] = {
  "maker/Wren-GGUF": {
    downloads: 5200,
    gguf: { context_length: 40_960 },
    files: {
      "Wren-Q4_K_M.gguf": { bytes: 200_000, seed: "wren 4" },
      "Wren-Q8_0-00001-of-00002.gguf": { bytes: 150_000, seed: "wren 8 1" },
      "Wren-Q8_0-00002-of-00002.gguf": { bytes: 100_000, seed: "wren 8 2" },
    },
  },
  "maker/Kestrel-VL-GGUF": {
    downloads: 900,
    files: {
      "Kestrel-Q4_K_M.gguf": { bytes: 100_000, seed: "kestrel" },
      "mmproj-F16.gguf": { bytes: 20_000, seed: "eyes" },
    },
  },
  "maker/Gated-GGUF": {
    gated: "manual",
    readers: [TOKEN],
    files: { "Gated-Q4_K_M.gguf": { bytes: 50_000, seed: "gated" } },
  },
  "maker/Huge-GGUF": {
    files: {
      "Huge-Q4_K_M.gguf": { listed: 819_200 },
      "Huge-Q6_K.gguf": { listed: 921_600 },
      "Huge-Q8_0.gguf": { listed: 1_258_291 },
    },
  },
  "maker/Original": { files: { "model.safetensors": "x" } },
};

/** A server with its config, as `startPlace` has it, a folder for models on its machine, and a hub. */
export interface AddPlace {
  readonly place: Place;
  readonly hub: Hub;
  /** The folder for models. */
  readonly folder: string;
  readonly downloads: ServerDownloads;
  /** What is in the folder under final names. */
  names(): string[];
}

export async function startAddPlace(
  config?: string,
  hubOptions: Partial<HubOptions> = {},
): Promise<AddPlace> {
  const hub = await kept(startHub({ repositories: REPOSITORIES, ...hubOptions }));
  const folder = mkdtempSync(join(tmpdir(), "models-"));
  const variables = { HF_ENDPOINT: hub.url, AI_SERVER_MODELS_DIR: folder, HF_HOME: folder };
  const place = await startPlace(config, variables);
  const { serviceUnit } = place.aiServer.config({});
  const shell = new Shell({
    host: "local",
    mode: "direct",
    connectTimeoutMs: 0,
    keepMs: 0,
    presetPath: place.path,
    serviceUnit,
    restartCommand: undefined,
  });
  const downloads = new ServerDownloads(shell);
  onTestFinished(async () => {
    for (const { id } of await downloads.read(folder))
      await downloads.stop(folder, id).catch(() => undefined);
    rmSync(folder, { recursive: true, force: true });
  });
  const names = (): string[] =>
    readdirSync(folder, { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile() && !entry.parentPath.includes(".ai-server-download"))
      .map((entry) => join(entry.parentPath, entry.name).slice(folder.length + 1))
      .sort();
  return { place, hub, folder, downloads, names };
}
