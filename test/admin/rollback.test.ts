import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { CONFIG, type Place, startPlace } from "../support/command-place.ts";
import { User } from "../support/command-user.ts";

const OLD = "20260131T235959Z";
const NEWER = "20260201T080000Z";
const before = CONFIG.replace("--ctx-size 8192", "--ctx-size 4096");

/** A place with two backups; the newer one equals the file. */
async function withBackups(env: Record<string, string> = {}): Promise<Place> {
  const place = await startPlace(CONFIG, env);
  writeFileSync(`${place.path}.bak-${OLD}`, before);
  writeFileSync(`${place.path}.bak-${NEWER}`, CONFIG);
  return place;
}

const saying = (answer: boolean, chosen?: number): User => {
  const user = new User("rpc");
  user.confirms = () => answer;
  user.selects = (offered) => (chosen === undefined ? undefined : offered[chosen]);
  return user;
};

const size = Buffer.byteLength(CONFIG);
const local = (stamp: string): string =>
  new Date(stamp.replace(/(....)(..)(..)T(..)(..)(..)Z/, "$1-$2-$3T$4:$5:$6Z")).toLocaleString("sv-SE");
const KEEP = "Keep the config as it is";
const ROWS = [
  `${NEWER} · ${local(NEWER)} · ${size} B · the same as now`,
  `${OLD} · ${local(OLD)} · ${size} B · +1 −1 lines`,
];

describe("/ai-server-rollback", () => {
  test("without a backup says so", async () => {
    expect((await (await startPlace()).type("/ai-server-rollback")).notices).toEqual([
      { level: "info", text: "No backups yet: each change of the config makes one." },
    ]);
  });

  test("offers the newest first, with date, size and difference; nothing chosen does nothing", async () => {
    const place = await withBackups();
    const user = await place.type("/ai-server-rollback", saying(true));
    expect(user.choices).toEqual([{ title: "Which backup should be restored?", offered: [KEEP, ...ROWS] }]);
    expect([user.notices, place.text, place.restarts]).toEqual([[], CONFIG, 0]);
  });

  test("one that cannot be read does not hide the others", async () => {
    const place = await withBackups();
    writeFileSync(`${place.path}.bak-${NEWER}`, Buffer.from([0xff, 0xfe, 0x80]));
    const user = await place.type("/ai-server-rollback", saying(true));
    const offered = [KEEP, `${NEWER} · ${local(NEWER)} · 3 B · cannot be read`, ROWS[1]];
    expect(user.choices.map((choice) => choice.offered)).toEqual([offered]);
  });

  test.each([
    ["chosen", "/ai-server-rollback"],
    ["named by its stamp", `/ai-server-rollback ${OLD}`],
  ])("puts back the one that is %s, and loads again what was loaded", async (_, line) => {
    const place = await withBackups();
    await place.load("small");
    const user = await place.type(line, saying(true, 2));
    expect(user.questions).toEqual([
      {
        title: `Restore ${place.path} as of ${local(OLD)}?`,
        text: [
          "This restarts llama-swap.service, which unloads every model.",
          "Will be unloaded: small.",
          "No requests in flight.",
          "No load time recorded yet; a minute is typical.",
          "llama-swap refuses new requests and gives those in flight up to 30 s to finish; this may add up to 35 s.",
          "The current version is kept as a backup.",
          `In ${place.path}:`,
          "@@ -5,7 +5,7 @@",
          "     cmd: |",
          `       llama-server --port \${PORT} --load 0.2 --no-reasoning`,
          "         -m /models/small.gguf",
          "-        --ctx-size 8192",
          "+        --ctx-size 4096",
          '   "org/Größe:Q4 x":',
          `     cmd: llama-server --port \${PORT} --load 0.2 --parallel 2 -m /models/g.gguf -c 16384`,
          "     aliases: [groesse]",
        ].join("\n"),
      },
    ]);
    expect(user.acts).toEqual([["Keep as it is", "Restore and restart"]]);
    expect(user.told[0]).toMatch(
      /^Restored .*config\.yaml as of .*\.\nThe server answers with it\.\nThe previous version is in /,
    );
    expect([place.text, place.restarts, await place.loaded()]).toEqual([before, 1, ["small"]]);
    const newest = place.backups.at(-1) ?? "";
    expect(readFileSync(`${place.path}.bak-${newest}`, "utf8")).toBe(CONFIG);
    expect(place.aiServer.models.find(({ id }) => id === "small")?.contextWindow).toBe(4096);
  });

  test("does nothing unless confirmed, or where the backup equals the file", async () => {
    const place = await withBackups();
    expect((await place.type(`/ai-server-rollback ${OLD}`, saying(false))).told).toEqual([
      "Nothing was changed.",
    ]);
    expect((await place.type(`/ai-server-rollback ${NEWER}`)).told).toEqual([
      "Nothing to change: the config already says so.",
    ]);
    expect([place.text, place.restarts, place.backups]).toEqual([CONFIG, 0, [OLD, NEWER]]);
  });

  test.each(["20260131T235958Z", "yesterday", "../config.yaml", "$(touch ran)"])(
    "of the stamp %s, which there is not, names those there are",
    async (stamp) => {
      const place = await withBackups();
      expect((await place.type(`/ai-server-rollback ${stamp}`)).notices).toEqual([
        { level: "error", text: `No such backup. Available: ${NEWER}, ${OLD}.` },
      ]);
    },
  );

  test.each(["print", "json"] as const)("in %s mode lists, and refuses to put back", async (mode) => {
    const place = await withBackups();
    const listed = await place.type("/ai-server-rollback", new User(mode).readsOutput());
    expect(listed.answered).toBe(`${ROWS.join("\n")}\n`);
    // Not even the unit is asked.
    place.tool("systemctl", "echo LoadState=not-found");
    const refused = await place.type(`/ai-server-rollback ${OLD}`, new User(mode).readsOutput());
    expect([refused.answered, refused.failed]).toEqual(["", expect.stringContaining("cannot ask")]);
    expect([place.text, place.restarts]).toEqual([CONFIG, 0]);
  });

  test("to a config that the server refuses restores the present one", async () => {
    const place = await startPlace(CONFIG, { AI_SERVER_RESTART_TIMEOUT_MS: "1000" });
    writeFileSync(`${place.path}.bak-${OLD}`, "models: [}\n");
    const { notices } = await place.type(`/ai-server-rollback ${OLD}`, saying(true));
    expect(notices[0]?.level).toBe("error");
    expect(notices[0]?.text).toContain("The server did not come back with the new config.");
    expect(notices[0]?.text).toContain("failed to load config");
    expect([place.text, place.restarts]).toEqual([CONFIG, 2]);
  });

  test("of a folder's files names the file of each, and puts back the right one", async () => {
    const place = await startPlace();
    const folder = join(place.folder, "conf.d");
    mkdirSync(folder);
    const other = `models:\n  other:\n    cmd: llama-server --port \${PORT} -c 1024\n`;
    writeFileSync(join(folder, "a.yaml"), other);
    writeFileSync(join(folder, "b.yaml"), CONFIG);
    for (const name of ["a.yaml", "b.yaml"])
      writeFileSync(join(folder, `${name}.bak-${OLD}`), name === "a.yaml" ? `# ${other}` : before);
    place.set({ AI_SERVER_PRESET_PATH: folder });
    place.served = join(folder, "b.yaml");
    const user = await place.type("/ai-server-rollback", saying(true, 2));
    const offered = user.choices[0]?.offered.slice(1) ?? [];
    expect(offered.map((row) => row.split(" · ").at(-1))).toEqual([
      join(folder, "a.yaml"),
      join(folder, "b.yaml"),
    ]);
    expect(readFileSync(join(folder, "b.yaml"), "utf8")).toBe(before);
    expect(readFileSync(join(folder, "a.yaml"), "utf8")).toBe(other);
  });

  test("shows no secret of either text", async () => {
    const place = await startPlace(`apiKeys: [hunter1]\n${CONFIG}`, { AI_SERVER_API_KEY: "hunter1" });
    writeFileSync(`${place.path}.bak-${OLD}`, `apiKeys: [hunter2]\n${CONFIG}`);
    const user = await place.type(`/ai-server-rollback ${OLD}`, saying(false));
    expect(user.questions[0]?.text).toMatch(/-apiKeys: \[•+\]\n\+apiKeys: \[•+\]/);
    expect(user.everything).not.toContain("hunter");
  });
});
