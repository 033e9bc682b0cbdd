/** Text of the server's machine that would control the terminal, in every field that a command shows of it. */
import { renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { type Place, startPlace } from "../support/command-place.ts";
import { saying, User } from "../support/command-user.ts";

/** Title, clipboard and link of a terminal, colours in both spellings, a bell, a bidi override and isolate. */
const HOSTILE =
  "a\u001b]0;PWNED\u0007b\u001b]52;c;UFdORUQ=\u001b\\c\u001b]8;;http://PWNED/\u0007d\u001b[31me\u009b31mf\u009d0;PWNED\u009cg\u0007h\u202ei\u2066j\u200ek";
const PLAIN = "abcdefghijk";

const CONFIG = `# before ${HOSTILE}
models:
  small:
    # ${HOSTILE}
    cmd: |
      llama-server --port \${PORT} --load 0.2 -m /m/${HOSTILE}.gguf
        --ctx-size 8192
  second:
    cmd: run-${HOSTILE} --port \${PORT}
`;

/** Everything that was shown, one text a time. */
function shownTo(user: User): string[] {
  const { notices, questions, choices, statuses, stdout, stderr } = user;
  return [
    ...notices.map(({ text }) => text),
    ...questions.flatMap(({ title, text }) => [title, text]),
    ...choices.flatMap(({ title, offered }) => [title, ...offered]),
    ...statuses.flatMap((text) => text ?? []),
    stdout,
    stderr,
  ];
}

/** @param least how often the hostile text must be among what was shown, cleaned: else nothing was tried */
function expectClean(user: User, least: number): void {
  const all = shownTo(user).join("\n");
  expect(all).not.toMatch(/PWNED|UFdO/);
  expect(all.replaceAll("\n", "")).not.toMatch(/[\p{Cc}\p{Bidi_Control}]/u);
  expect(all.split(PLAIN).length - 1, all).toBeGreaterThanOrEqual(least);
}

/** The words of a program there, as a file that it prints: no shell has to quote them. */
function says(place: Place, name: string, text: string, rest = ""): void {
  const file = join(place.folder, "..", `${name}.txt`);
  writeFileSync(file, text);
  place.tool(name, `cat '${file}'${rest}`);
}

const both = (line: string, body: (place: Place, user: User, line: string) => Promise<void>): void => {
  test.each(["direct", "wrapper"])(`${line} by %s`, async (mode) => {
    const place = await startPlace();
    if (mode === "wrapper") {
      place.set({ AI_SERVER_SSH_MODE: "wrapper", AI_SERVER_SSH_HOST: "ops@127.0.0.1" });
      place.installsWrapper();
    }
    const user = saying(false);
    await body(place, user, line);
  });
};

both("/ai-server-status --ssh", async (place, user, line) => {
  place.text = CONFIG;
  const properties = [
    "LoadState=loaded",
    `ActiveState=${HOSTILE}`,
    `SubState=${HOSTILE}`,
    `Result=${HOSTILE}`,
  ];
  const argv = `ExecStart={ path=/x ; argv[]=llama-swap ${HOSTILE} -c ${HOSTILE} ; ignore_errors=no }`;
  says(place, "systemctl", [...properties, argv].join("\n"));
  says(place, "ls", `-rw${HOSTILE} 1 ${HOSTILE} ${HOSTILE} 1`, "");
  await place.type(line, user);
  expectClean(user, 2);
});

both("/ai-server-status --ssh of a unit without a word about it", async (place, user) => {
  says(place, "systemctl", HOSTILE, "; exit 1");
  await place.type("/ai-server-status --ssh", user);
  expectClean(user, 1);
});

both("/ai-server-status --ssh of a session that is none", async (place, user) => {
  process.env.XDG_RUNTIME_DIR = `/run/${HOSTILE}`;
  try {
    says(place, "systemctl", "Failed to connect to bus: No medium found", "; exit 1");
    await place.type("/ai-server-status --ssh", user);
  } finally {
    delete process.env.XDG_RUNTIME_DIR;
  }
  expectClean(user, 1);
});

both("/ai-server-refresh --config", async (place, user, line) => {
  place.text = `models:\n  "s${HOSTILE}":\n    cmd: llama-server -c $${HOSTILE}\n`;
  await place.type(line, user);
  place.text = `models: { a: [${HOSTILE}\n`;
  await place.type(line, user);
  expectClean(user, 0);
  expect(user.notices.map(({ level }) => level)).toEqual(["warning", "warning"]);
});

both("/ai-server-preset", async (place, user, line) => {
  place.text = CONFIG;
  await place.type(line, user);
  expectClean(user, 4);
  const inPrint = new User("print").readsOutput();
  await place.type(line, inPrint);
  expectClean(inPrint, 4);
  await place.type(`${line} small`, inPrint);
  expectClean(inPrint, 6);
});

both("/ai-server-ctx", async (place, user) => {
  place.text = CONFIG;
  await place.type("/ai-server-ctx small 4096", user);
  expect(user.questions).toHaveLength(1);
  expectClean(user, 1);
});

both("/ai-server-ctx, which fails", async (place) => {
  const user = saying(true);
  says(place, "cp", HOSTILE, " >&2; exit 1");
  await place.type("/ai-server-ctx small 4096", user);
  expectClean(user, 1);
});

both("/ai-server-rollback", async (place, user, line) => {
  writeFileSync(`${place.path}.bak-20260131T235959Z`, CONFIG);
  writeFileSync(`${place.path}.bak-20260131T235959Z${HOSTILE.replaceAll("/", "")}`, CONFIG);
  user.selects = ([_keep, newest]) => newest;
  await place.type(line, user);
  // To keep the config, and the one file whose name is a backup's.
  expect(user.choices[0]?.offered).toHaveLength(2);
  expectClean(user, 2);
});

both("/ai-server-logs", async (place, user, line) => {
  place.journal = `${HOSTILE}\n${HOSTILE}\n`;
  await place.type(line, user);
  expectClean(user, 2);
  const inTerminal = new User("tui");
  inTerminal.sees = (screen) => {
    const drawn = screen.render(80).join("\n");
    expect(drawn).toContain(PLAIN);
    // The frame is styled; what is drawn of the journal has nothing of its own.
    expect(drawn).not.toMatch(/PWNED|UFdO|\p{Bidi_Control}/u);
    inTerminal.escape();
  };
  await place.type(line, inTerminal);
});

both("/ai-server-logs of a journal that cannot be read", async (place, user) => {
  says(place, "journalctl", HOSTILE, " >&2; exit 1");
  await place.type("/ai-server-logs", user);
  expectClean(user, 1);
});

both("/ai-server-restart, which fails", async (place) => {
  const user = saying(true);
  const file = join(place.folder, "..", "words");
  writeFileSync(file, HOSTILE);
  place.tool(
    "systemctl",
    `case $2 in restart) cat '${file}' >&2; exit 1 ;; *) echo LoadState=loaded ;; esac`,
  );
  await place.type("/ai-server-restart", user);
  expectClean(user, 1);
});

test("the names of a folder's files, in what asks and what shows", async () => {
  const place = await startPlace();
  const name = `${HOSTILE.replaceAll("/", "")}.yaml`;
  renameSync(place.path, join(place.folder, name));
  place.set({ AI_SERVER_PRESET_PATH: place.folder });
  const user = saying(false);
  for (const line of ["status --ssh", "preset", "ctx small 4096", "ctx small", "refresh --config"]) {
    await place.type(`/ai-server-${line}`, user);
  }
  const shown = shownTo(user).join("\n");
  expect(user.questions).toHaveLength(1);
  expect(shown.replaceAll("\n", "")).not.toMatch(/[\p{Cc}\p{Bidi_Control}]/u);
  expect(shown.match(/a\\u\{1b\}]0;PWNED\\u\{7\}b/g)?.length).toBeGreaterThanOrEqual(4);
});

test("what ssh and the login there write to standard error", async () => {
  const place = await startPlace();
  place.set({ AI_SERVER_SSH_HOST: "ops@127.0.0.1" });
  const user = saying(false);
  for (const [said, code] of [
    [`${HOSTILE}`, 3],
    [`Bad configuration option: ${HOSTILE}`, 255],
    [`No ED25519 host key is known for ${HOSTILE} and you have requested`, 255],
    [`Host key for ${HOSTILE} has changed and you have requested strict checking.`, 255],
  ] as const) {
    says(place, "ssh", said, ` >&2; exit ${code}`);
    await place.type("/ai-server-status --ssh", user);
  }
  expectClean(user, 3);
});

both("ids that the config spells with escapes", async (place) => {
  const escaped = JSON.stringify(`s${HOSTILE}`).replace(
    /[\u0080-\uffff]/g,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
  place.text = `macros:\n  ${escaped}: x\nmodels:\n  ${escaped}:\n    cmd: llama-server -c ${escaped} --port 1\n    aliases: [${escaped}]\n  other:\n    cmd: \${nowhere} ${escaped}\n`;
  const user = saying(false);
  for (const line of [
    "status --ssh",
    "refresh --config",
    "ctx",
    "ctx s",
    "ctx other 5",
    "preset s",
    "preset",
  ]) {
    await place.type(`/ai-server-${line}`, user).catch((error: unknown) => {
      user.notices.push({ level: "error", text: error instanceof Error ? error.message : "" });
    });
  }
  expect(user.notices.length).toBeGreaterThanOrEqual(7);
  const shown = shownTo(user).join("\n");
  expect(shown.replaceAll("\n", "")).not.toMatch(/[\p{Cc}\p{Bidi_Control}]/u);
});
