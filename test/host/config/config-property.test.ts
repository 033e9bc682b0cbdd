import { diffArrays } from "diff";
import { describe, expect, test } from "vitest";
import { parse } from "yaml";
import { findContext, planContextChange } from "../../../host/config/config-file.ts";
import { ServerError } from "../../../lib/errors.ts";
import { RUNS } from "../../support/random.ts";
import { generatePreset, generateYaml } from "./config-generator.ts";
import { effect, paths, started } from "./started.ts";

/** With AI_SERVER_TEST_RUNS that many times as many; which ways the first ones reach is asserted below. */
const SEEDS = Array.from({ length: 100 * RUNS }, (_, seed) => seed + 1);

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
