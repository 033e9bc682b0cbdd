/**
 * A language model for a real llama-server: of the `llama` architecture, about a megabyte large, and made by hand so
 * that it says the same on every machine. Each token of its scripts names the next one; at the end of a prompt one
 * attention head looks for the words that choose a script. Text from elsewhere is read word by word.
 */
import { readFileSync } from "node:fs";
import { gguf, type MetadataValue, type Tensor } from "./gguf.ts";

/** The longest context that the model has, in tokens. */
export const TRAINED_CONTEXT = 32_768;

/** Words in a prompt that choose what the model says, and what that is; the last ones count, without any it says `text`. */
export const SCRIPTS = {
  text: { cue: undefined, pieces: ["Hello", ", ", "I", " am", " a", " tiny", " model", "."] },
  /** Never ends by itself. */
  endless: {
    cue: "count endlessly",
    pieces: [" one", " two", " three", " four", " five", " six", " seven", " eight", " nine", " ten"],
  },
  /** One call; once its result is in the prompt, the model says `text`. */
  tool: {
    cue: "call a tool",
    pieces: [
      "<tool_call>",
      '\n{"name": "',
      "bash",
      '", "arguments": {"command": "',
      "echo tiny",
      '"}}\n',
      "</tool_call>",
    ],
  },
} as const;

/** What the model thinks first, where the template leaves it a choice. */
export const THOUGHT = ["\nThe", " user", " wants", " an", " answer", ".\n"] as const;

const CONTROL_TOKENS = ["<|im_start|>", "<|im_end|>"] as const;
const MARKS = ["<think>", "</think>", "<tool_call>", "</tool_call>", "<tool_response>", "</tool_response>"];
const END = "<|im_end|>";
const TOOL_RESULT = "<tool_response>";
/** The last tokens of a prompt: of one that leaves the model the choice to think, and of one that does not. */
const BEFORE_THINKING = "assistant\n";
const BEFORE_ANSWER = "\n\n";

/** Words that keep an ordinary prompt from being as many tokens as it has characters. */
const WORDS = (
  "a about after all also an and any are as at be because been before both but by can code command content could " +
  "current default do does each edit error example file files first for from function get given has have how if in " +
  "input into is it its item just like line lines list make may message model more most must name new no not of on " +
  "one only or other our out output over path please read result run same see set should show so some string such " +
  "text than that the their them then there these they this to tool tools type up use used user uses using value " +
  "was we were what when where which will with without word would write you your number object required properties " +
  "description parameters function additional working directory"
).split(" ");
const FRAGMENTS = (
  "er ed es en ing ion tion ment able ate al ar at an in is it le ly ll ne nt on or ou re ro se st te th ti ve ur un us " +
  "co de di do ex he hi lo ma me mo no pa po pr pre qu sh si so su ta to tr vi wi wo"
).split(" ");
const SIGNS = [
  '": "',
  '", "',
  '": {"',
  '"}',
  "  ",
  "    ",
  ". ",
  ", ",
  ": ",
  "\n- ",
  ".\n",
  "\n\n",
  "```",
  "/",
];

const TYPE = { normal: 1, control: 3, own: 4, byte: 6 } as const;
const WIDTH = 128;
const FEED_FORWARD = 32;
/** Width of the attention head: nearly all the work of a long prompt. */
const HEAD = 32;
/** Everything that is in no script shares one dimension. */
const OTHER = 0;
/** How far a cue stands out from all other tokens of a prompt, however long that is; more than `RECENCY`. */
const SHARPNESS = 10.3;
/** How far a cue stands out from one that is further back, over the 13,600 tokens of a quarter turn. */
const RECENCY = 9.4;
/** How surely a token is followed by its successor, by the script that a cue chose, and by `text`. */
const NEXT = 12;
const CHOSEN = 6;
const DEFAULT = 2;

/** The tokens as RWKV vocabularies hold them: bytes, escaped as in Python. */
function escaped(token: string): string {
  return [...Buffer.from(token)]
    .map((byte) => {
      if (byte === 0x5c) return "\\\\";
      return byte >= 0x20 && byte < 0x7f
        ? String.fromCharCode(byte)
        : `\\x${byte.toString(16).padStart(2, "0")}`;
    })
    .join("");
}

interface Vocabulary {
  tokens: string[];
  types: number[];
  idOf: ReadonlyMap<string, number>;
}

function vocabulary(): Vocabulary {
  const bytes = Array.from({ length: 256 }, (_, byte) => `\\x${byte.toString(16).padStart(2, "0")}`);
  const cues = Object.values(SCRIPTS).flatMap(({ cue }) => cue ?? []);
  const pieces = Object.values(SCRIPTS).flatMap((script): readonly string[] => script.pieces);
  const words = WORDS.flatMap((word) => [word, ` ${word}`]);
  const special = new Set<string>([...CONTROL_TOKENS, ...MARKS]);
  const plain = new Set(
    [...cues, ...pieces, ...THOUGHT, BEFORE_THINKING, BEFORE_ANSWER, ...words, ...FRAGMENTS, ...SIGNS].filter(
      (token) => token.length > 1 && !special.has(token),
    ),
  );
  const all = [...plain, ...special];
  const idOf = new Map(all.map((token, at) => [token, bytes.length + at]));
  for (let byte = 0x20; byte < 0x7f; byte += 1) idOf.set(String.fromCharCode(byte), byte);
  return {
    tokens: [...bytes, ...[...plain].map(escaped), ...special],
    types: [
      ...bytes.map(() => TYPE.byte),
      ...[...plain].map(() => TYPE.normal),
      ...CONTROL_TOKENS.map(() => TYPE.control),
      ...MARKS.map(() => TYPE.own),
    ],
    idOf,
  };
}

/** Every token of a script with the one that follows it. */
function successors(): Map<string, string> {
  const after = new Map<string, string>();
  const chain = (...tokens: readonly string[]): void => {
    tokens.slice(1).forEach((token, at) => {
      const before = tokens[at] ?? "";
      if (after.has(before)) throw new Error(`Two tokens follow ${JSON.stringify(before)}`);
      after.set(before, token);
    });
  };
  const { text, endless, tool } = SCRIPTS;
  chain(BEFORE_THINKING, "<think>", ...THOUGHT, "</think>", BEFORE_ANSWER);
  chain(...text.pieces, END);
  chain(...tool.pieces, END);
  chain(...endless.pieces, endless.pieces[0]);
  return after;
}

/** A matrix as GGUF lays it out, set cell by cell. */
class Matrix {
  readonly tensor: Tensor;
  readonly #inputs: number;

  constructor(name: string, inputs: number, outputs: number) {
    this.tensor = { name, shape: [inputs, outputs], values: new Float32Array(inputs * outputs) };
    this.#inputs = inputs;
  }

  set(output: number, input: number, value: number): void {
    if (input >= this.#inputs) throw new Error(`${this.tensor.name} has no input ${input}`);
    this.tensor.values[output * this.#inputs + input] = value;
  }
}

/** What each dimension of the model's inner state stands for. */
class Meaning {
  /** The tokens that have a dimension of their own; it is set where the state is at that token. */
  readonly tokens: readonly string[];
  /** The state also says of these tokens whether the prompt has one. */
  readonly cues: readonly string[];

  constructor(after: ReadonlyMap<string, string>) {
    this.cues = [...Object.values(SCRIPTS).flatMap(({ cue }) => cue ?? []), TOOL_RESULT];
    this.tokens = [...new Set([...after.keys(), BEFORE_ANSWER, ...this.cues])];
  }

  at(token: string): number {
    // Zero stands for all the others.
    return this.tokens.indexOf(token) + 1;
  }

  seen(cue: string): number {
    return this.tokens.length + 1 + this.cues.indexOf(cue);
  }
}

function embeddings({ tokens }: Vocabulary, id: (token: string) => number, meaning: Meaning): Tensor {
  const embedding = new Matrix("token_embd.weight", WIDTH, tokens.length);
  for (let token = 0; token < tokens.length; token += 1) embedding.set(token, OTHER, 1);
  for (const token of meaning.tokens) {
    embedding.set(id(token), OTHER, 0);
    embedding.set(id(token), meaning.at(token), 1);
  }
  return embedding.tensor;
}

/** One head with which every token looks for cues, and remembers which it has seen. */
function attention(meaning: Meaning): Tensor[] {
  const query = new Matrix("blk.0.attn_q.weight", WIDTH, HEAD);
  const key = new Matrix("blk.0.attn_k.weight", WIDTH, HEAD);
  const value = new Matrix("blk.0.attn_v.weight", WIDTH, HEAD);
  const output = new Matrix("blk.0.attn_output.weight", HEAD, WIDTH);
  // In the pair of dimensions that the rotary embedding turns least, so that the distance does not matter.
  const matched = HEAD - 2;
  // In a pair that it turns by 0.0001 a token: at right angles to each other, so that distance counts against a cue.
  const [ahead, aside] = [14, 15];
  for (let input = OTHER; input <= meaning.tokens.length; input += 1) {
    query.set(matched, input, SHARPNESS);
    query.set(ahead, input, RECENCY);
  }
  meaning.cues.forEach((cue, at) => {
    key.set(matched, meaning.at(cue), SHARPNESS);
    key.set(aside, meaning.at(cue), -RECENCY);
    // The norm before it makes of the one that is set the root of the width.
    value.set(at, meaning.at(cue), 1 / Math.sqrt(WIDTH));
    output.set(meaning.seen(cue), at, 1);
  });
  return [query, key, value, output].map(({ tensor }) => tensor);
}

function nextTokens(
  { tokens }: Vocabulary,
  id: (token: string) => number,
  meaning: Meaning,
  after: ReadonlyMap<string, string>,
): Tensor {
  const head = new Matrix("output.weight", WIDTH, tokens.length);
  const { text, endless, tool } = SCRIPTS;
  for (const [before, next] of after) head.set(id(next), meaning.at(before), NEXT);
  for (const end of [OTHER, meaning.at(BEFORE_ANSWER)]) head.set(id(text.pieces[0]), end, DEFAULT);
  for (const { cue, pieces } of [endless, tool]) head.set(id(pieces[0]), meaning.seen(cue), CHOSEN);
  head.set(id(tool.pieces[0]), meaning.seen(TOOL_RESULT), -NEXT);
  return head.tensor;
}

function weights(words: Vocabulary): Tensor[] {
  const after = successors();
  const meaning = new Meaning(after);
  const id = (token: string): number => {
    const found = words.idOf.get(token);
    if (found === undefined) throw new Error(`No token is ${JSON.stringify(token)}`);
    return found;
  };
  const nothing = [
    new Matrix("blk.0.ffn_gate.weight", WIDTH, FEED_FORWARD),
    new Matrix("blk.0.ffn_up.weight", WIDTH, FEED_FORWARD),
    new Matrix("blk.0.ffn_down.weight", FEED_FORWARD, WIDTH),
  ];
  return [
    embeddings(words, id, meaning),
    ...attention(meaning),
    nextTokens(words, id, meaning, after),
    ...nothing.map(({ tensor }) => tensor),
    ...["blk.0.attn_norm.weight", "blk.0.ffn_norm.weight", "output_norm.weight"].map((name) => ({
      name,
      shape: [WIDTH],
      values: new Float32Array(WIDTH).fill(1),
    })),
  ];
}

/** How the model's texts become tokens, for the file of another model that is to understand the same. */
export function tokenizer(words = vocabulary()): Record<string, MetadataValue> {
  const end = words.idOf.get(END) ?? 0;
  const template = readFileSync(new URL("./tiny-model.jinja", import.meta.url), "utf8");
  return {
    // The one tokenizer that needs no merges: always the longest token that fits.
    "tokenizer.ggml.model": { text: "rwkv" },
    "tokenizer.ggml.tokens": { texts: words.tokens },
    "tokenizer.ggml.token_type": { int32s: words.types },
    "tokenizer.ggml.eos_token_id": { uint32: end },
    "tokenizer.ggml.eot_token_id": { uint32: end },
    "tokenizer.chat_template": { text: template },
  };
}

/** The bytes of the model's GGUF file; the same at every call. */
export function tinyModel(): Buffer {
  const words = vocabulary();
  const metadata: Record<string, MetadataValue> = {
    "general.architecture": { text: "llama" },
    "general.name": { text: "tiny" },
    "llama.context_length": { uint32: TRAINED_CONTEXT },
    "llama.embedding_length": { uint32: WIDTH },
    "llama.block_count": { uint32: 1 },
    "llama.feed_forward_length": { uint32: FEED_FORWARD },
    "llama.attention.head_count": { uint32: 1 },
    "llama.attention.head_count_kv": { uint32: 1 },
    "llama.attention.layer_norm_rms_epsilon": { float32: 1e-6 },
    "llama.attention.key_length": { uint32: HEAD },
    "llama.attention.value_length": { uint32: HEAD },
    "llama.rope.dimension_count": { uint32: HEAD },
    "llama.rope.freq_base": { float32: 1e9 },
    "llama.vocab_size": { uint32: words.tokens.length },
    ...tokenizer(words),
  };
  return gguf(metadata, weights(words));
}
