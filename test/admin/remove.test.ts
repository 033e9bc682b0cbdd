import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { initTheme } from "@earendil-works/pi-coding-agent";
import { beforeAll, beforeEach, describe, expect, onTestFinished, test } from "vitest";
import { CONFIG, ODD, type Place, startPlace } from "../support/command-place.ts";
import { saying, User } from "../support/command-user.ts";

beforeAll(() => initTheme());

let folder: string;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "models of-"));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
});

/** A file of a model, with as many bytes. */
function file(name: string, bytes = 2048): string {
  const path = join(folder, name);
  mkdirSync(join(path, ".."), { recursive: true });
  writeFileSync(path, "x".repeat(bytes));
  return path;
}

const COMMAND = `llama-server --port \${PORT} --load 0.2 --no-reasoning`;

/** Two models whose files are there; what comes after them. */
function config(old: string, kept = "-m /m/kept.gguf", more: readonly string[] = []): string {
  const lines = ["models:", "  # about the old one", "  old:", `    cmd: ${COMMAND} ${old}`, "", "  kept:"];
  return [...lines, `    cmd: ${COMMAND} ${kept}`, ...more, ""].join("\n");
}

/** A user who wants the block out, and answers the question about the files. */
function removing(deletes: boolean | undefined): User {
  const user = new User("rpc");
  user.confirms = ({ title }) => {
    if (title.startsWith("Remove ")) return true;
    if (deletes === undefined) throw new Error(`Not expected: ${title}`);
    return deletes;
  };
  return user;
}

const quoted = (path: string): string => `-m "${path}"`;

describe("a confirmed removal", () => {
  test("takes the block out, restarts, checks, loads the others again, and updates pi", async () => {
    const place = await startPlace();
    await place.load(ODD);
    const user = await place.type("/ai-server-remove small", saying(true));
    expect(place.text).toBe(
      `# the models of this house\nincludeAliasesInList: true\nmodels:\n${CONFIG.slice(CONFIG.indexOf('  "org'))}`,
    );
    const [stamp = ""] = place.backups;
    expect(user.notices).toEqual([
      {
        level: "info",
        text: [
          "small is no longer in the config.",
          "The server answers with it.",
          `The previous version is in ${place.path}.bak-${stamp}.`,
        ].join("\n"),
      },
    ]);
    expect([place.restarts, await place.loaded()]).toEqual([1, [ODD]]);
    expect(place.aiServer.models.map(({ id }) => id)).not.toContain("small");
    expect(user.questions.map(({ title }) => title)).toEqual(["Remove small from the config?"]);
    expect(user.acts).toEqual([["Keep as it is", "Remove and restart"]]);
    expect(user.questions[0]?.text).toContain("\n-  small:   # for everyday questions\n");
  });

  test("can be undone by a rollback", async () => {
    const place = await startPlace();
    await place.type("/ai-server-remove small", saying(true));
    const [stamp = ""] = place.backups;
    await place.type(`/ai-server-rollback ${stamp}`, saying(true));
    expect(place.text).toBe(CONFIG);
  });

  test("finds the model by its alias and by the beginning of its id", async () => {
    const place = await startPlace();
    await place.type("/ai-server-remove groesse", removing(undefined));
    expect(place.text).not.toContain("org/Größe");
    await place.type("/ai-server-remove sma", removing(undefined));
    expect(place.text).toContain("models: {}");
  });

  test("names what changes too, and what stays", async () => {
    const more = ["groups:", "  both: {members: [old, kept]}", "hooks: {on_startup: {preload: [old]}}"];
    const place = await startPlace(config("-m /m/shared.gguf", "-m /m/shared.gguf", more));
    const user = await place.type("/ai-server-remove old", removing(undefined));
    const text = user.questions[0]?.text ?? "";
    expect(text).toContain('It leaves the group "both".\n');
    expect(text).toContain("It is no longer loaded when the server starts.\n");
    expect(text).toContain("/m/shared.gguf stays: another model uses that file.");
    expect(place.text).toContain("members: [kept]");
    expect(place.text).toContain("preload: []");
  });

  test("where llama-swap reloads by itself restarts nothing", async () => {
    const place = await startPlace();
    place.unitRuns("llama-swap -config config.yaml -watch-config");
    place.reloadsWhenChanged();
    await place.load("small");
    const user = await place.type("/ai-server-remove small", removing(undefined));
    expect(user.told[0]).toContain("small is no longer in the config.");
    expect([place.restarts, await place.loaded()]).toEqual([0, []]);
  });

  test("the old config comes back where the server still offers the model", async () => {
    const place = await startPlace();
    const other = join(place.folder, "..", "other.yaml");
    writeFileSync(other, CONFIG);
    place.served = other;
    const { notices } = await place.type("/ai-server-remove small", removing(undefined));
    expect(notices[0]?.level).toBe("error");
    expect(notices[0]?.text).toMatch(
      /^The server does not show the new config\. The server still offers small\. .*\nThe previous config is restored/,
    );
    expect(place.text).toBe(CONFIG);
  });

  test("the old config comes back where the server does not", async () => {
    const place = await startPlace();
    place.spoils = (text) => (text.includes("small") ? undefined : "models: [\n");
    place.set({ AI_SERVER_RESTART_TIMEOUT_MS: "1000" });
    const { told } = await place.type("/ai-server-remove small", removing(undefined));
    expect(told[0]).toMatch(/^The server did not come back with the new config\./);
    expect([place.text, await place.loaded()]).toEqual([CONFIG, []]);
  });
});

describe("the files of a removed model", () => {
  test.each([true, false])(
    "are shown with their sizes, and deleted if the user wants it: %s",
    async (deletes) => {
      const [first, second] = [
        file("big-00001-of-00002.gguf", 1_500_000),
        file("big-00002-of-00002.gguf", 700_000),
      ];
      const projector = file("mm/proj it's.gguf");
      const template = file("t.jinja");
      const place = await startPlace(
        config(
          `${quoted(first)} --mmproj "${projector}" --chat-template-file "${template}" -md /nowhere/draft.gguf`,
        ),
      );
      const user = await place.type("/ai-server-remove old", removing(deletes));
      expect(user.questions[1]).toEqual({
        title: "Delete the files of old too?",
        text: [
          `${first} (1.4 MiB)`,
          `${second} (684 KiB)`,
          `${projector} (2 KiB)`,
          "3 files, 2.1 MiB in all.",
        ].join("\n"),
      });
      expect(user.acts[1]).toEqual(["Keep the files", "Delete them"]);
      expect(user.told.at(-1)).toBe(deletes ? "Deleted 3 files, 2.1 MiB." : "The files are still there.");
      expect([first, second, projector].map(existsSync)).toEqual([!deletes, !deletes, !deletes]);
      expect(existsSync(template)).toBe(true);
    },
  );

  test("stay where another model names them, by a macro, a shard, a link or a linked folder", async () => {
    const names = [
      "macro.gguf",
      "s-00001-of-00002.gguf",
      "s-00002-of-00002.gguf",
      "real.gguf",
      "sub/deep.gguf",
      "own.gguf",
    ];
    const [macro = "", shard = "", other = "", real = "", deep = "", own = ""] = names.map((name) =>
      file(name),
    );
    const [link, linked] = [join(folder, "link.gguf"), join(folder, "linked")];
    symlinkSync("real.gguf", link);
    symlinkSync("sub", linked);
    const kept = [
      `--mmproj "${join(linked, "deep.gguf")}"`,
      quoted(link),
      `--lora "${other}" -md "\${draft}"`,
    ].join(" ");
    const lora = `--lora "${shard}" --control-vector "${real}"`;
    const place = await startPlace(
      `macros: { draft: ${JSON.stringify(macro)} }\n${config(`${quoted(own)} ${lora} --mmproj "${deep}" -md "${macro}"`, kept)}`,
    );
    const user = await place.type("/ai-server-remove old", removing(true));
    expect(user.questions[1]?.text).toContain(`${own} (2 KiB)\n1 file, 2 KiB in all.\n`);
    expect(user.questions[1]?.text).toContain(`${real} stays: another model uses that file.`);
    expect(user.told.at(-1)).toBe("Deleted 1 file, 2 KiB.");
    expect(names.filter((name) => !existsSync(join(folder, name)))).toEqual(["own.gguf"]);
  });

  test("stay where the config names them again by the time that the user agrees", async () => {
    const [path, other] = [file("a.gguf"), file("b.gguf")];
    const place = await startPlace(config(`${quoted(path)} --mmproj "${other}"`));
    const user = new User("rpc");
    user.confirms = ({ title }) => {
      if (title.startsWith("Delete ")) place.text += `  third:\n    cmd: ${COMMAND} ${quoted(path)}\n`;
      return true;
    };
    await place.type("/ai-server-remove old", user);
    expect(user.notices.at(-1)).toEqual({
      level: "warning",
      text: `Deleted 1 file, 2 KiB.\n${path} was not deleted: it has changed, or the config names it again.`,
    });
    expect([existsSync(path), existsSync(other)]).toEqual([true, false]);
  });

  test("that are links stay, and so does what is no file", async () => {
    const real = file("real.gguf");
    const [link, dir] = [join(folder, "link.gguf"), join(folder, "dir.gguf")];
    symlinkSync(real, link);
    mkdirSync(dir);
    const place = await startPlace(config(`${quoted(link)} --mmproj "${dir}"`));
    const user = await place.type("/ai-server-remove old", removing(undefined));
    expect(user.told.at(-1)).toBe(
      `${link} stays: it is a link to a file elsewhere.\n${dir} stays: it is not a regular file.`,
    );
    expect(readdirSync(folder).sort()).toEqual(["dir.gguf", "link.gguf", "real.gguf"]);
  });

  test("of another file of the config folder stay", async () => {
    const path = file("a.gguf");
    const place = await startPlace();
    const dir = join(place.folder, "conf.d");
    mkdirSync(dir);
    writeFileSync(join(dir, "a.yaml"), config(quoted(path)));
    writeFileSync(join(dir, "b.yaml"), `models:\n  c:\n    cmd: ${COMMAND} ${quoted(path)} -c 512\n`);
    place.set({ AI_SERVER_PRESET_PATH: dir });
    place.served = join(dir, "a.yaml");
    const user = await place.type("/ai-server-remove old", removing(undefined));
    expect(user.told[0]).toContain("old is no longer in the config.");
    expect(existsSync(path)).toBe(true);
  });

  test("cannot be deleted with a key that only edits the config", async () => {
    const path = file("a.gguf");
    const place = await startPlace(config(quoted(path)));
    place.installsWrapper();
    place.set({ AI_SERVER_SSH_HOST: "tester@127.0.0.1", AI_SERVER_SSH_MODE: "wrapper" });
    const user = await place.type("/ai-server-remove old", removing(undefined));
    expect(place.text).not.toContain("old:");
    expect(user.notices.at(-1)).toEqual({
      level: "info",
      text: expect.stringMatching(
        /^The files of old were not deleted: .*a\.gguf\.\nThe ssh key for tester@127\.0\.0\.1 may only run ai-server-admin/,
      ),
    });
    expect(existsSync(path)).toBe(true);
  });

  test("are not asked about where none are there", async () => {
    const place = await startPlace(config("-m /nowhere/at/all.gguf"));
    const user = await place.type("/ai-server-remove old", removing(undefined));
    expect(user.notices).toHaveLength(1);
  });
});

describe("a removal that is not made", () => {
  test.each(["rpc", "tui"] as const)("changes nothing where the user says no in %s mode", async (mode) => {
    const place = await startPlace();
    const user = await place.type("/ai-server-remove small", saying(false, mode));
    expect([user.told, place.text, place.restarts]).toEqual([["Nothing was changed."], CONFIG, 0]);
    expect(user.questions).toHaveLength(1);
  });

  test.each(["print", "json"] as const)("is refused in %s mode, which cannot ask", async (mode) => {
    const place = await startPlace();
    const user = await place.type("/ai-server-remove small", new User(mode).readsOutput());
    expect(user.failed).toContain(`${mode} mode cannot ask. Nothing was changed`);
    expect(place.text).toBe(CONFIG);
  });

  test.each([
    ["", /^Name a model\. The server has /],
    ["nosuch", /^No model "nosuch"\./],
    ["small now", /^This command takes one model; "now" after it is not understood\.$/],
  ])("is refused for %j", async (argument, sentence) => {
    const place = await startPlace();
    const user = await place.type(`/ai-server-remove ${argument}`, removing(undefined));
    expect(user.told[0]).toMatch(sentence);
    expect([place.text, user.questions]).toEqual([CONFIG, []]);
  });

  test("is refused with the line where something else needs the model", async () => {
    const text = config("-m /m/a.gguf", "-m /m/b.gguf", ["matrix:", "  sets:", "    s: old & kept"]);
    const place = await startPlace(text);
    const { notices } = await place.type("/ai-server-remove old", removing(undefined));
    expect(notices).toEqual([
      {
        level: "error",
        text: 'The configuration at line 10, column 8: the set "s" of the matrix needs "old". Write the set without this model by hand, then try again.',
      },
    ]);
    expect(place.text).toBe(text);
  });

  test("says so where the file was edited during the question", async () => {
    const place: Place = await startPlace();
    const user = new User("rpc");
    user.confirms = () => {
      place.text = `${CONFIG}# theirs\n`;
      return true;
    };
    await place.type("/ai-server-remove small", user);
    expect(user.told[0]).toContain("changed by another program");
    expect(place.text).toBe(`${CONFIG}# theirs\n`);
  });
});
