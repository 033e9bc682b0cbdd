import { readdirSync, readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { findContexts, modelBlock } from "../../../host/config/config-file.ts";

const YAML = `# top
models:
  # about a
  a:
    cmd: |
      llama-server
        -c 1024

    ttl: 5   # seconds

  # about b
  "b c": { cmd: "llama-server", ttl: 1 }
  "d/e:f": &d
    cmd: llama-server
  g: *d
  h:
    <<: *d
    ttl: 3
groups:
  x: { members: [a] }
`;

/** The lines of a text that a model's block covers. */
function block(text: string, format: "yaml" | "ini", id: string): string[] {
  const { first, last } = modelBlock(text, format, id);
  return text.split(/\r?\n/).slice(first - 1, last);
}

describe("the lines of a model in YAML", () => {
  test.each<[string, string[]]>([
    ["a", ["  a:", "    cmd: |", "      llama-server", "        -c 1024", "", "    ttl: 5   # seconds"]],
    ["b c", [`  "b c": { cmd: "llama-server", ttl: 1 }`]],
    ["d/e:f", [`  "d/e:f": &d`, "    cmd: llama-server"]],
    ["g", ["  g: *d"]],
    ["h", ["  h:", "    <<: *d", "    ttl: 3"]],
  ])("%s", (id, lines) => {
    expect(block(YAML, "yaml", id)).toEqual(lines);
    expect(block(`\uFEFF${YAML.replaceAll("\n", "\r\n")}`, "yaml", id)).toEqual(lines);
  });

  test("includes the last line of the file", () => {
    expect(block("models:\n  a:\n    cmd: x", "yaml", "a")).toEqual(["  a:", "    cmd: x"]);
    expect(block("models: { a: { cmd: x } }\n", "yaml", "a")).toEqual(["models: { a: { cmd: x } }"]);
  });

  test("that there is not, or in a file that is not understood, is a sentence", () => {
    expect(() => modelBlock(YAML, "yaml", "z")).toThrow(/z/);
    expect(() => modelBlock("models: [}", "yaml", "a")).toThrow(/line 1/);
  });

  const folder = new URL("../../fixtures/configs/", import.meta.url);
  const texts = readdirSync(folder)
    .filter((name) => name.endsWith(".yaml"))
    .map((name): [string, string] => [name, readFileSync(new URL(name, folder), "utf8")]);

  test.each(texts)("of %s begin with its key and overlap with none of the others", (_, text) => {
    let models: string[] = [];
    try {
      models = findContexts(text, "yaml").map(({ model }) => model);
    } catch {
      // A config that is refused as a whole.
    }
    const ranges = models.map((id) => {
      expect(block(text, "yaml", id)[0]?.replaceAll("''", "'").replaceAll("\\", "")).toContain(id);
      return modelBlock(text, "yaml", id);
    });
    const inOrder = ranges.sort((a, b) => a.first - b.first);
    inOrder.forEach(({ first, last }, at) => {
      expect(last).toBeGreaterThanOrEqual(first);
      const next = inOrder[at + 1];
      if (next !== undefined && next.first !== first) expect(next.first).toBeGreaterThan(last);
    });
  });
});

describe("the section of a model in INI", () => {
  const INI = "; top\n[*]\nngl = 99\n\n[a]\nmodel = x\n\n[b]\n; inside\nctx-size = 1\n";

  test.each<[string, string[]]>([
    ["a", ["[a]", "model = x"]],
    ["b", ["[b]", "; inside", "ctx-size = 1"]],
  ])("%s", (id, lines) => {
    expect(block(INI, "ini", id)).toEqual(lines);
  });

  test("that there is not is a sentence", () => {
    expect(() => modelBlock(INI, "ini", "z")).toThrow(/z/);
  });
});
