/** A configuration made up from a seed, and a change that is possible in it. */
export interface Generated {
  readonly text: string;
  readonly ids: readonly string[];
  readonly target: string;
  readonly tokens: number;
}

interface Dice {
  /** A whole number from 0 up to, not including, `limit`. */
  below(limit: number): number;
  pick<T>(items: readonly [T, ...T[]]): T;
  chance(percent: number): boolean;
}

/** Mulberry32: the same seed gives the same dice everywhere. */
function dice(seed: number): Dice {
  let state = seed * 0x9e3779b1;
  const next = (): number => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296;
  };
  const below = (limit: number): number => Math.floor(next() * limit);
  return {
    below,
    pick: (items) => items[below(items.length)] ?? items[0],
    chance: (percent) => next() * 100 < percent,
  };
}

const PORT = ["$", "{PORT}"].join("");
const CTX = ["$", "{ctx}"].join("");
const ARGS = ["$", "{args}"].join("");
const WHOLE = ["$", "{whole}"].join("");

const SIZES = [512, 4096, 32_768, 131_072, 262_144] as const;

/** One argument a time, the program first. */
function argumentsOf(roll: Dice, at: number, size: number): string[] {
  const decoys: readonly [string, ...string[]] = [
    "--jinja",
    "--ctx-size-draft 4096",
    "-cd 4096",
    '--alias "x -c 4096"',
    "--alias -c",
    "--temp 0.7",
    "-np 2",
    "--predict 4096",
    `-m "/models/-c 4096/${at}.gguf"`,
  ];
  const flag = roll.pick([
    `-c ${size}`,
    `--ctx-size ${size}`,
    `--ctx-size=${size}`,
    `-c=${size}`,
    `-c ${CTX}`,
    `--ctx-size ${CTX}`,
    ARGS,
    `-c 1 --ctx-size ${size}`,
    "",
    "",
  ]);
  const list = [`--port ${PORT}`, flag, roll.pick(decoys), roll.pick(decoys)].filter((item) => item !== "");
  const program = roll.pick(["llama-server", "/opt/llama.cpp/llama-server", "env A=1 llama-server", WHOLE]);
  const from = roll.below(list.length);
  return [`${program} -m ${at}.gguf`, ...list.slice(from), ...list.slice(0, from)];
}

/** The command in one of YAML's styles, from what follows `cmd:` on. */
function styled(roll: Dice, list: readonly string[], indent: string): string[] {
  const line = list.join(" ");
  const deeper = `${indent}  `;
  switch (roll.below(7)) {
    case 0:
      return [` ${line}${roll.pick(["", " # -c 4096", "   "])}`];
    case 1:
      return [` '${line.replaceAll("'", "''")}'`];
    case 2:
      return [` ${JSON.stringify(line)}`];
    case 3: {
      const [first = "", ...rest] = list;
      return [` ${first}`, ...rest.map((item) => deeper + item)];
    }
    case 4:
      return [roll.pick([" >", " >-"]), ...list.map((item) => deeper + item)];
    case 5:
      return [" |", ...list.map((item, at) => `${deeper}${item}${at < list.length - 1 ? " \\" : ""}`)];
    default: {
      const noise = (): string[] =>
        roll.chance(25) ? [`${deeper}# --ctx-size 4096`] : roll.chance(15) ? [""] : [];
      const body = list.flatMap((item) => [`${deeper}${item}${roll.pick(["", "", "  ", "\t"])}`, ...noise()]);
      return [roll.pick([" |", " |-", " |  # the command", " |+"]), ...body];
    }
  }
}

function declared(roll: Dice, size: number): string[] {
  return [
    ...(roll.chance(40)
      ? ["    capabilities:", "      in: [text]", `      context: ${roll.pick([size, 4096])} # window`]
      : []),
    ...(roll.chance(30) ? [`    metadata: {context_length: ${size}, port: ${size}, n_ctx: "${size}"}`] : []),
  ];
}

function block(roll: Dice, at: number, id: string): string[] {
  const size = roll.pick(SIZES);
  const lines = [`  ${roll.chance(50) ? id : JSON.stringify(id)}:${roll.pick(["", "  # model"])}`];
  if (roll.chance(30)) lines.push("    # -c 4096");
  if (roll.chance(30)) lines.push("    macros:", "      other: 4096", `      ctx: ${size}`);
  const shared = roll.below(10);
  if (shared === 0) lines.push("    <<: *base");
  else if (shared === 1) lines.push(`    cmd: *shared${roll.pick(["", "   # shared"])}`);
  else {
    const [head = "", ...rest] = styled(roll, argumentsOf(roll, at, size), "    ");
    lines.push(`    cmd:${head}`, ...rest);
  }
  if (roll.chance(25))
    lines.push(
      "    env:",
      '      - "A=4096"',
      `      - LLAMA_ARG_CTX_SIZE=${roll.pick([String(size), CTX])}`,
    );
  lines.push(...declared(roll, size));
  lines.push(
    roll.pick(["    ttl: 4096", "    ttl:   60   ", "    name: 'it''s 4096'", "    unlisted: true"]),
  );
  return roll.chance(20) ? [...lines, ""] : lines;
}

function withBytes(roll: Dice, lines: readonly string[]): string {
  const lineEnd = roll.pick(["\n", "\n", "\r\n"]);
  const body = lines.join(lineEnd);
  const mark = roll.chance(15) ? "\uFEFF" : "";
  return `${mark}${body}${roll.pick(["", lineEnd, lineEnd + lineEnd])}`;
}

/** llama-swap's YAML with several models in all the forms that a command can have. */
export function generateYaml(seed: number): Generated {
  const roll = dice(seed);
  const names: readonly [string, ...string[]] = ["Qwen3.6-35B", "org/model:Q8_0", "a b", "4096", "é😀"];
  const ids = names.slice(0, 2 + roll.below(4));
  const lines = [
    "# -c 4096",
    "macros:",
    `  ctx: ${roll.pick(SIZES)}`,
    `  args: "--ctx-size ${CTX}"`,
    `  whole: ${roll.pick(["/usr/bin/llama-server --threads 4", "llama-server -c 2048"])}`,
    `x-cmd: &shared ${roll.pick([`llama-server --port ${PORT} -c 4096`, `|\n  llama-server\n  --port ${PORT}\n  -c 4096`])}`,
    "x-base: &base",
    "  ttl: 5",
    `  cmd: llama-server --port ${PORT} --ctx-size ${roll.pick([CTX, "8192"])}`,
    roll.pick(["models:", "models:   # all", "\nmodels:"]),
    ...ids.flatMap((id, at) => block(roll, at, id)),
    ...(roll.chance(50) ? ["logLevel: info # 4096"] : []),
  ];
  const text = withBytes(
    roll,
    lines.flatMap((line) => line.split("\n")),
  );
  return { text, ids, target: ids[roll.below(ids.length)] ?? "", tokens: 16_384 + roll.below(100) };
}

/** A preset of llama.cpp's router. */
export function generatePreset(seed: number): Generated {
  const roll = dice(seed);
  const ids = ["alpha", "Qwen3.6-35B", "ggml-org/x:Q8_0", "a b"].slice(0, 1 + roll.below(4));
  const sign = (): string => roll.pick([" = ", "=", "  =  ", "\t= "]);
  const comment = (): string => roll.pick(["", "", " ; 4096", "  # c = 4096"]);
  const size = (): string[] => {
    const key = roll.pick(["ctx-size", "c", "LLAMA_ARG_CTX_SIZE"]);
    return roll.chance(60) ? [`${key}${sign()}${roll.pick(SIZES)}${comment()}`] : [];
  };
  const section = (id: string): string[] => [
    `[${id}]${comment()}`,
    ...(roll.chance(30) ? ["; ctx-size = 4096", ""] : []),
    `model${sign()}/models/${id}.gguf`,
    ...size(),
    ...(roll.chance(30) ? [`parallel${sign()}2`] : []),
    ...(roll.chance(40) ? ["", "  # next"] : []),
  ];
  const global = roll.chance(60) ? ["[*]", ...size(), "jinja = true", ""] : [];
  const lines = [...(roll.chance(50) ? ["version = 1"] : []), ...global, ...ids.flatMap(section)];
  const text = withBytes(roll, lines);
  return { text, ids, target: ids[roll.below(ids.length)] ?? "", tokens: 16_384 + roll.below(100) };
}
