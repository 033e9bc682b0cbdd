import { type Hub, startHub } from "./hub.ts";

const MIB = 2 ** 20;
const GIB = 2 ** 30;
/** Slow enough that a download can be watched, left and found again. */
const BYTES_PER_SECOND = 3 * MIB;

/** The demo's stand-in for Hugging Face. Its models are made up, and those of gigabytes are only listed. */
export function startDemoHub(): Promise<Hub> {
  return startHub({
    bytesPerSecond: BYTES_PER_SECOND,
    repositories: {
      "aviary/Wren-0.6B-GGUF": {
        downloads: 48_210,
        gguf: { architecture: "wren", context_length: 40_960 },
        files: {
          "README.md": "# Wren 0.6B\n",
          "Wren-0.6B-Q4_K_M.gguf": { bytes: 24 * MIB, seed: "wren-4" },
          "Wren-0.6B-Q8_0.gguf": { bytes: 40 * MIB, seed: "wren-8" },
          "Wren-0.6B-BF16.gguf": { bytes: 76 * MIB, seed: "wren-16" },
        },
      },
      "aviary/Kestrel-VL-2B-GGUF": {
        downloads: 9_874,
        gguf: { architecture: "kestrel", context_length: 131_072 },
        files: {
          "Kestrel-VL-2B-Q4_K_M-00001-of-00002.gguf": { bytes: 20 * MIB, seed: "kestrel-1" },
          "Kestrel-VL-2B-Q4_K_M-00002-of-00002.gguf": { bytes: 16 * MIB, seed: "kestrel-2" },
          "mmproj-F16.gguf": { bytes: 6 * MIB, seed: "kestrel-eyes" },
        },
      },
      "aviary/Albatross-235B-A22B-GGUF": {
        downloads: 1_240_000,
        gguf: { architecture: "albatross", context_length: 262_144 },
        files: {
          "UD-IQ2_XXS/Albatross-235B-A22B-UD-IQ2_XXS.gguf": { listed: 66 * GIB },
          "Q3_K_M/Albatross-235B-A22B-Q3_K_M-00001-of-00002.gguf": { listed: 46 * GIB },
          "Q3_K_M/Albatross-235B-A22B-Q3_K_M-00002-of-00002.gguf": { listed: 45 * GIB },
          "Q8_0/Albatross-235B-A22B-Q8_0.gguf": { listed: 250 * GIB },
        },
      },
      "aviary/Heron-9B-GGUF": {
        downloads: 310_500,
        gated: "manual",
        gguf: { architecture: "heron", context_length: 32_768 },
        files: { "Heron-9B-Q4_K_M.gguf": { listed: Math.round(5.6 * GIB) } },
      },
      "aviary/Wren-0.6B": { downloads: 99_100, files: { "model.safetensors": "not for llama.cpp" } },
    },
  });
}
