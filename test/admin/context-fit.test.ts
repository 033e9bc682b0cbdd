import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { type Place, startPlace } from "../support/command-place.ts";
import { saying, User } from "../support/command-user.ts";
import { FIT_HELP, installFitTools } from "../support/fit-tools.ts";

const folder = mkdtempSync(join(tmpdir(), "context-fit-"));
afterAll(() => rmSync(folder, { recursive: true }));

/** The beginning of a model's file, as far as it counts here. */
const MODEL = join(folder, "model.gguf");
writeFileSync(MODEL, Buffer.from("llama.context_length\u0004\0\0\0\0\0\u0008\0", "latin1"));

/** Trained for 524,288 tokens. */
const CONFIG = `models:
  small:
    cmd: llama-server --port \${PORT} -m ${MODEL} -c 8192
  large:
    cmd: llama-server --port \${PORT} -m ${MODEL} -c 262144 -np 1
  drafting:
    cmd: llama-server --port \${PORT} -m ${MODEL} -c 262144 -md /models/draft.gguf
  other:
    cmd: vllm serve x --port \${PORT} --max-model-len 8192
`;

async function placeWith(freeMiB?: number, config = CONFIG): Promise<Place> {
  const place = await startPlace(config);
  installFitTools(place, freeMiB);
  return place;
}

/** The lines of the question about memory: between the present size and what the change does. */
function fitLines(user: User): string[] {
  const lines = user.questions[0]?.text.split("\n") ?? [];
  return lines.slice(
    1,
    lines.findIndex((line) => line.startsWith("This restarts")),
  );
}

async function asked(place: Place, line: string): Promise<string[]> {
  const user = saying(false);
  await place.type(line, user);
  expect(user.acts).toEqual([["Keep as it is", "Change and restart"]]);
  expect(place.backups).toEqual([]);
  return fitLines(user);
}

describe("/ai-server-ctx <id> <size>", () => {
  test("shows what the size needs, and what is free for it", async () => {
    expect(await asked(await placeWith(), "/ai-server-ctx small 64k")).toEqual([
      "Needs 3.1 GiB on Vulkan0 (weights 1.0, context 2.0, compute 0.1) of 24 GiB; 23.4 GiB now free.",
    ]);
  });

  test("counts what loaded models hold that will be unloaded, and itself is one of them", async () => {
    const place = await placeWith(24_576 - 9292);
    await place.load("large");
    expect(await asked(place, "/ai-server-ctx small 512k")).toEqual([
      "Needs 17.1 GiB on Vulkan0 (weights 1.0, context 16.0, compute 0.1) of 24 GiB; 9.1 GiB now used by large, which will be unloaded.",
    ]);
    expect(await asked(place, "/ai-server-ctx large 32k")).toEqual([
      "Needs 2.1 GiB on Vulkan0 (weights 1.0, context 1.0, compute 0.1) of 24 GiB; 9.1 GiB now used by large, which will be unloaded.",
    ]);
  });

  test("where it does not fit, says by how much and which size would", async () => {
    expect(await asked(await placeWith(10_000), "/ai-server-ctx small 512k")).toEqual([
      "Needs 17.1 GiB on Vulkan0 (weights 1.0, context 16.0, compute 0.1) of 24 GiB; 9.8 GiB now free.",
      "It does not fit: 8.3 GiB too much on Vulkan0, with the 1 GiB that llama.cpp leaves free.",
      "251904 tokens (246k) would fit.",
    ]);
    expect((await asked(await placeWith(), "/ai-server-ctx small 1m"))[2]).toBe(
      "524288 tokens (512k) would fit.",
    );
    const none = await placeWith(2000);
    expect((await asked(none, "/ai-server-ctx small 512k")).slice(1)).toEqual([
      "It does not fit: 16.1 GiB too much on Vulkan0, with the 1 GiB that llama.cpp leaves free.",
      "Not even 4096 tokens (4k) fit.",
    ]);
  });

  test("claims nothing of what another model uses where that is not known", async () => {
    const place = await placeWith(10_000);
    await place.load("other");
    expect(await asked(place, "/ai-server-ctx small 256k")).toEqual([
      "Needs 9.1 GiB on Vulkan0 (weights 1.0, context 8.0, compute 0.1) of 24 GiB; 9.8 GiB now free; how much other uses is not known.",
      "Whether it fits is not known.",
    ]);
    expect((await asked(place, "/ai-server-ctx small 64k"))[1]).toBeUndefined();
    expect((await asked(place, "/ai-server-ctx small 1m"))[1]).toBe(
      "It does not fit: 10.1 GiB too much on Vulkan0, with the 1 GiB that llama.cpp leaves free.",
    );
  });

  test("names what is not counted", async () => {
    expect(await asked(await placeWith(), "/ai-server-ctx drafting 64k")).toEqual([
      "Needs at least 3.1 GiB on Vulkan0 (weights 1.0, context 2.0, compute 0.1) of 24 GiB; 23.4 GiB now free.",
      "Whether it fits is not known.",
      "Not counted: its draft model.",
    ]);
  });

  test.each<[string, string, (place: Place) => void, RegExp]>([
    [
      "another server",
      "other",
      () => {},
      /it is started by "vllm", and llama-fit-params knows only llama-server\.$/,
    ],
    [
      "a tool that fails",
      "small",
      (place) => place.tool("llama-fit-params", "exit 1"),
      /llama-fit-params failed on this machine/,
    ],
    [
      "an old tool",
      "small",
      (place) => place.tool("llama-fit-params", "echo --model FNAME"),
      /too old, without --fit-print/,
    ],
    [
      "a tool that does not end",
      "small",
      (place) => {
        const begun = join(place.folder, "..", "begun");
        const hang = `: >'${begun}'; exec tail -f /dev/null`;
        place.tool("llama-fit-params", `case $* in --help) echo '${FIT_HELP}' ;; *) ${hang} ;; esac`);
        // Its limit is over as soon as it has begun.
        place.tool("sleep", `case $1 in [12]?) until [ -e '${begun}' ]; do /bin/sleep 0.01; done ;; esac`);
      },
      /llama-fit-params took longer than 20 s on this machine/,
    ],
  ])("with %s one line says why it is not known, and the change goes on", async (_what, id, prepare, why) => {
    const place = await placeWith();
    prepare(place);
    const user = saying(true);
    await place.type(`/ai-server-ctx ${id} 16k`, user);
    // The last line before the difference.
    const lines = user.questions[0]?.text.split("\n") ?? [];
    const last = lines.findIndex((line) => line.startsWith("In ")) - 1;
    expect([fitLines(user), lines[last]]).toEqual([[], expect.stringMatching(why)]);
    expect(user.told.at(-1)).toMatch(/: the context size is now 16384 tokens/);
    expect(place.text).toMatch(/ 16384/);
  });
});

describe("/ai-server-ctx <id> max", () => {
  test("changes to the largest size that fits, found without loading", async () => {
    const place = await placeWith(10_000);
    const user = saying(true);
    await place.type("/ai-server-ctx small MAX", user);
    expect(user.questions[0]?.title).toMatch(/^Change the context size of small to 251904 tokens/);
    expect(fitLines(user)).toEqual([
      "Needs 8.8 GiB on Vulkan0 (weights 1.0, context 7.7, compute 0.1) of 24 GiB; 9.8 GiB now free.",
    ]);
    expect(place.text).toContain("-c 251904\n");
    expect(await place.loaded()).toEqual(["small"]);
  });

  test("is never more than the model was trained for", async () => {
    const place = await placeWith();
    const user = saying(false);
    await place.type("/ai-server-ctx small max", user);
    expect(user.questions[0]?.title).toMatch(/to 524288 tokens/);
  });

  test("refuses where it is not known, or nothing fits, and changes nothing", async () => {
    const place = await placeWith(2200);
    const told = async (line: string, user = saying(true)): Promise<string> => {
      await place.type(line, user);
      expect(user.questions).toEqual([]);
      return user.told.join("\n");
    };
    expect(await told("/ai-server-ctx small max")).toBe(
      "No size fits: not even 4096 tokens (4k). Nothing was changed.",
    );
    expect(await told("/ai-server-ctx other max")).toMatch(
      /^What fits is not known: it is started by "vllm".* Give a number of tokens instead\. Nothing was changed\.$/,
    );
    installFitTools(place);
    expect(await told("/ai-server-ctx drafting max")).toMatch(
      /^What fits is not known: what it needs, or what will be free/,
    );
    const printing = new User("print").readsOutput();
    await place.type("/ai-server-ctx small max", printing);
    expect(printing.everything).toMatch(/print mode cannot ask/);
    expect(place.backups).toEqual([]);
  });
});

test("/ai-server-ctx <id> shows the setting, its need, and the largest that fits", async () => {
  const place = await placeWith(10_000);
  await place.load("large");
  expect((await place.type("/ai-server-ctx small")).told).toEqual([
    [
      "small",
      `Context size: 8192 tokens (8k), set by -c in ${place.path}, line 3.`,
      "Needs 1.3 GiB on Vulkan0 (weights 1.0, context 0.3, compute 0.1) of 24 GiB; 9.1 GiB now used by large, which a change unloads.",
      "Largest that fits: 524288 tokens (512k), all that it was trained for.",
    ].join("\n"),
  ]);
  place.text = CONFIG.replace("-c 8192", "");
  const { told } = await place.type("/ai-server-ctx small");
  expect(told[0]?.split("\n").slice(2)).toEqual([
    "Largest that fits: 524288 tokens (512k), all that it was trained for.",
  ]);
});
