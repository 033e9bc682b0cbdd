import { readdirSync, readFileSync } from "node:fs";
import { diffLines } from "diff";
import { describe, expect, test } from "vitest";
import { parse } from "yaml";
import { findContexts, formatOf, planAddition, planRemoval } from "../../../host/config/config-file.ts";
import { ServerError } from "../../../lib/errors.ts";
import { RUNS } from "../../support/random.ts";
import { generatePreset, generateYaml } from "./config-generator.ts";
import { effect, paths } from "./started.ts";

const FOLDER = new URL("../../fixtures/configs/", import.meta.url);
const SEEDS = Array.from({ length: 60 * RUNS }, (_, seed) => seed + 1);
const NEW = { id: "new/model:Q8", file: "/m/new dir/new.gguf", context: 12_345 };

const files = readdirSync(FOLDER)
  .filter((file) => !file.includes(".expected."))
  .map((file) => ({ file, text: readFileSync(new URL(file, FOLDER), "utf8") }));

/** The models of a text; none where it cannot be read. */
function idsIn(text: string, format: "yaml" | "ini"): string[] {
  try {
    return findContexts(text, format).map(({ model }) => model);
  } catch (error) {
    if (error instanceof ServerError) return [];
    throw error;
  }
}

/** What the plan gives, or the sentence of its refusal. */
function endOf<T>(plan: () => T): T | string {
  try {
    return plan();
  } catch (error) {
    if (error instanceof ServerError) return error.message;
    throw error;
  }
}

function parsed(text: string): unknown {
  return parse(text.replace(/\$\{env\.\w+\}/g, "variable"), { merge: true });
}

/** Every pair of a fixture and one of its models. */
const pairs = files.flatMap(({ file, text }) =>
  idsIn(text, formatOf(file)).map((id) => ({ file, id, text, format: formatOf(file) })),
);

/** Those of the fixtures that are no pattern, each with what its sentence says. */
const NO_PATTERN: Readonly<Record<string, readonly string[]>> = {
  "runs in a container that does not see /m/new dir/new.gguf": [
    "docker-entrypoint.yaml",
    "docker-env.yaml",
    "docker-not-set.yaml",
  ],
  'the `cmdStop` of "a" stops that model alone': ["docker.yaml"],
  "names no model file that could be replaced": [
    "json.yaml b",
    "macro-number.yaml f",
    "macro-of-model-used-twice.yaml f",
    "macro-of-model.yaml f",
    "macro-only.yaml f",
    "macro-whole-command.yaml f",
    "macro-with-flag.yaml f",
    "refused-alias-id.yaml",
    "refused-alias-macro.yaml",
    "refused-alias-of-parameters.yaml",
    "refused-shell-unknown-arguments.yaml",
    "refused-unknown-model.yaml",
    "refused-whole-alias-holder.yaml",
    "refused-whole-alias.yaml",
  ],
  "which is not llama-server": [
    "koboldcpp.yaml",
    "other-program.yaml",
    "refused-empty-model.yaml",
    "refused-sd-server.yaml",
    "refused-vllm-not-set.yaml",
    "vllm.yaml",
  ],
  'the `cmd` of "a" is not text': ["refused-cmd-list.yaml"],
  "the command does not show what docker starts there": ["refused-docker-start.yaml"],
  "--ctx-size has no value": ["refused-flag-before-flag.yaml", "refused-flag-without-value.yaml"],
  "the context size of this command cannot be set": [
    "refused-joined-number.yaml",
    "refused-single-dash.yaml",
    "refused-unknown-flag.yaml",
  ],
  '"a" has "Cmd", which llama-swap ignores, and no `cmd`': ["refused-no-cmd.yaml"],
  "a quote is left open in this `cmd`": ["refused-open-quote.yaml"],
  "takes arguments from the words after it": ["refused-shell-arguments.yaml"],
  "sets LLAMA_ARG_CTX_SIZE in a way of its own": ["refused-shell-export.yaml"],
  "does not start exactly one llama-server in plain words": [
    "refused-shell-newline.yaml",
    "refused-shell-two-servers.yaml",
  ],
  "starts a shell, which could read the new names as something else": [
    "refused-shell-substitution.yaml",
    "refused-shell-variable.yaml",
    "shell-string-not-set.yaml",
    "shell-string-quoted.yaml",
    "shell-string.yaml",
  ],
};

/** Those of the fixtures that cannot be taken out. */
const NOT_REMOVED: Readonly<Record<string, readonly string[]>> = {
  'the alias *a uses what the block of "a" defines (line 3, column 5)': [
    "anchor-holder-merge.yaml a",
    "anchored-unused.yaml a",
    "refused-whole-alias-holder.yaml a",
    "refused-whole-alias.yaml a",
  ],
  'the alias *cmd uses what the block of "a" defines (line 3, column 15)': ["anchor-holder.yaml a"],
  'the alias *caps uses what the block of "a" defines (line 5, column 7)': ["declared-anchor-holder.yaml a"],
  '"default" is the part before the first section': ["preset-before-sections.ini default"],
};

function reasonIn(
  table: Readonly<Record<string, readonly string[]>>,
  file: string,
  id: string,
): string | undefined {
  return Object.keys(table).find((reason) =>
    table[reason]?.some((name) => name === file || name === `${file} ${id}`),
  );
}

/** Whether all lines of the new text are the old one's, but for those that are named. */
function addedLines(before: string, after: string): string[] {
  return diffLines(before.replace(/^\uFEFF/, ""), after.replace(/^\uFEFF/, ""))
    .filter(({ added }) => added)
    .flatMap(({ value }) => value.split(/\r?\n/).filter((line) => line !== "" && line !== "macros: {}"));
}

describe("every model of every fixture as a pattern", () => {
  test.each(pairs)("$file: $id", ({ file, id, text, format }) => {
    const from = { ...NEW, file: format === "ini" ? "/m/new dir/new.gguf" : NEW.file, from: id };
    const plan = endOf(() => planAddition(text, format, from));
    const reason = reasonIn(NO_PATTERN, file, id);
    if (typeof plan === "string" || reason !== undefined) {
      expect(`${plan}`).toContain(reason);
      return;
    }
    expect(plan.setting).toMatchObject({ model: NEW.id, tokens: NEW.context });
    expect(plan.edits.every((edit) => edit.start === edit.end)).toBe(true);
    expect(plan.text.replace(/\r/g, "")).toContain("new.gguf");
    if (format === "yaml") {
      const [path, ...others] = paths(parsed(text), parsed(plan.text));
      expect([path, others]).toEqual([`/models/${NEW.id}`, []]);
    }
    // Taken out again, it leaves the text as it was; a last line without an end has got one.
    const back = planRemoval(plan.text, format, NEW.id);
    if (format === "ini") expect(back.text.trimEnd()).toBe(text.trimEnd());
    else expect([text, `${text}\n`, `${text}\r\n`]).toContain(back.text);
    expect(back.files).toEqual(["/m/new dir/new.gguf"]);
  });
});

describe("every model of every fixture taken out", () => {
  test.each(pairs)("$file: $id", ({ file, id, text, format }) => {
    const plan = endOf(() => planRemoval(text, format, id));
    const reason = reasonIn(NOT_REMOVED, file, id);
    if (typeof plan === "string" || reason !== undefined) {
      expect(`${plan}`).toContain(reason);
      return;
    }
    expect(idsIn(plan.text, format)).toEqual(idsIn(text, format).filter((other) => other !== id));
    if (format === "ini") {
      expect(addedLines(text, plan.text)).toEqual([]);
      return;
    }
    const gone = paths(parsed(text), parsed(plan.text)).filter((path) => path !== `/models/${id}`);
    for (const path of gone) expect(path).toMatch(/^\/(macros\/\w+|hooks\/on_startup\/preload|groups)/);
    expect(gone.length).toBe(plan.alsoChanged.length);
  });
});

describe("generated configurations", () => {
  test.each(SEEDS)("seed %d: a model more", (seed) => {
    const { text, ids, target } = generateYaml(seed);
    const plan = endOf(() => planAddition(text, "yaml", { ...NEW, from: target }));
    if (typeof plan === "string") {
      // Those that take their command from a shared text have no file to replace.
      expect(plan).toContain(`"${target}" names no model file that could be replaced`);
      return;
    }
    const [path, ...others] = paths(parsed(text), parsed(plan.text));
    expect([path, others]).toEqual([`/models/${NEW.id}`, []]);
    for (const id of ids) expect(effect(plan.text, id)).toEqual(effect(text, id));
    const [old, now] = [effect(text, target), effect(plan.text, NEW.id)];
    expect(now.size).toBe(String(NEW.context));
    expect(now.rest).toContain(NEW.file);
    const kept = (words: readonly string[]): string[] =>
      words.filter((word) => !/^(-m|--alias|--ctx-size-draft|-cd|4096|-c)$|\.gguf$|^x -c 4096$/.test(word));
    expect(kept(now.rest)).toEqual(kept(old.rest));
    const back = planRemoval(plan.text, "yaml", NEW.id).text;
    expect([text, `${text}\n`, `${text}\r\n`]).toContain(back);
  });

  test.each(SEEDS)("seed %d: a model less", (seed) => {
    const { text, ids, target } = generateYaml(seed);
    const plan = planRemoval(text, "yaml", target);
    expect(idsIn(plan.text, "yaml")).toEqual(ids.filter((id) => id !== target));
    for (const id of ids.filter((other) => other !== target))
      expect(effect(plan.text, id)).toEqual(effect(text, id));
    const gone = paths(parsed(text), parsed(plan.text)).filter((path) => path !== `/models/${target}`);
    expect(
      gone
        .map((path) => `The macro "${path.replace("/macros/", "")}" is removed: no other model uses it.`)
        .sort(),
    ).toEqual([...plan.alsoChanged].sort());
    expect(addedLines(text, plan.text)).toEqual([]);
  });

  test.each(SEEDS)("seed %d: a section more and less", (seed) => {
    const { text, ids, target } = generatePreset(seed);
    const plan = planAddition(text, "ini", { ...NEW, from: target });
    expect(plan.text.startsWith(text)).toBe(true);
    expect(idsIn(plan.text, "ini")).toEqual([...ids, NEW.id]);
    expect(planRemoval(plan.text, "ini", NEW.id).text.trimEnd()).toBe(text.trimEnd());
    expect(idsIn(planRemoval(text, "ini", target).text, "ini")).toEqual(ids.filter((id) => id !== target));
  });
});
