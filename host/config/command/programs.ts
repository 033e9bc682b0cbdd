/** Programs that serve models: which one a name means, and what sets its context size. Pure. */
import { OTHER_SIZE_FLAGS as FLAGS } from "../../../lib/split-words.ts";
import { tokensOf } from "../context-setting.ts";

/** What is started, and what sets its context size. */
export interface Program {
  /**
   * Only what is known to be llama.cpp's server gets an argument that was not there. Others are known with a flag or a
   * variable of their own, or with none; of an unknown program no more is understood than a size that stands there.
   */
  readonly kind: "llama-server" | "other" | "unknown";
  /** The flags that set its context size; the first one is how its manual spells it. */
  readonly sizeFlags: readonly string[];
  /** The variable that sets it, where no flag does. */
  readonly sizeVariable?: string;
  /** Whether it reads `32k` as 32000 and `32K` as 32768. */
  readonly readsSuffixes?: boolean;
}

const LLAMA_SERVER: Program = { kind: "llama-server", sizeFlags: ["--ctx-size", "-c"] };
const UNKNOWN: Program = { kind: "unknown", sizeFlags: ["--ctx-size"] };

const SERVER = /(^|[-_.])llama[-_.]?server([-_.].*)?$/i;
const LLAMAFILE = /(^|\.)llamafile([-_][\d.]+)?$/i;
/** What llama.cpp called its server until June 2024, in its own folder. */
const OLD_SERVER = /[/\\](ik_)?llama[-_.]?cpp[/\\](.*[/\\])?server(\.exe)?$/i;
/** A script or a tool that is called after llama-server. */
const NOT_SERVER =
  /\.(log|jsonl?|ya?ml|ini|txt|conf|gguf|service|pid|sock|py|sh|bash|zsh|js|ts|rb|pl|ps1|bat|cmd)$|[-_.](proxy|exporter|wrapper|bench|client|monitor|tools?)\b/i;

/** Other servers by the name of their program, module or image, with what their manuals say of the context size. */
const OTHERS: readonly (readonly [RegExp, Omit<Program, "kind">])[] = [
  // `human_readable_int` in vLLM's `engine/arg_utils.py`.
  [/^vllm([-_.].*)?$/, { sizeFlags: [FLAGS.vllm], readsSuffixes: true }],
  [/^aphrodite([-_.].*)?$/, { sizeFlags: [FLAGS.aphrodite] }],
  [/^sglang([-_.].*)?$/, { sizeFlags: [FLAGS.sglang] }],
  [/^koboldcpp([-_.].*)?$/, { sizeFlags: [FLAGS.koboldcpp] }],
  [/^tabby(api)?$/, { sizeFlags: [FLAGS.tabby] }],
  [/^llama_cpp(\.server)?$/, { sizeFlags: [FLAGS.llamaCppPython] }],
  [/^lmdeploy$/, { sizeFlags: [FLAGS.lmdeploy] }],
  [/^text-generation-(launcher|inference)$/, { sizeFlags: [FLAGS.textGeneration] }],
  [/^trtllm-serve$/, { sizeFlags: [FLAGS.tensorRt] }],
  // They serve pictures, speech, vectors, or a model's whole length.
  [/^(sd|sd[-_](server|cli|cpp)|stable-diffusion([-_.].*)?|comfyui([-_.].*)?)$/, { sizeFlags: [] }],
  [/^(whisper([-_.].*)?|infinity(_emb)?|text-embeddings-.*|mlx_(lm|vlm|audio)(\..*)?)$/, { sizeFlags: [] }],
  [/^ollama([-_.].*)?$/, { sizeFlags: [], sizeVariable: "OLLAMA_CONTEXT_LENGTH" }],
];

/** Programs that run containers. */
export const CONTAINER_ENGINES: ReadonlySet<string> = new Set(["docker", "podman", "nerdctl"]);

export function baseName(path: string): string {
  return path.replace(/^.*[/\\]/, "");
}

/** Whether a word can only be the name of llama.cpp's server, or the path to it. */
function isServerName(path: string): boolean {
  const name = baseName(path);
  return SERVER.test(name) && !NOT_SERVER.test(name) && !name.startsWith("-");
}

function otherCalled(name: string): Program | undefined {
  const found = OTHERS.find(([pattern]) => pattern.test(name.toLowerCase()));
  return found && { kind: "other", ...found[1] };
}

/** The program that a path or a Python module names. */
export function programCalled(path: string): Program {
  const name = baseName(path);
  if (OLD_SERVER.test(`/${path}`)) return LLAMA_SERVER;
  if (isServerName(path) || (LLAMAFILE.test(name) && !name.startsWith("-"))) return LLAMA_SERVER;
  // TabbyAPI is started by a script of its folder that is called `main.py` or `start.sh`.
  const isTabby = /[/\\]tabbyapi[^/\\]*[/\\](main\.py|start\.(py|sh|bat))$/i.test(`/${path}`);
  const plain = isTabby ? "tabbyapi" : name.replace(/\.(exe|py|sh|appimage)$/i, "");
  return otherCalled(plain) ?? UNKNOWN;
}

/**
 * The program that a container's image starts by itself. llama.cpp's own images say in their tag which of its programs
 * that is; `full` starts what its first argument names (`.devops/tools.sh` in llama.cpp).
 *
 * @param reference as `ghcr.io/ggml-org/llama.cpp:server-cuda`
 */
export function programOfImage(reference: string, firstArgument: string | undefined): Program {
  const [, name = "", tag = ""] = /([^/:@]*)(?::([^/@]*))?(?:@.*)?$/.exec(reference) ?? [];
  if (/^llama[-_.]?cpp$/i.test(name)) {
    const isServer = /^server([-_.]|$)/i.test(tag);
    const isFull = /^full([-_.]|$)/i.test(tag) && /^(--server|-s)$/.test(firstArgument ?? "");
    return isServer || isFull ? LLAMA_SERVER : UNKNOWN;
  }
  return isServerName(name) ? LLAMA_SERVER : (otherCalled(name) ?? UNKNOWN);
}

/** The size that a program reads in a text; undefined where that is no number of tokens. */
export function sizeIn(program: Program, text: string): number | undefined {
  const plain = tokensOf(text);
  if (plain !== undefined) return plain;
  const [, number = "", suffix = ""] =
    (program.readsSuffixes && /^(\d{1,9}(?:\.\d+)?)([kKmM])$/.exec(text)) || [];
  const unit = { k: 1000, m: 1_000_000, K: 1024, M: 1_048_576 }[suffix];
  const isRead = unit !== undefined && (unit % 1000 === 0 || !number.includes("."));
  return isRead ? Math.floor(Number(number) * unit) : undefined;
}
