import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { readAnswer, requestText, sharedFunctions, shownName, verbLine } from "../../../host/ssh/protocol.ts";
import { WRAPPER } from "../../support/local-host.ts";

const NONCE = "0123456789abcdef0123456789abcdef";

test("the first words before an answer are kept, short and safe to show", () => {
  const said = `Welcome\u001b[2J, ${"you have mail. ".repeat(100)}\n${NONCE} begin\n${NONCE} end\n`;
  const { noise } = readAnswer(said, NONCE);
  expect(noise).toMatch(/^Welcome, you have mail\./);
  expect(noise.length).toBeLessThan(202);
  expect(readAnswer(`\n${NONCE} begin\n${NONCE} end\n`, NONCE).noise).toBe("");
});

test("a request holds nothing of a user's but base64, whatever it is", () => {
  const hostile = "'; touch /tmp/x; $(id) `id`\n.\nEND\nverb restart\n-rf \u0000\u001b[2J".repeat(50);
  const text = requestText(
    NONCE,
    {
      verb: ["read"],
      name: hostile,
      content: Buffer.from(hostile),
      fit: {
        program: hostile,
        flags: [{ name: "model", value: hostile }],
        variables: [hostile],
        places: [hostile],
        projector: hostile,
      },
    },
    {
      presetPath: hostile,
      serviceUnit: hostile,
      restartCommand: hostile,
    },
  );
  for (const line of text.trimEnd().split("\n")) {
    expect(line).toMatch(
      /^(ai-server-1 \w+|(path|unit|restart|name|content|verb|program|place|flag-model|variable|projector) [\w+/=]+|[\w+/=]{1,76}|\.)$/,
    );
  }
});

test.each([
  ["write", "$(id)"],
  ["read", "-n"],
  ["read", ""],
  ["read", "a b"],
  ["a;b"],
  ["read", "x".repeat(65)],
])("a verb with other than letters and digits is refused: %s %s", (...verb) => {
  expect(() => verbLine(verb)).toThrow(RangeError);
});

test("the name of a flag that is none is refused", () => {
  const ask = (name: string): string => {
    const fit = {
      program: "",
      flags: [{ name, value: "" }],
      variables: [],
      places: [],
      projector: undefined,
    };
    return requestText(NONCE, { verb: ["fit", "1"], fit }, undefined);
  };
  expect(ask("cpu-moe")).toContain("\nflag-cpu-moe \n");
  for (const name of ["", "a b", "a\nverb restart", "A", "x".repeat(41), "$(id)"]) {
    expect(() => ask(name)).toThrow(RangeError);
  }
});

test("an answer is what stands between its own marks, and nothing that looks like one", () => {
  const said = `Welcome!${NONCE} begin\n${"f".repeat(32)} begin\nerror locked\n`;
  const output = `${said}\n${NONCE} begin\nalive\nfile YQ== -rw\ncontent\naGVs\nbG8=\n.\n${NONCE} end\nbye`;
  const { begun, answer } = readAnswer(output, NONCE);
  expect(begun).toBe(true);
  expect(answer?.error).toBeUndefined();
  expect(answer?.lines.at(-1)?.body?.toString()).toBe("hello");
  expect(readAnswer(output.replaceAll("\n", "\r\n"), NONCE).answer?.lines.at(-1)?.body?.toString()).toBe(
    "hello",
  );
  expect(readAnswer(said, NONCE)).toEqual({ noise: "", begun: false, answer: undefined });
  expect(readAnswer(`\n${NONCE} begin\nalive\n`, NONCE)).toEqual({
    noise: "",
    begun: true,
    answer: undefined,
  });
});

test("what a machine says is bounded and without terminal control, and a file's content is as it is", () => {
  const hostile =
    "\u001b]8;;http://x\u0007l\u001b]8;;\u0007\u001b]52;c;AAAA\u0007\u009b31m\u202ea\u0000\u0007b";
  const said = Buffer.from(`${"x".repeat(100_000)}\n${"y".repeat(150_000)}\n${hostile}`);
  const blocks = ["detail", "show", "logs", "unit", "verify", "kernel", "kernel-unit", "content"].map(
    (key) => `${key}\n${said.toString("base64")}\n.`,
  );
  const answer = readAnswer(
    `${NONCE} begin\nlinger ${hostile}${"y".repeat(9000)}\n${blocks.join("\n")}\n${NONCE} end\n`,
    NONCE,
  ).answer;
  const [value, ...texts] = answer?.lines ?? [];
  expect(value?.value).toMatch(/^y{1,6001}…?$/);
  for (const { text, body } of texts.slice(0, -1)) {
    expect(body).toBeUndefined();
    expect(text).toMatch(/^y{150000}\nlab$/);
    expect(text?.length).toBeLessThanOrEqual(200_001);
  }
  expect(texts.at(-1)).toMatchObject({ key: "content", text: undefined });
  expect(texts.at(-1)?.body?.equals(said)).toBe(true);
});

test("an answer of millions of lines is not read to its end", () => {
  const { answer } = readAnswer(`${NONCE} begin\n${"a\n".repeat(3_000_000)}${NONCE} end\n`, NONCE);
  expect(answer?.lines.length).toBeLessThanOrEqual(10_000);
});

test("every name of a file is shown without terminal control, and as no other name", () => {
  const names = [
    "a.yaml",
    "a\u001b]52;c;A\u0007.yaml",
    "a\\u{1b}.yaml",
    "a\u001b.yaml",
    "\u202ea.yaml",
    " a.yaml",
    "a\n.yaml",
  ];
  const shown = names.map((name) => shownName(name) ?? "");
  expect(new Set(shown).size).toBe(names.length);
  expect(shown[0]).toBe("a.yaml");
  expect(shown[1]).toBe("a\\u{1b}]52;c;A\\u{7}.yaml");
  for (const name of shown) expect(name).toMatch(/^[\x20-\x7e]+\.yaml$/);
  for (const none of ["", "a/b", "x".repeat(256)]) expect(shownName(none)).toBeUndefined();
});

test("a code that no script of ours gives is not repeated", () => {
  const withCode = (code: string) =>
    readAnswer(`\n${NONCE} begin\nerror ${code}\n${NONCE} end\n`, NONCE).answer?.error;
  expect(withCode("no-backup")).toBe("no-backup");
  expect(withCode("\u001b[2J\u202e$(x)")).toBe("unknown");
  expect(withCode("")).toBe("unknown");
});

test("the script is POSIX sh to every shell that is here, and the shared part is functions only", () => {
  const text = readFileSync(WRAPPER, "utf8");
  for (const [shell, ...args] of [["sh"], ["bash", "--posix"]]) {
    if (shell !== undefined) execFileSync(shell, [...args, "-n", WRAPPER]);
  }
  const outside = sharedFunctions(text)
    .replace(/^\w+\(\) \{\n.*?^\}$/gms, "")
    .split("\n")
    .filter((line) => line !== "" && !line.startsWith("#"));
  expect(outside.map((line) => line.split("=")[0])).toEqual([
    "protocol",
    "max_bytes",
    "kept_backups",
    "fit_seconds",
    "stamp_pattern",
  ]);
});
