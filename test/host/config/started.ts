/** What a configuration starts, by the simplest means: written without a look at how the product does it. */
import { split } from "shlex";
import { parse } from "yaml";

type Plain = Record<string, unknown>;

function isPlain(value: unknown): value is Plain {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function plain(value: unknown): Plain {
  return isPlain(value) ? value : {};
}

/** What differs, by path; written without a look at how the module compares. */
export function paths(before: unknown, after: unknown, path = ""): string[] {
  if (JSON.stringify(before) === JSON.stringify(after)) return [];
  if (!isPlain(before) || !isPlain(after)) return [path];
  const keys = new Set([...Object.keys(before), ...Object.keys(after)]);
  const at = (holder: Plain, key: string): unknown => (Object.hasOwn(holder, key) ? holder[key] : undefined);
  return [...keys].flatMap((key) => paths(at(before, key), at(after, key), `${path}/${key}`));
}

/** The words and variables that a model is started with, by the simplest means: expand, drop comments, split. */
export function started(text: string, id: string): { words: string[]; env: string[] } {
  const config = plain(parse(text, { merge: true }));
  const model = plain(plain(config.models)[id]);
  const macros = { ...plain(config.macros), ...plain(model.macros) };
  const resolve = (value: string): string => {
    const next = value.replace(/\$\{(\w+)\}/g, (all, name: string) =>
      name === "MODEL_ID" ? id : name in macros ? String(macros[name]) : all,
    );
    return next === value ? value : resolve(next);
  };
  const lines = String(model.cmd).split("\n");
  const command = resolve(lines.filter((line) => !line.trim().startsWith("#")).join("\n"));
  const env = Array.isArray(model.env) ? model.env.map((entry: unknown) => resolve(String(entry))) : [];
  return { words: split(command.replace(/\\[ \t]*\n/g, " ")), env };
}

/** The size that llama-server takes from them, and everything else. */
export function effect(text: string, id: string): { size: string | undefined; rest: string[] } {
  const { words, env } = started(text, id);
  const variable = env.findLast((entry) => entry.startsWith("LLAMA_ARG_CTX_SIZE="));
  let size = variable?.replace(/^.*=/, "");
  const rest = env.filter((entry) => !entry.startsWith("LLAMA_ARG_CTX_SIZE="));
  const queue = [...words];
  for (let word = queue.shift(); word !== undefined; word = queue.shift()) {
    if (word === "--alias" || word === "-m") rest.push(word, queue.shift() ?? "");
    else if (word === "-c" || word === "--ctx-size") size = queue.shift();
    else if (/^(-c|--ctx-size)=/.test(word)) size = word.replace(/^.*=/, "");
    else rest.push(word);
  }
  return { size, rest };
}
