import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { initTheme } from "@earendil-works/pi-coding-agent";
import { beforeAll, describe, expect, test } from "vitest";
import { PickView } from "../../../ui/pick.ts";
import { type AddPlace, startAddPlace, TOKEN } from "../../support/add-place.ts";
import { CONFIG } from "../../support/command-place.ts";
import { choosing, saying, User } from "../../support/command-user.ts";
import { eventually } from "../../support/processes.ts";

beforeAll(() => initTheme());

const WREN = "maker/Wren-GGUF:Q4_K_M";

/** One who says no to a question that begins with this. */
function refusing(words: string, ...wanted: string[]): User {
  const user = choosing(...wanted);
  user.confirms = ({ title }) => !title.startsWith(words);
  return user;
}

const stateOf = async ({ downloads, folder }: AddPlace, label: string) =>
  (await downloads.read(folder)).find((state) => state.label === label);

describe("in print and JSON mode", () => {
  test.each(["print", "json"] as const)("%s: shows what there is, and changes nothing", async (mode) => {
    const { place, hub, names } = await startAddPlace();
    const user = new User(mode).readsOutput();
    await place.type("/ai-server-add maker/Wren-GGUF", user);
    expect(user.failed).toContain("This command asks before it changes anything");
    if (mode === "print") expect(user.stdout).toMatch(/^maker\/Wren-GGUF\n[\s\S]*^Q4_K_M +195 KiB$/m);
    else {
      expect(user.objects[0]).toMatchObject({
        command: "ai-server-add",
        ok: false,
        repository: "maker/Wren-GGUF",
        quantisations: [
          { name: "Q4_K_M", bytes: 200_000 },
          { name: "Q8_0", bytes: 250_000 },
        ],
      });
    }
    expect([names(), place.text, hub.transfers.length]).toEqual([[], CONFIG, 0]);
  });

  test("needs a repository by name", async () => {
    const { place } = await startAddPlace();
    const user = new User("print").readsOutput();
    await place.type("/ai-server-add", user);
    expect(user.errors).toContain("Name a model on Hugging Face");
  });
});

describe("before the download", () => {
  test("a question says how much goes where, and no changes nothing", async () => {
    const { place, folder, names, hub } = await startAddPlace();
    const user = saying(false);
    await place.type("/ai-server-add maker/Wren-GGUF:q8_0", user);
    expect(user.questions[0]?.title).toBe("Download maker/Wren-GGUF:Q8_0?");
    expect(user.questions[0]?.text).toMatch(
      new RegExp(
        `^244 KiB in 2 files, into ${folder}/maker/Wren-GGUF on this machine, where .* is free\\.$`,
        "m",
      ),
    );
    expect(user.acts[0]).toEqual(["Do not download it", "Download it"]);
    expect([user.told, names(), hub.transfers.length]).toEqual([["Nothing was added."], [], 0]);
  });

  test("a disk that is too small is refused, but not for files that are there already", async () => {
    const { place, hub, folder } = await startAddPlace();
    const hasOneGib = "printf 'a b c d e f\\n/dev/a 9999999 50 1048576 5%% /\\n'";
    place.tool("df", hasOneGib);
    const user = saying(false);
    await place.type(`/ai-server-add ${WREN}`, user);
    expect([user.questions, user.told, hub.transfers]).toEqual([
      [],
      [
        "The download needs 195 KiB and 1 GiB to spare on this machine, and 1 GiB is free there. Nothing was downloaded; make room, or set AI_SERVER_MODELS_DIR to a larger disk.",
      ],
      [],
    ]);
    mkdirSync(join(folder, "maker/Wren-GGUF"), { recursive: true });
    writeFileSync(join(folder, "maker/Wren-GGUF/Wren-Q4_K_M.gguf"), Buffer.alloc(200_000));
    const again = saying(false);
    await place.type(`/ai-server-add ${WREN}`, again);
    expect(again.questions[0]?.text).toContain("where 1 GiB is free.");
    place.tool("df", "exit 1");
    const unknown = saying(false);
    await place.type(`/ai-server-add ${WREN}`, unknown);
    expect(unknown.questions[0]?.text).toContain("/maker/Wren-GGUF on this machine.\n");
  });

  test.each([
    ["has its file", "/m/maker/Wren-GGUF/Wren-Q4_K_M.gguf"],
    ["fetches it itself", "/m/other.gguf --hf-repo maker/Wren-GGUF:q4_k_m"],
  ])("a model of the config that %s is named, and nothing is asked", async (_does, file) => {
    const { place, hub } = await startAddPlace(
      `models:\n  mine: { cmd: "llama-server --port \${PORT} -m ${file}" }\n`,
    );
    const user = saying(true);
    await place.type(`/ai-server-add ${WREN}`, user);
    expect([user.questions, user.told, hub.transfers]).toEqual([
      [],
      [
        `${WREN} is in the config already: mine. Nothing was downloaded; to add it again, first run /ai-server-remove mine.`,
      ],
      [],
    ]);
  });

  test("each quantisation says whether it fits into the memory that llama-server finds", async () => {
    const { place } = await startAddPlace();
    const device = "  Vulkan0: A card (1025 MiB, 1000 MiB free)";
    place.tool(
      "llama-server",
      `[ "$*" = --list-devices ] && printf '%s\\n' 'Available devices:' '${device}'`,
    );
    const user = refusing("Download", "Q8_0");
    await place.type("/ai-server-add maker/Huge-GGUF", user);
    expect(user.choices[0]?.offered).toEqual([
      "Q4_K_M · 800 KiB · fits",
      "Q6_K · 900 KiB · tight",
      "Q8_0 · 1.2 MiB · too large",
    ]);
    expect(user.questions[0]?.text).toContain(
      "Its weights are larger than the memory of the server's devices",
    );
    const printing = new User("json").readsOutput();
    await place.type("/ai-server-add maker/Huge-GGUF:q6_k", printing);
    expect(printing.objects[0]?.quantisations).toEqual([{ name: "Q6_K", bytes: 921_600, room: "tight" }]);
  });

  test("an RPC client chooses among the quantisations and projectors", async () => {
    const { place } = await startAddPlace();
    const user = refusing("Download", "Q8_0");
    await place.type("/ai-server-add maker/Wren-GGUF", user);
    expect(user.choices).toEqual([
      { title: "Which quantisation of maker/Wren-GGUF?", offered: ["Q4_K_M · 195 KiB", "Q8_0 · 244 KiB"] },
    ]);
    const seeing = refusing("Download", "mmproj");
    await place.type("/ai-server-add maker/Kestrel-VL-GGUF", seeing);
    expect(seeing.choices).toEqual([
      {
        title: "Which projector for maker/Kestrel-VL-GGUF:Q4_K_M?",
        offered: ["mmproj-F16.gguf · 19.5 KiB", "None · text alone"],
      },
    ]);
    expect(seeing.questions[0]?.text).toContain("117 KiB in 2 files");
  });

  test("what the repository does not have is refused with what it has", async () => {
    const { place } = await startAddPlace();
    const user = new User("rpc");
    await place.type("/ai-server-add maker/Wren-GGUF:Q2_K", user);
    await place.type("/ai-server-add maker/Original", user);
    expect(user.told[0]).toBe('maker/Wren-GGUF has no "Q2_K". It has Q4_K_M, Q8_0.');
    expect(user.told[1]).toContain("maker/Original has no GGUF files");
  });

  test("a gated repository is refused with the link to its page, and given to one who has access", async () => {
    const { place, hub, names, downloads, folder } = await startAddPlace();
    const user = new User("rpc");
    await place.type("/ai-server-add maker/Gated-GGUF", user);
    expect(user.told).toEqual([
      `maker/Gated-GGUF is gated, and not open to you. Agree to its terms at ${hub.url}/maker/Gated-GGUF, then set HF_TOKEN to a token of that account.`,
    ]);
    place.set({ HF_TOKEN: TOKEN });
    const reader = choosing();
    await place.type("/ai-server-add maker/Gated-GGUF", reader);
    expect(reader.questions[0]?.text).toContain(`It is gated: ask for access on its page, ${hub.url}`);
    expect(names()).toEqual(["maker/Gated-GGUF/Gated-Q4_K_M.gguf"]);
    expect(reader.everything + JSON.stringify(await downloads.read(folder))).not.toContain(TOKEN);
    expect(hub.transfers.every(({ headers }) => headers.authorization === undefined)).toBe(true);
  });

  test("a public repository is downloaded without the token", async () => {
    const { place, hub } = await startAddPlace();
    place.set({ HF_TOKEN: TOKEN });
    await place.type(`/ai-server-add ${WREN}`, choosing());
    const fetched = hub.requests.filter(({ path }) => path.includes("/resolve/"));
    expect(fetched.map(({ headers }) => headers.authorization)).toEqual([undefined]);
  });

  test("a key that may only run ai-server-admin is refused in one sentence", async () => {
    const { place, hub } = await startAddPlace();
    place.installsWrapper();
    place.set({ AI_SERVER_SSH_MODE: "wrapper", AI_SERVER_SSH_HOST: "ai@127.0.0.1" });
    const user = new User("rpc");
    await place.type(`/ai-server-add ${WREN}`, user);
    expect(user.told).toEqual([
      "The ssh key for ai@127.0.0.1 may only run ai-server-admin (AI_SERVER_SSH_MODE=wrapper), which neither downloads nor deletes files: do that on the server itself, or use a key without a forced command.",
    ]);
    expect(hub.requests).toEqual([]);
  });
});

describe("the search in the terminal", () => {
  /** Types into the lists that come, each once it shows what is awaited. */
  function typing(...steps: [shows: string, keys: string][]): User {
    const user = new User("tui");
    user.sees = (screen) => {
      const [shows, keys] = (screen instanceof PickView && steps.shift()) || [];
      if (shows === undefined || keys === undefined) return;
      const [text = "", ...rest] = keys.split(/(?=\r)/);
      for (const key of text) screen.handleInput(key);
      void user.shows(shows).then(() => {
        for (const key of rest) screen.handleInput(key);
      });
    };
    return user;
  }

  test("finds a repository while typing, then asks for its quantisation", async () => {
    const { place, hub } = await startAddPlace();
    const user = typing(["maker/Wren-GGUF", "wren\r"], ["195 KiB", "\r"]);
    user.confirms = () => false;
    await place.type("/ai-server-add", user);
    expect(user.questions.map(({ title }) => title)).toEqual([`Download ${WREN}?`]);
    expect(hub.requests[0]?.path).toContain("search=wren&filter=gguf");
  });

  test("takes a repository as it is typed, and nothing on Escape", async () => {
    const { place } = await startAddPlace();
    const user = typing(["as typed", "maker/Wren-GGUF:Q8_0\r"]);
    user.confirms = () => false;
    await place.type("/ai-server-add", user);
    expect(user.questions.map(({ title }) => title)).toEqual(["Download maker/Wren-GGUF:Q8_0?"]);
    const leaving = new User("tui");
    leaving.sees = (screen) => screen.handleInput("\u001b");
    await place.type("/ai-server-add", leaving);
    expect(leaving.told).toEqual(["Nothing was added."]);
  });
});

describe("the download", () => {
  test("is shown, left running on Escape, and found again by the same command", async () => {
    const all = await startAddPlace();
    const { place, hub, names } = all;
    const held = hub.break("Wren-Q4_K_M.gguf", { holdAfter: 120_000 });
    const user = saying(true, "tui");
    user.confirms = ({ title }) => title.startsWith("Download");
    const typed = place.type(`/ai-server-add ${WREN}`, user);
    await user.shows(`Downloading ${WREN}: `);
    user.escape();
    await typed;
    expect(user.questions.at(-1)?.title).toBe(`Stop the download of ${WREN}?`);
    expect(user.acts.at(-1)).toEqual(["Leave it running", "Stop it"]);
    expect(user.told.at(-1)).toBe(
      `The server goes on with the download. /ai-server-add ${WREN} shows it again.`,
    );
    expect((await stateOf(all, WREN))?.stage).toBe("running");
    const { length: asked } = hub.requests;
    const again = saying(false, "tui");
    again.sees = (screen) => {
      if (screen instanceof PickView) screen.handleInput("\u001b");
    };
    const typedAgain = place.type(`/ai-server-add ${WREN}`, again);
    await again.shows(`Downloading ${WREN}: `);
    held.end();
    await typedAgain;
    expect(names()).toEqual(["maker/Wren-GGUF/Wren-Q4_K_M.gguf"]);
    // Nothing is asked of the hub for what is on its way.
    expect(hub.requests.slice(asked).map(({ path }) => path)).toEqual([]);
  });

  test("that is stopped goes on where it was, without a question", async () => {
    const all = await startAddPlace();
    const { place, hub, names } = all;
    const held = hub.break("Wren-Q4_K_M.gguf", { holdAfter: 120_000 });
    const user = saying(true, "tui");
    const typed = place.type(`/ai-server-add ${WREN}`, user);
    await user.shows(`Downloading ${WREN}: `);
    await eventually(
      "bytes have come",
      async () => ((await stateOf(all, WREN))?.doneBytes ?? 0) > 0 || undefined,
    );
    user.escape();
    await typed;
    expect(user.told.at(-1)).toBe(`The download is stopped. /ai-server-add ${WREN} goes on from there.`);
    expect([(await stateOf(all, WREN))?.stage, names()]).toEqual(["stopped", []]);
    held.end();
    const again = refusing("Download");
    await place.type(`/ai-server-add ${WREN}`, again);
    expect(again.questions.map(({ title }) => title)).not.toContain(`Download ${WREN}?`);
    expect(names()).toEqual(["maker/Wren-GGUF/Wren-Q4_K_M.gguf"]);
    expect(hub.transfers.at(-1)?.headers.range).toMatch(/^bytes=[1-9]\d*-$/);
  });

  test("that fails says why, and the next try fetches it", async () => {
    const all = await startAddPlace();
    const { place, hub, names } = all;
    hub.break("Wren-Q4_K_M.gguf", { isWrong: true, times: 1 });
    const user = saying(true);
    await place.type(`/ai-server-add ${WREN}`, user);
    expect(user.told.at(-1)).toContain("did not arrive with the content that the repository describes");
    expect(names()).toEqual([]);
    await place.type(`/ai-server-add ${WREN}`, saying(false));
    expect(names()).toEqual(["maker/Wren-GGUF/Wren-Q4_K_M.gguf"]);
  });
});
