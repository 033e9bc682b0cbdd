import { expect, test } from "vitest";
import { maskText, type TextKind } from "../../masking/masking.ts";
import { integer, pick, type Random, seeded, shuffled } from "../support/random.ts";

const UNITS = [
  "a",
  "Z",
  "7",
  "ü",
  "模",
  "😀",
  "#",
  ":",
  "=",
  ",",
  "]",
  "}",
  "&",
  "|",
  "-",
  "_",
  ".",
  "@",
  "/",
  "!",
  "%",
] as const;
const QUOTED_UNITS = [...UNITS, " ", " # ", ": ", "'", '"', "\\", "{", "["] as const;

/** Begins and ends so that it can be told from all around it. */
function secret(random: Random, units: readonly [string, ...string[]]): string {
  const middle = Array.from({ length: integer(random, 2, 12) }, () => pick(random, units)).join("");
  return `S${middle}E${integer(random, 100, 999)}`;
}

const inDouble = (value: string): string => value.replaceAll(/["\\$`]/g, "\\$&");
const inSingleYaml = (value: string): string => value.replaceAll("'", "''");

const QUOTINGS = [
  (value: string): string => `'${value.replaceAll("'", `'\\''`)}'`,
  (value: string): string => `"${inDouble(value)}"`,
  (value: string): string => value.replaceAll(/[^\w.:=-]/gu, "\\$&"),
] as const;

/** As a shell joins it from two pieces: `'a b'"c"`. */
function inPieces(random: Random): string {
  const value = [...secret(random, QUOTED_UNITS)];
  const at = integer(random, 1, value.length - 1);
  const pieces = [value.slice(0, at), value.slice(at)];
  return pieces.map((piece) => pick(random, QUOTINGS)(piece.join(""))).join("");
}

/** Where a secret may stand: the lines, and the secret as it is spelled there. */
type Plant = (random: Random) => { lines: string[]; spelled: string };

const bare = (random: Random): string => secret(random, UNITS).replaceAll(/[,\]}]/g, "x");
const plant =
  (write: (value: string) => string[], value: (random: Random) => string): Plant =>
  (random) => {
    const spelled = value(random);
    return { lines: write(spelled), spelled };
  };
const quotedBy = (spell: (value: string) => string) => (random: Random) =>
  spell(secret(random, QUOTED_UNITS));
const noQuotes = (random: Random): string => secret(random, QUOTED_UNITS).replaceAll(/["'\\]/g, "x");

const YAML: readonly Plant[] = [
  plant((s) => [`  apiKey: ${s}`], bare),
  plant(
    (s) => [`  hf_token: "${s}" # mine`],
    quotedBy((value) => JSON.stringify(value).slice(1, -1)),
  ),
  plant((s) => [`  Password: '${s}'`], quotedBy(inSingleYaml)),
  plant((s) => ["  apiKeys:", `    - ${s}`, "    - b"], bare),
  plant((s) => [`  apiKeys: [a, '${s}']`], quotedBy(inSingleYaml)),
  plant((s) => ["  secret: |", `    ${s}`], noQuotes),
  plant((s) => ["  env:", `    - 'HF_TOKEN=${s}'`], quotedBy(inSingleYaml)),
  plant((s) => ["  cmd: |", `    llama-server --api-key ${s}`, "    -c 5"], bare),
  plant(
    (s) => ["  cmd: |", "    llama-server --api-key \\", `      "${s}" \\`, "      -c 5"],
    quotedBy(inDouble),
  ),
  plant((s) => ["  cmd: >-", "    llama-server", `    --hf-token='${s}' -c 5`], noQuotes),
  plant((s) => ["  cmd: |", `    llama-server --api-key ${s} -c 5`], inPieces),
  plant((s) => [`  cmd: "llama-server -hft ${s} -c 5"`], bare),
  plant((s) => ["  cmd: |", `    docker run -e "API_KEY=${s}" img -c 5`], quotedBy(inDouble)),
  plant((s) => ["  cmd: |", `    curl -H "x-api-key: ${s}" http://h`], quotedBy(inDouble)),
  plant(
    (s) => ["  cmd: |", "    llama-server --api-key ${mine}", "  macros:", `    mine: '${s}'`],
    quotedBy(inSingleYaml),
  ),
];
const COMMAND: readonly Plant[] = [
  plant((s) => [`--api-key ${s} \\`], bare),
  plant((s) => [`--api-key="${s}" \\`], quotedBy(inDouble)),
  plant((s) => ["--hf-token \\", `  '${s}' \\`], noQuotes),
  plant((s) => [`-e "HF_TOKEN=${s}" \\`], quotedBy(inDouble)),
  plant((s) => [`-H "Authorization: Bearer ${s}" \\`], quotedBy(inDouble)),
  plant((s) => [`--api-key ${s} \\`], inPieces),
  plant((s) => [`--hf-token=${s} \\`], inPieces),
  plant((s) => ["-e \\", `  HF_TOKEN=${s} \\`], inPieces),
];
const INI: readonly Plant[] = [
  plant(
    (s) => [`api-key = ${s}`],
    (random) => secret(random, UNITS),
  ),
  plant(
    (s) => [`LLAMA_API_KEY=${s} ; mine`],
    (random) => secret(random, UNITS),
  ),
];
const LOG: readonly Plant[] = [
  plant(
    (s) => [`x {"apiKey":${s},"n":1}`],
    (random) => JSON.stringify(secret(random, QUOTED_UNITS)),
  ),
  plant((s) => [`start: llama-server --api-key ${s} -c 5`], bare),
  plant((s) => [`HF_TOKEN=${s} started`], bare),
];

const HARMLESS: Readonly<Record<TextKind, readonly [string, ...string[]]>> = {
  yaml: [
    "  ttl: 60 # max_tokens: 5",
    "  name: 'it''s tokenizer'",
    "  metadata: {max_tokens: 5, token: 7}",
    "# key: value",
    "",
  ],
  command: ["-c 4096 \\", "--temp 0.7 --ssl-key-file /a/key \\", "'quoted \"words\"' \\"],
  ini: ["ctx-size = 4096 ; shared", "[a]", "# key = value", ""],
  log: ["n_tokens = 5, it's done", "EOS token = 2 '</s>'", "load_tensors: 50% (key 3)", ""],
};

/** Blocks in random order, those of YAML each under a key of its own so that all of it can be parsed. */
function compose(
  random: Random,
  kind: TextKind,
  plants: readonly Plant[],
): { text: string; secrets: string[] } {
  const planted = shuffled(random, plants).map((make) => make(random));
  const lines = planted.flatMap(({ lines: own }, at) => [
    ...(kind === "yaml" ? [`block${at}:`] : []),
    ...(random() < 0.5 ? [pick(random, HARMLESS[kind])] : []),
    ...own,
  ]);
  const lineEnd = kind !== "command" && random() < 0.2 ? "\r\n" : "\n";
  return { text: lines.join(lineEnd), secrets: planted.map(({ spelled }) => spelled.replace(/^"|"$/g, "")) };
}

const KINDS: readonly [TextKind, readonly Plant[]][] = [
  ["yaml", YAML],
  ["command", COMMAND],
  ["ini", INI],
  ["log", LOG],
];

test.each(KINDS)("no secret planted anywhere in %s is shown", (kind, plants) => {
  for (let seed = 1; seed <= 250; seed += 1) {
    const { text, secrets } = compose(seeded(seed), kind, plants);
    const shown = maskText(text, kind);
    expect(shown.split("\n").length, `seed ${seed}`).toBe(text.split("\n").length);
    for (const each of secrets) expect(shown, `seed ${seed}: ${text}`).not.toContain(each.slice(0, 4));
    for (const each of secrets) expect(shown, `seed ${seed}: ${text}`).not.toContain(each.slice(-4));
  }
});

test("no secret is shown of a config that YAML refuses", () => {
  for (let seed = 1; seed <= 250; seed += 1) {
    const random = seeded(seed);
    const { text, secrets } = compose(
      random,
      "yaml",
      YAML.filter((_, at) => at !== 5),
    );
    const lines = text.split("\n");
    const starts = lines.flatMap((line, at) => (line.startsWith("block") ? [at] : []));
    lines.splice(
      starts[integer(random, 0, starts.length - 1)] ?? 0,
      0,
      pick(random, ["broken: ]", "a: b: c: {", "\tx: [", "%&*"] as const),
    );
    const shown = maskText(lines.join("\n"), "yaml");
    for (const each of secrets) expect(shown, `seed ${seed}: ${lines.join("\n")}`).not.toContain(each);
  }
});

test.each(KINDS)("without a secret, %s stays byte for byte", (kind) => {
  for (let seed = 1; seed <= 300; seed += 1) {
    const random = seeded(seed);
    const lines = Array.from({ length: integer(random, 0, 12) }, () => pick(random, HARMLESS[kind]));
    const text = lines.join(pick(random, ["\n", "\r\n"] as const));
    expect(maskText(text, kind)).toBe(text);
  }
});
