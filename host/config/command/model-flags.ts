/** What of a llama-server's arguments belongs to one model, so that a command for another model cannot keep it. Pure. */
import { wordSet } from "../../../lib/text.ts";
import { canonical, takesText } from "./server-flags.ts";
import type { Word } from "./words.ts";

/**
 * What an argument has to do with the model that it was written for.
 *
 * - `file`: it is the model; `source`: it says where llama-server finds or downloads it instead
 * - `projector`: what the model needs for pictures and sound
 * - `alias`: a name of the model
 * - `own`: made for this model and no other, as a draft model
 * - `tuned`: a choice that suits this model, and may suit another
 */
export type Bond = "file" | "source" | "projector" | "alias" | "own" | "tuned";

// The names of llama.cpp 0.7.0's `--help`.
const BONDS: Readonly<Record<Bond, ReadonlySet<string>>> = {
  file: wordSet("-m --model"),
  source: wordSet("-mu --model-url -dr --docker-repo -hf -hfr --hf-repo -hff --hf-file -hft --hf-token"),
  projector: wordSet("-mm --mmproj -mmu --mmproj-url --mmproj-auto --no-mmproj --no-mmproj-auto"),
  alias: wordSet("-a --alias --tags"),
  own: wordSet(
    "--lora --lora-scaled --lora-init-without-apply --control-vector --control-vector-scaled --control-vector-layer-range --chat-template --chat-template-file --chat-template-kwargs --override-kv --logit-bias -l --rope-scaling --rope-scale --rope-freq-base --rope-freq-scale --yarn-orig-ctx --yarn-ext-factor --yarn-attn-factor --yarn-beta-slow --yarn-beta-fast -lcs --lookup-cache-static -lcd --lookup-cache-dynamic --log-file -md -hfd -hfrd -td -tbd -Cd -Crd -Cbd -otd -cmoed -ncmoed -devd -ngld -ctkd -ctvd -cd",
  ),
  tuned: wordSet(
    "--temp --temperature --top-k --top-p --min-p --top-nsigma --top-n-sigma --xtc-probability --xtc-threshold --typical --typical-p --repeat-last-n --repeat-penalty --presence-penalty --frequency-penalty --dry-multiplier --dry-base --dry-allowed-length --dry-penalty-last-n --dynatemp-range --dynatemp-exp --mirostat --mirostat-lr --mirostat-ent --samplers --sampler-seq --sampling-seq --grammar --grammar-file -j --json-schema -jf --json-schema-file -r --reverse-prompt --reasoning-format -rea --reasoning --reasoning-effort --reasoning-budget --pooling --embedding --embeddings --rerank --reranking -ot --override-tensor -ncmoe --n-cpu-moe -ncffn --n-cpu-ffn",
  ),
};

/** Those of the flags above that take no value. */
const SWITCHES = wordSet(
  "--mmproj-auto --no-mmproj --no-mmproj-auto --lora-init-without-apply --embedding --embeddings --rerank --reranking -cmoed --cpu-moe-draft --spec-draft-cpu-moe --spec-draft-backend-sampling --no-spec-draft-backend-sampling",
);

/** A flag that names a model which llama-server downloads, as `--gpt-oss-20b-default`. */
const READY_MADE = /^--(embd-gemma|fim-qwen|gpt-oss|vision-gemma)-.*(default|spec)$/;

/** The bond of a flag; undefined for one that any model may have. @param value of the flag */
function bondOf(flag: string, value: string): Bond | undefined {
  const name = canonical(flag);
  if (READY_MADE.test(name)) return "source";
  // What the model drafts itself from its own words fits every model.
  if (name === "--spec-type") return value.startsWith("draft") ? "own" : undefined;
  if (/^--(no-)?spec-draft-|^--draft(-|$)|^--.+-draft$/.test(name)) return "own";
  return (Object.keys(BONDS) as Bond[]).find((bond) => BONDS[bond].has(name));
}

/** How many words of a flag follow it. */
function valuesOf(flag: string): number {
  const name = canonical(flag);
  if (SWITCHES.has(name) || READY_MADE.test(name)) return 0;
  return name === "--control-vector-layer-range" ? 2 : 1;
}

/** An argument that is bound to its model, with the words that it takes. */
export interface BoundFlag {
  readonly bond: Bond;
  /** As written. */
  readonly name: string;
  readonly value: string;
  readonly words: readonly Word[];
  /** Whether the value stands in the flag's own word, after a `=`. */
  readonly isJoined: boolean;
}

/** The arguments that are bound to their model, in order. */
export function boundFlags(args: readonly Word[]): BoundFlag[] {
  const found: BoundFlag[] = [];
  for (let at = 0; at < args.length; at += 1) {
    const word = args[at];
    if (!word) break;
    const [, name = "", sign = "", joined = ""] = /^(-[^=]*)(=?)(.*)$/s.exec(word.value.text) ?? [];
    const next = args[at + 1]?.value.text ?? "";
    const isJoined = sign === "=";
    const bond = name === "" ? undefined : bondOf(name, isJoined ? joined : next);
    if (bond !== undefined) {
      const count = isJoined ? 0 : valuesOf(name);
      const words = args.slice(at, at + 1 + count);
      const value = isJoined
        ? joined
        : words
            .slice(1)
            .map((item) => item.value.text)
            .join(" ");
      found.push({ bond, name, value, words, isJoined });
      at += count;
    } else if (!isJoined && takesText(name)) at += 1;
  }
  return found;
}

/** The bond of an option of a preset: a flag without its dashes, or its variable. */
export function bondOfKey(key: string, value: string): Bond | undefined {
  const long = key.startsWith("LLAMA_ARG_") ? key.slice(10).toLowerCase() : key;
  return key === "HF_TOKEN" ? "source" : (bondOf(`--${long}`, value) ?? bondOf(`-${key}`, value));
}
