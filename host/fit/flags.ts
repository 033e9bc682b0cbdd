/**
 * The flags of llama-server that its memory depends on, by `llama-server --help` and `llama-fit-params --help` of
 * llama.cpp 0.7.0. `ai-server-admin` has the same list.
 */
import { wordSet } from "../../lib/text.ts";

export interface FlagKind {
  /** As the tool spells it, without dashes. */
  readonly name: string;
  /** All spellings, without dashes. */
  readonly names: ReadonlySet<string>;
  readonly variables: ReadonlySet<string>;
  /** `switch`: without a value; `choice`: the value may be missing. */
  readonly takes: "value" | "choice" | "switch";
  /** The counter-flag of a switch, which wins over it where it comes later. */
  readonly opposite?: string;
}

/** @param names all spellings, @param variables those that set the same; the first name is the tool's own */
function flag(
  names: string,
  variables: string,
  takes: FlagKind["takes"] = "value",
  opposite?: string,
): FlagKind {
  const [name = ""] = names.split(" ");
  const kind = { name, names: wordSet(names), variables: wordSet(variables), takes };
  return opposite === undefined ? kind : { ...kind, opposite };
}

/** What is handed on to the tool. */
export const PASSED: readonly FlagKind[] = [
  flag("model m", "LLAMA_ARG_MODEL"),
  flag("hf-repo hf hfr", "LLAMA_ARG_HF_REPO"),
  flag("hf-file hff", "LLAMA_ARG_HF_FILE"),
  flag("batch-size b", "LLAMA_ARG_BATCH"),
  flag("ubatch-size ub", "LLAMA_ARG_UBATCH"),
  flag("flash-attn fa", "LLAMA_ARG_FLASH_ATTN", "choice"),
  flag("swa-full", "LLAMA_ARG_SWA_FULL", "switch"),
  flag("kv-offload kvo", "LLAMA_ARG_KV_OFFLOAD", "switch", "no-kv-offload"),
  flag("no-kv-offload nkvo", "LLAMA_ARG_NO_KV_OFFLOAD", "switch", "kv-offload"),
  flag("repack", "LLAMA_ARG_REPACK", "switch", "no-repack"),
  flag("no-repack nr", "LLAMA_ARG_NO_REPACK", "switch", "repack"),
  flag("op-offload", "LLAMA_ARG_OP_OFFLOAD", "switch", "no-op-offload"),
  flag("no-op-offload", "LLAMA_ARG_NO_OP_OFFLOAD", "switch", "op-offload"),
  flag("no-host", "LLAMA_ARG_NO_HOST", "switch"),
  flag("cache-type-k ctk", "LLAMA_ARG_CACHE_TYPE_K"),
  flag("cache-type-v ctv", "LLAMA_ARG_CACHE_TYPE_V"),
  flag("load-mode lm", "LLAMA_ARG_LOAD_MODE"),
  flag("lazy-mode lzm", "LLAMA_ARG_LAZY_MODE"),
  flag("device dev", "LLAMA_ARG_DEVICE"),
  flag("override-tensor ot", "LLAMA_ARG_OVERRIDE_TENSOR"),
  flag("override-kv", "LLAMA_ARG_OVERRIDE_KV"),
  flag("cpu-moe cmoe", "LLAMA_ARG_CPU_MOE", "switch"),
  flag("n-cpu-moe ncmoe", "LLAMA_ARG_N_CPU_MOE"),
  flag("n-cpu-ffn ncffn", "LLAMA_ARG_N_CPU_FFN"),
  flag("moe-cache-mib", "LLAMA_ARG_MOE_CACHE_MIB"),
  flag("n-gpu-layers ngl gpu-layers", "LLAMA_ARG_N_GPU_LAYERS"),
  flag("split-mode sm", "LLAMA_ARG_SPLIT_MODE"),
  flag("tensor-split ts", "LLAMA_ARG_TENSOR_SPLIT"),
  flag("main-gpu mg", "LLAMA_ARG_MAIN_GPU"),
];

/** Each of these adds to those before it; of all others the last one counts. */
export const REPEATED: ReadonlySet<string> = new Set(["override-tensor", "override-kv"]);

export const PARALLEL = flag("parallel np", "LLAMA_ARG_N_PARALLEL");
export const UNIFIED = flag("kv-unified kvu", "LLAMA_ARG_KV_UNIFIED", "switch", "no-kv-unified");
export const NOT_UNIFIED = flag("no-kv-unified no-kvu", "LLAMA_ARG_NO_KV_UNIFIED", "switch", "kv-unified");
export const PROJECTOR = flag("mmproj mm", "LLAMA_ARG_MMPROJ");
export const NO_PROJECTOR = flag("no-mmproj no-mmproj-auto", "LLAMA_ARG_NO_MMPROJ", "switch");
export const NO_PROJECTOR_OFFLOAD = flag("no-mmproj-offload", "LLAMA_ARG_NO_MMPROJ_OFFLOAD", "switch");
export const MARGIN = flag("fit-target fitt", "LLAMA_ARG_FIT_TARGET");

/** Flags that need memory which the tool does not count, with what each brings. */
export const UNCOUNTED: readonly (readonly [FlagKind, string])[] = [
  [
    flag("spec-draft-model md model-draft", "LLAMA_ARG_SPEC_DRAFT_MODEL LLAMA_ARG_MODEL_DRAFT"),
    "its draft model",
  ],
  [flag("spec-draft-hf hfd hfrd hf-repo-draft", "LLAMA_ARG_SPEC_DRAFT_HF_REPO"), "its draft model"],
  [flag("spec-type", "LLAMA_ARG_SPEC_TYPE"), "its speculative decoding"],
  [flag("lora", "LLAMA_ARG_LORA"), "its LoRA adapter"],
  [flag("lora-scaled", "LLAMA_ARG_LORA_SCALED"), "its LoRA adapter"],
  [flag("control-vector", "LLAMA_ARG_CONTROL_VECTOR"), "its control vector"],
  [flag("control-vector-scaled", "LLAMA_ARG_CONTROL_VECTOR_SCALED"), "its control vector"],
  [flag("mmproj-url mmu", "LLAMA_ARG_MMPROJ_URL"), "its projector"],
  [flag("mmproj-device mmdev", "LLAMA_ARG_MMPROJ_DEVICE"), "the device of its projector"],
  [flag("model-vocoder mv", "LLAMA_ARG_MODEL_VOCODER"), "its vocoder"],
  [flag("embedding embeddings", "LLAMA_ARG_EMBEDDINGS", "switch"), "its output of vectors"],
  [flag("rerank reranking", "LLAMA_ARG_RERANKING", "switch"), "its output of vectors"],
];

/** Types of speculative decoding that need no model and no context of their own. */
export const PLAIN_SPECULATION = /^(none|ngram-[a-z0-9-]+)(,(none|ngram-[a-z0-9-]+))*$/;

/** Flags that only ik_llama.cpp has, whose memory the tool of llama.cpp does not know. */
export const OF_IK = wordSet(
  "mla mla-use amb attention-max-batch fmoe fused-moe no-fmoe no-fused-moe ger grouped-expert-routing rtr run-time-repack ser smart-expert-reduction khad k-cache-hadamard muge merge-up-gate-experts mqkv merge-qkv gr graph-reuse smgs split-mode-graph-scheduling",
);

/** Beginnings of flags that no memory of a device depends on. */
const HARMLESS_FAMILY =
  /^(spec-|draft|log-|cors-|(no-)?(web)?ui($|-)|video-|image-|dry-|xtc-|dynatemp-|mirostat|chat-template|reasoning|rea$|ssl-|api-|models-|(no-)?models-|rope-|yarn-|cpu-(mask|range|strict)|prio|poll|slot|adaptive-|sampl|mcp-|tools|top-|min-p|temp|typical|repeat-|presence-|frequency-|grammar|json-schema|lookup-|checkpoint-|(no-)?cache-(ram|reuse|prompt|idle)|threads|mtmd-|fit|embd-|mmproj-)/;

const HARMLESS = wordSet(
  "h help usage version cl cache-list completion-bash t tb C Cr Cb Crb c ctx-size n predict n-predict keep perf no-perf p prompt f file bf binary-file e escape no-escape dt defrag-thold numa list-devices check-tensors hft hf-token log-disable v verbose offline lv verbosity s seed ignore-eos l logit-bias j jf bs backend-sampling lcs lcd kv-unified-per-slot ctxcp ctx-checkpoints swa-checkpoints cms cram r reverse-prompt sp special warmup no-warmup spm-infill pooling cb cont-batching nocb no-cont-batching context-shift no-context-shift a alias tags host port reuse-port path ag agent no-ag no-agent props metrics slots no-slots no-prefill-assistant prefill-assistant to timeout sse-ping-interval cache-prompt jinja no-jinja skip-chat-parsing no-skip-chat-parsing sps lora-init-without-apply sleep-idle-seconds mmap no-mmap mlock dio direct-io no-direct-io ndio control-vector-layer-range td tbd Cd Crd Cbd Crbd otd override-tensor-draft cmoed cpu-moe-draft ncmoed n-cpu-moe-draft devd device-draft ngld gpu-layers-draft n-gpu-layers-draft ctkd ctvd cache-type-k-draft cache-type-v-draft ctx-size-draft cd media-path nr no-webui o gan gaw grp-attn-n grp-attn-w",
);

/** Whether no memory of a device depends on a flag; others that are not in the lists above may be new. */
export function isHarmless(name: string): boolean {
  return HARMLESS.has(name) || HARMLESS_FAMILY.test(name);
}
