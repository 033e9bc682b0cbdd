import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { stripVTControlCharacters } from "node:util";
import type { AutocompleteItem, AutocompleteProvider, TUI } from "@earendil-works/pi-tui";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { complete, type Entry } from "../../admin/completion.ts";
import { aiServerAutocomplete, type Complete } from "../../ui/autocomplete.ts";
import { settled } from "../support/clock.ts";
import { REPOSITORY } from "../support/pi.ts";

type PiTui = typeof import("@earendil-works/pi-tui");

const BUNDLES = join(REPOSITORY, "node_modules/.cache/pi-1.5.2/package/dist/bundle/chunks");

/** pi-tui of 1.5.2 comes inside pi's bundle, which is only there once a suite has unpacked it. */
function olderTui(): string[] {
  if (!existsSync(BUNDLES)) return [];
  return readdirSync(BUNDLES)
    .map((name) => join(BUNDLES, name))
    .filter((file) => /^export\s*{[^}]*\bCombinedAutocompleteProvider\b/m.test(lastExport(file)))
    .map((file) => pathToFileURL(file).href);
}

function lastExport(file: string): string {
  const text = readFileSync(file, "utf8");
  return text.slice(text.lastIndexOf("export{"));
}

const ENTRIES: Entry[] = [
  { id: "Qwen3.6-35B-A3B-Q8_0", state: "ready", loaded: true, context: "128k", trainedTokens: 65_536 },
  { id: "org/Größe:Q4", state: "unloaded", loaded: false },
  { id: "my model", state: "unloaded", loaded: false },
  { id: "@mention", state: "unloaded", loaded: false },
  { id: "/models/a.gguf", state: "unloaded", loaded: false },
  { id: `say "hi"`, state: "unloaded", loaded: false },
];

const known: Complete = async (command, argument) => complete(ENTRIES, command, argument);

const TAB = "\t";
const ENTER = "\r";
const ESCAPE = "\u001b";
const LEFT = "\u001b[D";
const DOWN = "\u001b[B";

describe.each(["@earendil-works/pi-tui", ...olderTui()])("in the editor of %s", (specifier) => {
  // Over the list for a name that has been typed on, Enter sends the line until 1.5; since 1.6 it only closes the
  // list, as over any list of arguments.
  const sendsOnlyNames = specifier === "@earendil-works/pi-tui";
  let tui: PiTui;
  let folder: string;

  beforeAll(async () => {
    tui = (await import(specifier)) as PiTui;
    folder = mkdtempSync(join(tmpdir(), "completion-"));
    // What pi's own path completion would offer for the ids.
    mkdirSync(join(folder, "org"));
    writeFileSync(join(folder, "org", "Größe.txt"), "");
    writeFileSync(join(folder, "my-file"), "");
  });

  afterAll(() => rmSync(folder, { recursive: true, force: true }));

  function base(): AutocompleteProvider {
    const names = ["ai-server-load", "ai-server-unload", "ai-server-status", "ai-server-ctx", "model"];
    return new tui.CombinedAutocompleteProvider(
      names.map((name) => ({ name, description: `about ${name}` })),
      folder,
    );
  }

  function editor(completion: Complete = known) {
    const plain = (text: string): string => text;
    const list = {
      selectedPrefix: plain,
      selectedText: plain,
      description: plain,
      scrollInfo: plain,
      noMatch: plain,
    };
    const screen = { requestRender: () => {}, terminal: { rows: 40, columns: 120 } };
    const made = new tui.Editor(screen as unknown as TUI, { borderColor: plain, selectList: list });
    made.setAutocompleteProvider(aiServerAutocomplete(base(), completion));
    made.focused = true;
    const sent: string[] = [];
    made.onSubmit = (text) => sent.push(text);
    return {
      sent,
      text: () => made.getText(),
      column: () => made.getCursor().col,
      /** The list below the editor, one line each. */
      list: () => {
        if (!made.isShowingAutocomplete()) return [];
        const lines = made.render(120).map((line) => stripVTControlCharacters(line).trim());
        return lines.slice(lines.findLastIndex((line) => line.startsWith("─")) + 1);
      },
      /** Keys at human speed: suggestions come between them. */
      keys: async (...keys: string[]) => {
        for (const key of keys) {
          for (const part of key.length > 1 && !key.startsWith(ESCAPE) ? key : [key]) {
            made.handleInput(part);
            await settled();
          }
        }
      },
      /** Keys that come all at once. */
      burst: (...keys: string[]) => {
        for (const key of keys) for (const part of key) made.handleInput(part);
      },
    };
  }

  test("Tab after the name and a space lists the models", async () => {
    const { keys, list, text } = editor();
    await keys("/ai-server-load ", ESCAPE);
    expect(list()).toEqual([]);
    await keys(TAB);
    expect(list()[0]).toMatch(/^→ org\/Größe:Q4 +unloaded$/);
    expect(list()[1]).toMatch(/^my model +unloaded$/);
    await keys(DOWN, TAB);
    expect(text()).toBe("/ai-server-load my model");
    expect(list()).toEqual([]);
  });

  test("the list opens with the space, too, and with letters", async () => {
    const { keys, list } = editor();
    await keys("/ai-server-load ");
    expect(list()[0]).toContain("org/Größe:Q4");
    await keys("m");
    expect(list().join()).toContain("my model");
    expect(list().join()).not.toContain("my-file");
  });

  test("after the bare name the models stand below the command itself", async () => {
    const { keys, list, text, sent } = editor();
    await keys("/ai-server-unload");
    expect(list()[0]).toMatch(/^→ ai-server-unload +about/);
    expect(list()[1]).toMatch(/^… Qwen3.6-35B-A3B-Q8_0 +ready · 128k$/);
    await keys(TAB);
    expect(text()).toBe("/ai-server-unload ");
    await keys(TAB);
    expect(list()[0]).toMatch(/^→ Qwen3.6-35B-A3B-Q8_0 /);
    await keys(ESCAPE, "\u007f", ESCAPE, TAB);
    expect(list()[1]).toContain("… Qwen");
    await keys(DOWN, DOWN, TAB);
    expect(text()).toBe("/ai-server-unload org/Größe:Q4");
    expect(sent).toEqual([]);
  });

  test("Enter after the bare name sends the command as before", async () => {
    const { keys, sent } = editor();
    await keys("/ai-server-status", ENTER);
    expect(sent).toEqual(["/ai-server-status"]);
  });

  test("leaves a bare name before more text to pi", async () => {
    const { keys, list } = editor();
    await keys("/ai-server-load x", ESCAPE, LEFT, LEFT, TAB);
    expect(list().join()).not.toContain("…");
  });

  test.each([
    ["a space", "my m", "my model"],
    ["a slash", "org/", "org/Größe:Q4"],
    ["a slash and a colon", "org/Größe:", "org/Größe:Q4"],
    ["another case", "qwen", "Qwen3.6-35B-A3B-Q8_0"],
    ["only its middle", "35B", "Qwen3.6-35B-A3B-Q8_0"],
    ["a file mention's sign", "@me", "@mention"],
    ["a slash at its beginning", "/mod", "/models/a.gguf"],
    ["quotes", `say "h`, `say "hi"`],
    ["a quote opened before it", `"my mo`, "my model"],
    ["more spaces before it", "   my m", "my model"],
  ])("Tab completes an id with %s", async (_, typed, id) => {
    const { keys, list, text, column } = editor();
    await keys(`/ai-server-load ${typed}`, ESCAPE, TAB);
    if (list().length > 0) await keys(TAB);
    expect(text()).toBe(`/ai-server-load ${id}`);
    expect(column()).toBe(text().length);
  });

  test("Enter takes the chosen id, and the next one sends it", async () => {
    const { keys, text, sent, list } = editor();
    await keys("/ai-server-load my", ENTER);
    expect(text()).toBe("/ai-server-load my model");
    expect(sent).toEqual([]);
    expect(list()).toEqual([]);
    await keys(ENTER);
    expect(sent).toEqual(["/ai-server-load my model"]);
  });

  test("Enter sends what is typed to its end", async () => {
    const { keys, list, sent } = editor();
    await keys("/ai-server-load my model");
    expect(list()).toEqual([]);
    await keys(ENTER);
    expect(sent).toEqual(["/ai-server-load my model"]);
  });

  test("Tab goes on from an id to its size", async () => {
    const { keys, list, text } = editor();
    await keys("/ai-server-ctx Qw", ESCAPE, TAB);
    expect(text()).toBe("/ai-server-ctx Qwen3.6-35B-A3B-Q8_0 ");
    await keys(TAB);
    expect(list().map((line) => line.split(" ").find((word) => /^max$|\dk$/.test(word)))).toEqual([
      "max",
      "8k",
      "16k",
      "32k",
      "64k",
    ]);
    await keys("6");
    expect(list()[0]).toMatch(/^→ 64k +65536 tokens · trained for$/);
    await keys(TAB);
    expect(text()).toBe("/ai-server-ctx Qwen3.6-35B-A3B-Q8_0 64k");
  });

  test("Tab adds the space to an id typed to its end", async () => {
    const { keys, text } = editor();
    await keys("/ai-server-ctx my model", ESCAPE, TAB);
    expect(text()).toBe("/ai-server-ctx my model ");
  });

  test("in the middle of an id replaces the rest of it", async () => {
    const { keys, text, column } = editor();
    await keys("/ai-server-load my molde", ESCAPE, LEFT, LEFT, LEFT, TAB);
    expect(text()).toBe("/ai-server-load my model");
    expect(column()).toBe(text().length);
  });

  test("before other words keeps them", async () => {
    const { keys, text, column } = editor();
    await keys("/ai-server-status qw --ssh", ESCAPE, ...Array(6).fill(LEFT), TAB);
    expect(text()).toBe("/ai-server-status Qwen3.6-35B-A3B-Q8_0 --ssh");
    expect(column()).toBe("/ai-server-status Qwen3.6-35B-A3B-Q8_0".length);
    const size = editor();
    await size.keys("/ai-server-ctx qw 8k", ESCAPE, LEFT, LEFT, LEFT, TAB);
    expect(size.text()).toBe("/ai-server-ctx Qwen3.6-35B-A3B-Q8_0 8k");
    const before = editor();
    await before.keys("/ai-server-ctx 8k", ESCAPE, LEFT, LEFT, TAB, TAB);
    expect(before.text()).toBe("/ai-server-ctx Qwen3.6-35B-A3B-Q8_0 8k");
    const flag = editor();
    await flag.keys("/ai-server-status --ssh", ESCAPE, ...Array(5).fill(LEFT), TAB, TAB);
    expect(flag.text()).toBe("/ai-server-status Qwen3.6-35B-A3B-Q8_0 --ssh");
  });

  test("in the middle of an id with spaces that stands there whole, nothing is doubled", async () => {
    const { keys, text } = editor();
    await keys("/ai-server-load my model", ESCAPE, ...Array(6).fill(LEFT), TAB);
    expect(text()).toBe("/ai-server-load my model");
  });

  test("keys that come faster than the suggestions are not garbled", async () => {
    const { keys, burst, text, sent } = editor();
    await keys("/ai-server-load m");
    burst("y mo", TAB);
    expect(text()).toBe("/ai-server-load my model");
    const other = editor();
    await other.keys("/ai-server-load m");
    other.burst("x", ENTER);
    expect(other.text()).toBe("/ai-server-load mx");
    const same = editor();
    await same.keys("/ai-server-load m");
    same.burst("xm", TAB);
    expect(same.text()).toBe("/ai-server-load mxm");
    const name = editor();
    await name.keys("/ai-server-loa");
    name.burst("d my model", ENTER);
    await settled();
    expect(sent).toEqual([]);
    if (sendsOnlyNames) {
      expect([name.text(), name.list(), name.sent]).toEqual(["/ai-server-load my model", [], []]);
      await name.keys(ENTER);
    }
    expect(name.sent).toEqual(["/ai-server-load my model"]);
  });

  test("typing goes on while suggestions are awaited, and an old answer is not shown", async () => {
    const asked: Array<{
      argument: string;
      signal: AbortSignal;
      answer: (items: AutocompleteItem[]) => void;
    }> = [];
    const slow: Complete = (_, argument, signal) =>
      new Promise((answer) => {
        asked.push({ argument, signal, answer });
        signal.addEventListener("abort", () => answer([]));
      });
    const { keys, text, list } = editor(slow);
    await keys("/ai-server-load ", "m", "y");
    expect(text()).toBe("/ai-server-load my");
    const at = asked.findIndex(({ argument }) => argument === "m");
    expect(asked[at]?.signal.aborted).toBe(true);
    const last = asked.at(-1);
    expect([last?.argument, last?.signal.aborted]).toEqual(["my", false]);
    last?.answer([{ value: "my model", label: "my model" }]);
    await settled();
    expect(list()).toEqual(["→ my model"]);
  });

  test("the list of commands is not held up by a server that does not answer", async () => {
    const { keys, list } = editor(() => new Promise(() => {}));
    await keys("/ai-server-load", ESCAPE, TAB);
    expect(list()[0]).toMatch(/^→ ai-server-load /);
    expect(list().join()).not.toContain("…");
  });

  test("completion that fails offers nothing, and does not end pi's own", async () => {
    const { keys, list } = editor(async () => {
      throw new Error("broken");
    });
    await keys("/ai-server-load m", TAB);
    expect(list()).toEqual([]);
    await keys(...Array(17).fill("\u007f"), "/mod");
    expect(list().join()).toContain("about model");
  });

  test("everything else is pi's own", async () => {
    const { keys, list, text } = editor();
    await keys("see my-", TAB);
    expect(text()).toBe("see my-file");
    const foreign = editor();
    await foreign.keys("/model org", TAB);
    expect(foreign.text()).toBe("/model org/");
    expect(list()).toEqual([]);
  });

  test("a command of ours that takes nothing completes as pi does", async () => {
    const { keys, text } = editor();
    await keys("/ai-server-restart my-", TAB);
    expect(text()).toBe("/ai-server-restart my-file");
  });
});

describe("the provider", () => {
  const items = [{ value: "theirs", label: "theirs" }];
  const inner: AutocompleteProvider = {
    getSuggestions: async () => ({ items, prefix: "th" }),
    applyCompletion: () => ({ lines: ["applied"], cursorLine: 0, cursorCol: 7 }),
  };
  const options = { signal: new AbortController().signal };

  test("passes on everything that is not ours, the missing method too", async () => {
    const provider = aiServerAutocomplete(inner, known);
    expect(await provider.getSuggestions(["th"], 0, 2, options)).toEqual({ items, prefix: "th" });
    const second = ["text", "/ai-server-load "];
    expect(await provider.getSuggestions(second, 1, 16, options)).toEqual({ items, prefix: "th" });
    expect(provider.applyCompletion(["th"], 0, 2, { value: "x", label: "x" }, "th").lines).toEqual([
      "applied",
    ]);
    expect(provider.shouldTriggerFileCompletion?.(["th"], 0, 2)).toBe(true);
    expect(provider).not.toHaveProperty("triggerCharacters");
    const strict = { ...inner, triggerCharacters: ["$"], shouldTriggerFileCompletion: () => false };
    const wrapped = aiServerAutocomplete(strict, known);
    expect(wrapped.shouldTriggerFileCompletion?.(["th"], 0, 2)).toBe(false);
    expect(wrapped.shouldTriggerFileCompletion?.(["/ai-server-load "], 0, 16)).toBe(true);
    expect(wrapped.triggerCharacters).toEqual(["$"]);
    // As pi does when several providers are stacked.
    wrapped.triggerCharacters = ["$", "#"];
    expect(wrapped.triggerCharacters).toEqual(["$", "#"]);
  });

  test("leaves to the others an item that one of them put among ours", () => {
    const provider = aiServerAutocomplete(inner, known);
    const foreign = { value: "x", label: "x" };
    expect(provider.applyCompletion(["/ai-server-load m"], 0, 17, foreign, "m").lines).toEqual(["applied"]);
  });

  test("keeps the lines below", async () => {
    const provider = aiServerAutocomplete(inner, known);
    const lines = ["/ai-server-load my", "below"];
    const suggestions = await provider.getSuggestions(lines, 0, 18, options);
    const item = suggestions?.items[0];
    if (item === undefined) throw new Error("nothing suggested");
    expect(provider.applyCompletion(lines, 0, 18, item, "my")).toEqual({
      lines: ["/ai-server-load my model", "below"],
      cursorLine: 0,
      cursorCol: 24,
    });
    expect(lines[0]).toBe("/ai-server-load my");
  });
});
