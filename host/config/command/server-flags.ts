import { wordSet } from "../../../lib/text.ts";
import { sliceTraced, type TracedText } from "../traced-text.ts";
import type { Program } from "./programs.ts";
import type { Word } from "./words.ts";

export interface Arguments {
  readonly args: readonly Word[];
  readonly program: Program;
}

/** A flag that was found, with the words that it takes. */
export interface Flag {
  readonly name: string;
  readonly value: TracedText;
  readonly words: readonly Word[];
}

/** Flags that only llama.cpp's programs have; their `-c` sets the context size. */
const LLAMA_FLAGS = wordSet(
  "-ngl --n-gpu-layers -hf -hfr --hf-repo -ctk -ctv --cache-type-k --cache-type-v --jinja -kvu --kv-unified --ubatch-size",
);

/** llama-server's flags whose value may be any text, one that looks like a flag included. */
const TEXT_FLAGS = wordSet(
  "-m --model -mu --model-url -md --model-draft --spec-draft-model -mm --mmproj -mmu --mmproj-url -dr --docker-repo -hf -hfr --hf-repo -hff --hf-file -hft --hf-token -hfd -hfrd --hf-repo-draft --lora --control-vector --log-file --grammar --grammar-file -j --json-schema -jf --json-schema-file -lcs --lookup-cache-static -lcd --lookup-cache-dynamic -r --reverse-prompt -p --prompt -f --file -sys --system-prompt -a --alias --tags --host --path --api-prefix --api-key --api-key-file --ssl-key-file --ssl-cert-file --chat-template --chat-template-file --chat-template-kwargs --slot-save-path --media-path --models-dir --models-preset --dry-sequence-breaker --override-kv -ot --override-tensor",
);

/** Whether a program that is not known, as a script, hands its arguments on to one of llama.cpp's. */
function looksLikeLlama(args: readonly Word[]): boolean {
  return args.some(({ value }) => LLAMA_FLAGS.has(value.text.replace(/=.*$/s, "")));
}

/** llama.cpp reads `_` in long flags as `-` (`common_params_parse_ex` in its `common/arg.cpp`). */
export function canonical(flag: string): string {
  return flag.startsWith("--") ? flag.replaceAll("_", "-") : flag;
}

/** Whether a flag's next word is its value, whatever it looks like. */
export function takesText(flag: string): boolean {
  return TEXT_FLAGS.has(canonical(flag));
}

/**
 * All places where one of these flags is given, in order; llama-server takes the last. Values of other flags that
 * only look like it are not among them.
 */
export function flagsNamed(server: Arguments, names: readonly string[]): Flag[] {
  const found: Flag[] = [];
  for (let at = 0; at < server.args.length; at += 1) {
    const word = server.args[at];
    if (!word) break;
    const { text } = word.value;
    const equals = text.indexOf("=");
    const joined = equals > 0 ? canonical(text.slice(0, equals)) : "";
    const next = server.args[at + 1];
    if (names.includes(canonical(text))) {
      const value = next?.value ?? { text: "", traces: [] };
      found.push({ name: text, value, words: next ? [word, next] : [word] });
      at += 1;
    } else if (names.includes(joined)) {
      found.push({ name: text.slice(0, equals), value: sliceTraced(word.value, equals + 1), words: [word] });
    } else if (takesText(text)) at += 1;
  }
  return found;
}

/** All flags in order, each with the word after it where that can be its value. */
export function allFlags(server: Arguments): { name: string; value: string | undefined }[] {
  const found: { name: string; value: string | undefined }[] = [];
  for (let at = 0; at < server.args.length; at += 1) {
    const text = server.args[at]?.value.text ?? "";
    if (!/^--?[a-z]/i.test(text)) continue;
    const [, joined, value] = /^(--[^=]+)=(.*)$/s.exec(text) ?? [];
    const next = server.args[at + 1]?.value.text;
    const isValue = next !== undefined && (TEXT_FLAGS.has(canonical(text)) || !/^-\D/.test(next));
    if (joined !== undefined) found.push({ name: canonical(joined), value });
    else found.push({ name: canonical(text), value: isValue ? next : undefined });
    if (joined === undefined && isValue) at += 1;
  }
  return found;
}

/** The words that are no value of a flag whose value may be any text. */
export function flagWords(server: Arguments): Word[] {
  return server.args.filter((_, at) => !takesText(server.args[at - 1]?.value.text ?? ""));
}

/** The last of some switches, or undefined when none is given. */
export function lastSwitch(server: Arguments, names: readonly string[]): string | undefined {
  return server.args.map((word) => canonical(word.value.text)).findLast((text) => names.includes(text));
}

/** Where the context size of this program is set: `-c` means something else to most others. */
export function contextFlags(server: Arguments): Flag[] {
  const { kind, sizeFlags } = server.program;
  const isLike = kind === "unknown" && looksLikeLlama(server.args);
  return flagsNamed(server, isLike ? ["--ctx-size", "-c"] : sizeFlags.map(canonical));
}

/**
 * How a new argument of llama-server is written so that it looks like the others of this command; never as
 * `--ctx-size=N`, for which it does not start.
 */
export function contextArgument(server: Arguments, tokens: number): string {
  const texts = server.args.map((word) => word.value.text);
  const long = texts.filter((text) => /^--[a-z]/i.test(text));
  const short = texts.filter((text) => /^-[a-z]/i.test(text));
  return short.length > long.length ? `-c ${tokens}` : `--ctx-size ${tokens}`;
}
