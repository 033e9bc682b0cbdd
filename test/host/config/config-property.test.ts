import { diffArrays } from "diff";
import { split } from "shlex";
import { describe, expect, test } from "vitest";
import { parse } from "yaml";
import { findContext, planContextChange } from "../../../host/config/config-file.ts";
import { ServerError } from "../../../lib/errors.ts";
import { RUNS } from "../../support/random.ts";
import { generatePreset, generateYaml } from "./config-generator.ts";

/** With AI_SERVER_TEST_RUNS that many times as many; which ways the first ones reach is asserted below. */
const SEEDS = Array.from({ length: 100 * RUNS }, (_, seed) => seed + 1);

type Plain = Record<string, unknown>;

function isPlain(value: unknown): value is Plain {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function plain(value: unknown): Plain {
  return isPlain(value) ? value : {};
}

/** What differs, by path; written without a look at how the module compares. */
function paths(before: unknown, after: unknown, path = ""): string[] {
  if (JSON.stringify(before) === JSON.stringify(after)) return [];
  if (!isPlain(before) || !isPlain(after)) return [path];
  const keys = new Set([...Object.keys(before), ...Object.keys(after)]);
  return [...keys].flatMap((key) => paths(before[key], after[key], `${path}/${key}`));
}

/** The words and variables that a model is started with, by the simplest means: expand, drop comments, split. */
function started(text: string, id: string): { words: string[]; env: string[] } {
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
function effect(text: string, id: string): { size: string | undefined; rest: string[] } {
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

describe("generated configurations of llama-swap", () => {
  test.each(SEEDS)("seed %d", (seed) => {
    const { text, ids, target, tokens } = generateYaml(seed);
    const change = planContextChange(text, "yaml", target, tokens);

    const before: unknown = parse(text, { merge: true });
    const after: unknown = parse(change.text, { merge: true });
    const own = `/models/${target}/`;
    const allowed = /^(cmd|env|macros\/ctx|capabilities\/context|metadata\/(context_length|n_ctx))$/;
    for (const path of paths(before, after)) {
      expect(path.startsWith(own) && allowed.test(path.slice(own.length)), path).toBe(true);
    }
    for (const id of ids) {
      const [old, now] = [effect(text, id), effect(change.text, id)];
      expect(now.rest).toEqual(old.rest);
      expect(now.size).toBe(id === target ? String(tokens) : old.size);
    }
    const isReplaced = change.edits.every((edit) => /^\d+$/.test(text.slice(edit.start, edit.end)));
    if (isReplaced) {
      expect(planContextChange(change.text, "yaml", target, Number(effect(text, target).size)).text).toBe(
        text,
      );
    }
  });

  test("the seeds reach every way of changing", () => {
    const kinds = SEEDS.map((seed) => {
      const { text, target, tokens } = generateYaml(seed);
      const { setBy, sharedWith } = findContext(text, "yaml", target);
      const { edits } = planContextChange(text, "yaml", target, tokens);
      const way = edits.some((edit) => /^\d+$/.test(edit.text)) ? "number" : "argument";
      return `${setBy}${sharedWith.length > 0 ? ", shared" : ""}: ${way}`;
    });
    for (const kind of [
      "flag: number",
      "flag, shared: argument",
      "model macro: number",
      "global macro: number",
      "global macro, shared: argument",
      "environment: number",
      "nothing: argument",
    ]) {
      expect(kinds).toContain(kind);
    }
  });
});

describe("the same for a program that is not known to be llama-server", () => {
  const end = (seed: number, program: string): { text: string; target: string; after: string | Error } => {
    const { text: generated, target, tokens } = generateYaml(seed);
    const text = generated.replaceAll("llama-server", program);
    try {
      return { text, target, after: planContextChange(text, "yaml", target, tokens).text };
    } catch (error) {
      return { text, target, after: error instanceof ServerError ? error : new Error("no sentence") };
    }
  };

  test.each(SEEDS.slice(0, 40 * RUNS))("seed %d: no word is added, and no other is changed", (seed) => {
    const { text, target, after } = end(seed, "my-server");
    if (after instanceof Error)
      return expect(after.message).toMatch(/"my-server"|cannot be changed alone|is shared with/);
    const [old = [], now = []] = [text, after].map((whole) => started(whole, target).words);
    expect(now.length).toBe(old.length);
    const changed = now.filter((word, at) => word !== old[at]);
    for (const word of changed) expect(word).toMatch(/^(--ctx-size=|-c=)?\d+$/);
    expect(changed.length).toBeLessThan(2);
  });

  test("the seeds reach both a change and a refusal that names it", () => {
    const ends = SEEDS.slice(0, 40).map((seed) => end(seed, "my-server").after);
    expect(ends.some((after) => typeof after === "string")).toBe(true);
    expect(ends.some((after) => String(after).includes('starts "my-server", which is not known'))).toBe(true);
  });

  test("what is known to be another is never changed", () => {
    for (const seed of SEEDS.slice(0, 20)) {
      expect(String(end(seed, "sd-server").after)).toContain('"sd-server", which is not llama-server');
    }
  });
});

describe("generated presets", () => {
  test.each(SEEDS.slice(0, 60 * RUNS))("seed %d", (seed) => {
    const { text, ids, target, tokens } = generatePreset(seed);
    const change = planContextChange(text, "ini", target, tokens);
    for (const id of ids) {
      const [was, now] = [findContext(text, "ini", id), findContext(change.text, "ini", id)];
      expect(now.tokens).toBe(id === target ? tokens : was.tokens);
      expect(now.slots).toEqual(was.slots);
    }
    expect(change.edits).toHaveLength(1);
    const parts = diffArrays(text.split(/\r?\n/), change.text.split(/\r?\n/));
    expect(parts.filter(({ added }) => added).map(({ count }) => count)).toEqual([1]);
    expect(parts.filter(({ removed }) => removed).every(({ count }) => count === 1)).toBe(true);
  });
});
