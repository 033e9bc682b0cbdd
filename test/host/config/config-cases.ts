/** One configuration of `test/fixtures/configs/`, the size asked for, and the expected result. */
export interface ConfigCase {
  readonly file: string;
  readonly model: string;
  readonly tokens: number;
  /** All warnings; without it none is expected but notes about a shared `cmd`. */
  readonly warnings?: readonly string[];
  /** The sentence of the refusal; one with `*` before it is only the beginning. Without it, `NAME.expected.*` is the new text. */
  readonly refusal?: string;
}

export const CONFIG_CASES: readonly ConfigCase[] = [
  { file: "deployment.yaml", model: "MiniMax-M2.7-IQ3_XXS", tokens: 65536 },
  { file: "deployment-first.yaml", model: "Qwen_Qwen3.6-35B-A3B-Q8_0", tokens: 1048576 },
  { file: "literal.yaml", model: "a", tokens: 8192 },
  { file: "literal-strip.yaml", model: "a", tokens: 8192 },
  { file: "literal-keep.yaml", model: "a", tokens: 8192 },
  { file: "literal-indent-indicator.yaml", model: "a", tokens: 512 },
  { file: "folded.yaml", model: "a", tokens: 8192 },
  { file: "folded-strip.yaml", model: "a", tokens: 8192 },
  { file: "plain.yaml", model: "a", tokens: 8192 },
  { file: "plain-multiline.yaml", model: "a", tokens: 8192 },
  { file: "single-quoted.yaml", model: "a", tokens: 8192 },
  { file: "single-quoted-multiline.yaml", model: "a", tokens: 8192 },
  { file: "double-quoted.yaml", model: "a", tokens: 8192 },
  { file: "double-quoted-multiline.yaml", model: "a", tokens: 8192 },
  { file: "flow-mapping.yaml", model: "a", tokens: 8192 },
  { file: "quoted-ids.yaml", model: "it's $(rm -rf /) `id`", tokens: 8192 },
  { file: "id-prototype.yaml", model: "__proto__", tokens: 8192 },
  { file: "id-number.yaml", model: "7", tokens: 8192 },
  { file: "tagged.yaml", model: "a", tokens: 8192 },
  { file: "next-line.yaml", model: "a", tokens: 8192 },
  { file: "anchored-unused.yaml", model: "a", tokens: 8192 },
  { file: "json.yaml", model: "a", tokens: 8192 },
  { file: "explicit-key.yaml", model: "a", tokens: 8192 },
  {
    file: "flag-equals.yaml",
    model: "a",
    tokens: 8192,
    warnings: ['llama-server does not start with "--ctx-size=…": it takes the number after a space.'],
  },
  {
    file: "flag-short-equals.yaml",
    model: "a",
    tokens: 8192,
    warnings: ['llama-server does not start with "-c=…": it takes the number after a space.'],
  },
  { file: "flag-underscore.yaml", model: "a", tokens: 8192 },
  { file: "flag-quoted.yaml", model: "a", tokens: 8192 },
  { file: "flag-last-wins.yaml", model: "a", tokens: 8192 },
  { file: "flag-in-comments.yaml", model: "a", tokens: 8192 },
  { file: "flag-lookalikes.yaml", model: "a", tokens: 8192 },
  { file: "flag-backslashes.yaml", model: "a", tokens: 8192 },
  { file: "flag-not-a-number.yaml", model: "a", tokens: 32768 },
  { file: "flag-zero.yaml", model: "a", tokens: 32768 },
  { file: "flag-same-size.yaml", model: "a", tokens: 4096 },
  { file: "added-long.yaml", model: "a", tokens: 8192 },
  { file: "added-short.yaml", model: "a", tokens: 8192 },
  { file: "added-equals.yaml", model: "a", tokens: 8192 },
  { file: "added-line.yaml", model: "a", tokens: 8192 },
  { file: "added-line-backslash.yaml", model: "a", tokens: 8192 },
  { file: "added-line-backslash-last.yaml", model: "a", tokens: 8192 },
  { file: "added-line-no-end.yaml", model: "a", tokens: 8192 },
  { file: "added-line-crlf.yaml", model: "a", tokens: 8192 },
  { file: "added-single-quoted.yaml", model: "a", tokens: 8192 },
  { file: "added-after-quote.yaml", model: "a", tokens: 8192 },
  { file: "crlf.yaml", model: "a", tokens: 8192 },
  { file: "bom-tabs-blanks.yaml", model: "a", tokens: 8192 },
  { file: "mixed-line-ends.yaml", model: "a", tokens: 8192 },
  { file: "comments-and-order.yaml", model: "b", tokens: 8192 },
  { file: "unicode.yaml", model: "模型/é😀", tokens: 8192 },
  { file: "macro-number.yaml", model: "a", tokens: 16384 },
  { file: "macro-with-flag.yaml", model: "b", tokens: 16384 },
  { file: "macro-whole-command.yaml", model: "c", tokens: 16384 },
  { file: "macro-of-model.yaml", model: "d", tokens: 16384 },
  {
    file: "macro-of-model-used-twice.yaml",
    model: "e",
    tokens: 16384,
    warnings: ['The macro "default_ctx" stays at "8192": with it, other words of the command would change.'],
  },
  {
    file: "macro-in-note.yaml",
    model: "m1",
    tokens: 24576,
    warnings: ['The macro "ctx" stays at "16384": with it, metadata.note of this model would change too.'],
  },
  { file: "macro-only.yaml", model: "f", tokens: 16384 },
  { file: "macro-part-of-number.yaml", model: "a", tokens: 8192 },
  { file: "macro-hex.yaml", model: "a", tokens: 8192 },
  { file: "macro-underscores.yaml", model: "a", tokens: 8192 },
  { file: "macro-server-environment.yaml", model: "a", tokens: 8192 },
  { file: "macro-anchored-number.yaml", model: "b", tokens: 8192 },
  { file: "macro-shared-block.yaml", model: "b", tokens: 8192 },
  { file: "macro-model-id.yaml", model: "a-4096", tokens: 8192 },
  { file: "env-list.yaml", model: "a", tokens: 8192 },
  { file: "env-flow.yaml", model: "a", tokens: 8192 },
  { file: "env-flag-wins.yaml", model: "a", tokens: 8192 },
  { file: "env-shared.yaml", model: "a", tokens: 8192 },
  { file: "env-macro.yaml", model: "a", tokens: 8192 },
  { file: "env-program.yaml", model: "a", tokens: 8192 },
  { file: "anchor-alias.yaml", model: "a", tokens: 8192 },
  { file: "anchor-merge.yaml", model: "c", tokens: 8192 },
  { file: "anchor-merge-list.yaml", model: "d", tokens: 8192 },
  { file: "anchor-merge-flow.yaml", model: "e", tokens: 8192 },
  { file: "anchor-merge-own-command.yaml", model: "f", tokens: 8192 },
  { file: "anchor-merge-not-set.yaml", model: "b", tokens: 8192 },
  { file: "anchor-holder.yaml", model: "a", tokens: 8192 },
  { file: "anchor-holder-merge.yaml", model: "a", tokens: 8192 },
  { file: "anchor-model-macro.yaml", model: "b", tokens: 8192 },
  { file: "docker.yaml", model: "a", tokens: 8192 },
  { file: "docker-not-set.yaml", model: "a", tokens: 8192 },
  { file: "docker-env.yaml", model: "a", tokens: 8192 },
  { file: "docker-entrypoint.yaml", model: "m1", tokens: 24576 },
  { file: "vllm.yaml", model: "m1", tokens: 24576 },
  { file: "koboldcpp.yaml", model: "m1", tokens: 24576 },
  { file: "per-slot.yaml", model: "m1", tokens: 24576 },
  { file: "env-in-flow-list.yaml", model: "a", tokens: 24576 },
  { file: "wrappers.yaml", model: "a", tokens: 8192 },
  { file: "wrapper-dashes.yaml", model: "a", tokens: 8192 },
  { file: "shell-string.yaml", model: "a", tokens: 8192 },
  { file: "shell-string-quoted.yaml", model: "a", tokens: 8192 },
  {
    file: "refused-shell-newline.yaml",
    model: "a",
    tokens: 8192,
    refusal:
      "*The configuration at line 3, column 10: the string that it gives to a shell does not start exactly one llama-server in plain words.",
  },
  { file: "shell-string-not-set.yaml", model: "a", tokens: 8192 },
  { file: "other-program.yaml", model: "a", tokens: 8192 },
  { file: "script.yaml", model: "a", tokens: 8192 },
  {
    file: "declared.yaml",
    model: "a",
    tokens: 8192,
    warnings: ['metadata.contextSize (line 15, column 20) is another figure and stays at "9999".'],
  },
  { file: "declared-per-slot.yaml", model: "a", tokens: 131072 },
  { file: "declared-macro.yaml", model: "a", tokens: 8192 },
  {
    file: "declared-shared.yaml",
    model: "a",
    tokens: 8192,
    warnings: ['capabilities.context (line 3, column 12) is shared and stays at "4096".'],
  },
  {
    file: "declared-anchor-holder.yaml",
    model: "a",
    tokens: 8192,
    warnings: ['capabilities.context (line 5, column 16) is shared and stays at "4096".'],
  },
  {
    file: "declared-not-a-number.yaml",
    model: "a",
    tokens: 8192,
    warnings: [
      'The macro "ctx" stays at "4096": with it, metadata.context of this model would change too.',
      'metadata.context (line 5, column 25) is another figure and stays at "up to 4096".',
    ],
  },
  {
    file: "trained-length.yaml",
    model: "gemma",
    tokens: 24576,
    warnings: [
      'metadata.context_length (line 7, column 23) is what the model was trained for and stays at "131072".',
    ],
  },
  {
    file: "unknown-keys.yaml",
    model: "a",
    tokens: 8192,
    warnings: [
      'llama-swap ignores the key "Macros" at line 2, column 1: "macros" is probably meant.',
      'llama-swap ignores the key "Cmd" at line 7, column 5: "cmd" is probably meant.',
      'llama-swap ignores the key "ctx-size" at line 9, column 5.',
      'llama-swap ignores the key "capabilites" at line 10, column 5: "capabilities" is probably meant.',
      'llama-swap ignores the key "Context" at line 11, column 20: "context" is probably meant.',
    ],
  },
  {
    file: "refused-unknown-flag.yaml",
    model: "a",
    tokens: 8192,
    refusal:
      'The configuration at line 3, column 48: llama-server has no flag "--context-size", and does not start with it. Write `--ctx-size` in its place by hand, then try again.',
  },
  {
    file: "refused-single-dash.yaml",
    model: "m1",
    tokens: 24576,
    refusal:
      'The configuration at line 3, column 48: llama-server has no flag "-ctx-size", and does not start with it. Write `--ctx-size` in its place by hand, then try again.',
  },
  {
    file: "refused-sd-server.yaml",
    model: "image",
    tokens: 24576,
    refusal:
      'The configuration at line 4, column 10: "image" starts "sd-server", which is not llama-server and knows no --ctx-size. There is no context size to set.',
  },
  {
    file: "refused-broken-yaml.yaml",
    model: "a",
    tokens: 8192,
    refusal: "*The configuration at line 4, column",
  },
  {
    file: "refused-tab-indent.yaml",
    model: "a",
    tokens: 8192,
    refusal: "*The configuration at line 2, column 1: the YAML is broken there",
  },
  {
    file: "refused-duplicate-key.yaml",
    model: "a",
    tokens: 8192,
    refusal: "*The configuration at line 4, column 5: the YAML is broken there (Map keys must be unique)",
  },
  {
    file: "refused-two-documents.yaml",
    model: "a",
    tokens: 8192,
    refusal:
      "The configuration at line 4, column 1: a second YAML document begins there, and llama-swap reads only the first. Write all models into one document.",
  },
  {
    file: "refused-lost-alias.yaml",
    model: "a",
    tokens: 8192,
    refusal:
      "The configuration at line 3, column 10: the alias *nowhere has no anchor before it. Repair it by hand.",
  },
  {
    file: "refused-wrong-case.yaml",
    model: "a",
    tokens: 8192,
    refusal:
      'The configuration at line 1, column 1: the key is spelled "Models", and llama-swap ignores it. Write the models below `models:`.',
  },
  {
    file: "refused-models-list.yaml",
    model: "m1",
    tokens: 8192,
    refusal:
      "The configuration at line 1, column 1: `models:` holds a list, and llama-swap accepts only a mapping there. Write each model below it as `id:` with its settings.",
  },
  {
    file: "refused-no-models.yaml",
    model: "a",
    tokens: 8192,
    refusal:
      "The configuration at line 1, column 1: the file has no `models:` section. Write the models below `models:`.",
  },
  {
    file: "refused-empty.yaml",
    model: "a",
    tokens: 8192,
    refusal:
      "The configuration at line 1, column 1: the file is not a YAML mapping. It needs a `models:` section.",
  },
  {
    file: "refused-unknown-model.yaml",
    model: "alpha",
    tokens: 8192,
    refusal: 'The configuration has no model "alpha". There is "Alpha". Ids are compared letter by letter.',
  },
  {
    file: "refused-alias-id.yaml",
    model: "c",
    tokens: 8192,
    refusal: '"c" is an alias of the model "a": give that id instead.',
  },
  {
    file: "refused-alias-macro.yaml",
    model: "a:fast",
    tokens: 8192,
    refusal: '"a:fast" is an alias of the model "a": give that id instead.',
  },
  {
    file: "refused-alias-of-parameters.yaml",
    model: "a:high",
    tokens: 8192,
    refusal: '"a:high" is an alias of the model "a": give that id instead.',
  },
  {
    file: "refused-joined-number.yaml",
    model: "a",
    tokens: 24576,
    refusal:
      'The configuration at line 3, column 48: llama-server has no flag "-c8192", and does not start with it. Write `--ctx-size` in its place by hand, then try again.',
  },
  {
    file: "refused-no-cmd.yaml",
    model: "a",
    tokens: 8192,
    refusal:
      'The configuration at line 3, column 5: "a" has "Cmd", which llama-swap ignores, and no `cmd`. Write a `cmd: …` for it by hand.',
  },
  {
    file: "refused-cmd-list.yaml",
    model: "a",
    tokens: 8192,
    refusal:
      'The configuration at line 3, column 10: the `cmd` of "a" is not text. Write a `cmd: …` for it by hand.',
  },
  {
    file: "refused-empty-model.yaml",
    model: "a",
    tokens: 8192,
    refusal: 'The configuration at line 2, column 3: "a" holds no settings. Give it a `cmd`.',
  },
  {
    file: "refused-open-quote.yaml",
    model: "a",
    tokens: 8192,
    refusal:
      'The configuration at line 3, column 10: a quote is left open in this `cmd`. Set the context size of "a" by hand.',
  },
  {
    file: "refused-flag-without-value.yaml",
    model: "a",
    tokens: 8192,
    refusal:
      'The configuration at line 3, column 42: --ctx-size has no value. Set the context size of "a" by hand.',
  },
  {
    file: "refused-flag-before-flag.yaml",
    model: "a",
    tokens: 8192,
    refusal:
      'The configuration at line 3, column 44: --ctx-size has no value. Set the context size of "a" by hand.',
  },
  {
    file: "refused-shell-variable.yaml",
    model: "a",
    tokens: 8192,
    refusal:
      'The configuration at line 3, column 45: the size of "a" stands inside the string that it gives to a shell, and is not a plain number. Change it by hand.',
  },
  {
    file: "refused-shell-substitution.yaml",
    model: "a",
    tokens: 8192,
    refusal:
      'The configuration at line 3, column 53: the size of "a" stands inside the string that it gives to a shell, and is not a plain number. Change it by hand.',
  },
  {
    file: "refused-shell-arguments.yaml",
    model: "a",
    tokens: 8192,
    refusal:
      'The configuration at line 3, column 10: the string that it gives to a shell takes arguments from the words after it. Set the context size of "a" by hand.',
  },
  {
    file: "refused-shell-unknown-arguments.yaml",
    model: "a",
    tokens: 8192,
    refusal:
      'The configuration at line 3, column 10: "a" starts llama-server with arguments that only its shell knows. Write `--ctx-size` into that command by hand.',
  },
  {
    file: "refused-shell-two-servers.yaml",
    model: "a",
    tokens: 8192,
    refusal:
      'The configuration at line 3, column 10: the string that it gives to a shell does not start exactly one llama-server in plain words. Set the context size of "a" by hand.',
  },
  {
    file: "refused-shell-export.yaml",
    model: "a",
    tokens: 8192,
    refusal:
      'The configuration at line 3, column 10: the string that it gives to a shell sets LLAMA_ARG_CTX_SIZE in a way of its own. Set the context size of "a" by hand.',
  },
  {
    file: "refused-docker-start.yaml",
    model: "a",
    tokens: 8192,
    refusal:
      'The configuration at line 3, column 10: the command does not show what docker starts there. Set the context size of "a" by hand.',
  },
  {
    file: "refused-vllm-not-set.yaml",
    model: "a",
    tokens: 8192,
    refusal:
      'The configuration at line 3, column 10: "a" starts "vllm", which is not llama-server: --max-model-len sets its context size, and its `cmd` has none. Write `--max-model-len 8192` into its `cmd` by hand.',
  },
  {
    file: "refused-whole-alias.yaml",
    model: "b",
    tokens: 8192,
    refusal:
      'The configuration at line 4, column 3: "b" copies its whole block from elsewhere. Write a block with a `cmd` of its own.',
  },
  {
    file: "refused-whole-alias-holder.yaml",
    model: "a",
    tokens: 8192,
    refusal: "*The configuration at line 3, column 26:",
  },
  { file: "preset.ini", model: "alpha", tokens: 8192 },
  { file: "preset-global.ini", model: "Qwen3.6-35B", tokens: 8192 },
  { file: "preset-short.ini", model: "gamma", tokens: 8192 },
  {
    file: "preset-several.ini",
    model: "ggml-org/d:Q8_0",
    tokens: 8192,
    warnings: [
      '"LLAMA_ARG_CTX_SIZE" at line 22, column 1 has no effect: "ctx-size" counts.',
      '"c" at line 23, column 1 has no effect: "ctx-size" counts.',
    ],
  },
  { file: "preset-variable.ini", model: "a", tokens: 8192 },
  { file: "preset-crlf.ini", model: "a", tokens: 8192 },
  { file: "preset-no-end.ini", model: "a", tokens: 8192 },
  {
    file: "preset-twice.ini",
    model: "a",
    tokens: 8192,
    warnings: ['llama.cpp ignores the first section "a" at line 1, column 1: a later one has the same name.'],
  },
  { file: "preset-before-sections.ini", model: "default", tokens: 8192 },
  {
    file: "preset-key-twice.ini",
    model: "a",
    tokens: 8192,
    warnings: ['"ctx-size" at line 2, column 1 has no effect: "ctx-size" counts.'],
  },
  {
    file: "preset-bom-hostile.ini",
    model: "constructor",
    tokens: 8192,
    warnings: ["The file begins with a byte order mark; llama.cpp refuses it for that."],
  },
  { file: "preset-odd-lines.ini", model: "a", tokens: 8192 },
  {
    file: "preset-wrong-key.ini",
    model: "a",
    tokens: 8192,
    warnings: [
      'llama.cpp has no option "ctx_size" (line 2, column 1) and rejects the whole file because of it: use "ctx-size".',
    ],
  },
  {
    file: "preset-refused-line.ini",
    model: "a",
    tokens: 8192,
    refusal: "*The configuration at line 2, column 1: llama.cpp cannot parse this line",
  },
  {
    file: "preset-refused-section.ini",
    model: "alpha",
    tokens: 8192,
    refusal: '*The preset has no section for "alpha". There is "Alpha"; names are compared letter by letter.',
  },
  {
    file: "preset-refused-blank.ini",
    model: "alpha",
    tokens: 8192,
    refusal:
      '*The preset has no section for "alpha". There is "alpha", with a space at its end; names are compared letter by letter.',
  },
  {
    file: "preset-refused-alias.ini",
    model: "fast",
    tokens: 8192,
    refusal: '"fast" is an alias of the model "alpha": give that id instead.',
  },
  {
    file: "preset-refused-folder-model.ini",
    model: "tiny-7b",
    tokens: 24576,
    refusal:
      'The preset has no section for "tiny-7b". For a model that the router finds in its folder or cache, add a section of this name with `ctx-size = …`; any other model also needs `model = …`.',
  },
  {
    file: "preset-refused-star.ini",
    model: "*",
    tokens: 8192,
    refusal: '*The preset has no section for "*".',
  },
];
