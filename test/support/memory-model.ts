/** Models for a real llama-server whose answers do not matter, but whose memory does: all weights are zero. */
import { gguf, type MetadataValue, type Tensor } from "./gguf.ts";
import { TRAINED_CONTEXT, tokenizer } from "./tiny-model.ts";

const WIDTH = 256;
const HEADS = 4;
const HEAD = 64;
const FEED_FORWARD = 2048;
const LAYERS = 6;

function tensor(name: string, ...shape: readonly number[]): Tensor {
  return { name, shape, values: new Float32Array(shape.reduce((product, size) => product * size, 1)) };
}

function sizes(architecture: string): Record<string, MetadataValue> {
  const own: Record<string, MetadataValue> = {
    context_length: { uint32: TRAINED_CONTEXT },
    embedding_length: { uint32: WIDTH },
    block_count: { uint32: LAYERS },
    feed_forward_length: { uint32: FEED_FORWARD },
    "attention.head_count": { uint32: HEADS },
    "attention.head_count_kv": { uint32: HEADS },
    "attention.layer_norm_rms_epsilon": { float32: 1e-6 },
    "attention.key_length": { uint32: HEAD },
    "attention.value_length": { uint32: HEAD },
  };
  return {
    "general.architecture": { text: architecture },
    ...Object.fromEntries(Object.entries(own).map(([key, value]) => [`${architecture}.${key}`, value])),
    ...tokenizer(),
  };
}

function tensors(vocabulary: number, perLayer: (at: number) => Tensor[]): Tensor[] {
  return [
    tensor("token_embd.weight", WIDTH, vocabulary),
    tensor("output_norm.weight", WIDTH),
    tensor("output.weight", WIDTH, vocabulary),
    ...Array.from({ length: LAYERS }, (_, at) => perLayer(at)).flat(),
  ];
}

function attentionLayer(at: number): Tensor[] {
  const name = (part: string): string => `blk.${at}.${part}.weight`;
  return [
    tensor(name("attn_norm"), WIDTH),
    ...["attn_q", "attn_k", "attn_v"].map((part) => tensor(name(part), WIDTH, HEADS * HEAD)),
    tensor(name("attn_output"), HEADS * HEAD, WIDTH),
    tensor(name("ffn_norm"), WIDTH),
    ...["ffn_gate", "ffn_up"].map((part) => tensor(name(part), WIDTH, FEED_FORWARD)),
    tensor(name("ffn_down"), FEED_FORWARD, WIDTH),
  ];
}

function vocabularyOf(metadata: Record<string, MetadataValue>): number {
  const tokens = metadata["tokenizer.ggml.tokens"];
  return tokens !== undefined && "texts" in tokens ? tokens.texts.length : 0;
}

/** Attention in every layer: 45 MiB of weights, and with 32,768 tokens in 16 bits 192 MiB of context. */
export function attentionModel(): Buffer {
  const metadata = { ...sizes("llama"), "llama.rope.dimension_count": { uint32: HEAD } };
  return gguf(metadata, tensors(vocabularyOf(metadata), attentionLayer));
}

/** The same with a window of 1024 tokens in five layers of six, as Gemma 3 has it. */
export function windowModel(): Buffer {
  const metadata = { ...sizes("gemma3"), "gemma3.attention.sliding_window": { uint32: 1024 } };
  return gguf(
    metadata,
    tensors(vocabularyOf(metadata), (at) => [
      ...attentionLayer(at),
      ...["attn_q_norm", "attn_k_norm"].map((part) => tensor(`blk.${at}.${part}.weight`, HEAD)),
      ...["post_attention_norm", "post_ffw_norm"].map((part) => tensor(`blk.${at}.${part}.weight`, WIDTH)),
    ]),
  );
}
