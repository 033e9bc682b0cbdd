import { mkdirSync, truncateSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { GPU } from "./performance.ts";
import type { Sim } from "./server.ts";

const GIB = 2 ** 30;

/** The folder that the models of `demo.yaml` are in. */
const FOLDER = "/srv/models";

/** The files that `demo.yaml` names, with the size that they seem to have, and what each model was trained for. */
const FILES: readonly (readonly [name: string, gib: number, trained: number])[] = [
  ["Qwen3.6-35B-A3B-Q8_0.gguf", 34.8, 262_144],
  ["mmproj-Qwen3.6-35B-A3B-F16.gguf", 0.8, 0],
  ["MiniMax-M2.7-IQ3_XXS-00001-of-00003.gguf", 26.5, 196_608],
  ["MiniMax-M2.7-IQ3_XXS-00002-of-00003.gguf", 26.5, 0],
  ["MiniMax-M2.7-IQ3_XXS-00003-of-00003.gguf", 26.5, 0],
  ["gemma-4-E4B-it-Q4_K_M.gguf", 5, 131_072],
];

/** Weights in MiB, and MiB of context for 1024 tokens: about what such models take. */
const LLAMA_FIT_PARAMS = `#!/bin/sh
case $* in *--help*)
  printf '%s\\n' '-m, --model FNAME' '-c, --ctx-size N' '-np, --parallel N' '-fa, --flash-attn [on|off|auto]' \\
    '-ctk, --cache-type-k TYPE' '-ctv, --cache-type-v TYPE' '-fitp, --fit-print [on|off]'
  exit ;;
esac
last= model= size=4096
for word; do
  case $last in --model) model=$word ;; --ctx-size) size=$word ;; esac
  last=$word
done
case $model in
  *Qwen3.6-35B*) weights=35600 context=24 ;;
  *MiniMax-M2.7*) weights=81400 context=124 ;;
  *gemma-4-E4B*) weights=5100 context=14 ;;
  *) weights=$(($(wc -c <"$model") / 1048576)) context=6 ;;
esac
echo "CUDA0 $weights $((context * size / 1024)) 310"
echo "Host 480 0 24"
`;

/** The config of the demo with its models in another folder. */
export function inFolder(config: string, folder: string): string {
  return config.replaceAll(FOLDER, folder);
}

/** Makes files of models that hold nothing but what a model was trained for, and take no room on the disk. */
export function writeDemoModels(folder: string): void {
  for (const [name, gib, trained] of FILES) {
    const path = join(folder, name);
    const size = Buffer.alloc(8);
    size.writeUInt32LE(4);
    size.writeUInt32LE(trained, 4);
    const key = trained > 0 ? [Buffer.from("demo.context_length"), size] : [];
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, Buffer.concat([Buffer.from("GGUF"), ...key]));
    truncateSync(path, Math.round(gib * GIB));
  }
}

/**
 * Puts stand-ins for llama.cpp's programs into a folder: those that say what fits.
 *
 * @param sim whose GPU's memory they show
 */
export function writeDemoTools(folder: string, sim: Pick<Sim, "followMemory">): void {
  const used = join(folder, "used-memory");
  sim.followMemory((megabytes) => writeFileSync(used, `${megabytes}\n`));
  const free = `$((${GPU.total} - $(cat '${used}')))`;
  const llamaServer = `#!/bin/sh
[ "$*" = --list-devices ] || { echo 'The demo starts no llama-server.' >&2; exit 1; }
echo 'Available devices:'
echo "  CUDA0: ${GPU.name} (${GPU.total} MiB, ${free} MiB free)"
`;
  writeFileSync(join(folder, "llama-server"), llamaServer, { mode: 0o755 });
  writeFileSync(join(folder, "llama-fit-params"), LLAMA_FIT_PARAMS, { mode: 0o755 });
}
