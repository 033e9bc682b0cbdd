import { writeFileSync } from "node:fs";
import { join } from "node:path";

/** The demo's machine has one card with 96 GiB. */
const LLAMA_SERVER = `#!/bin/sh
[ "$*" = --list-devices ] || { echo 'The demo starts no llama-server.' >&2; exit 1; }
cat <<'END'
Available devices:
  Vulkan0: AMD Radeon 8060S Graphics (RADV GFX1151) (98304 MiB, 96512 MiB free)
END
`;

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
echo "Vulkan0 $weights $((context * size / 1024)) 310"
echo "Host 480 0 24"
`;

/** Puts stand-ins for llama.cpp's programs into a folder: those that say what fits. */
export function writeDemoTools(folder: string): void {
  writeFileSync(join(folder, "llama-server"), LLAMA_SERVER, { mode: 0o755 });
  writeFileSync(join(folder, "llama-fit-params"), LLAMA_FIT_PARAMS, { mode: 0o755 });
}
