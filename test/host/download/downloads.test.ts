import {
  chmodSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  realpathSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { afterEach, describe, expect, test } from "vitest";
import { DownloadPlace, PROJECTOR, REPOSITORY, SHARDS, SHELLS } from "../../support/download-place.ts";
import { eventually } from "../../support/processes.ts";

let place: DownloadPlace;
afterEach(() => place.remove());

describe.each(SHELLS)("in %s", (shell) => {
  test("all shards and the projector arrive in order, and the first shard has its name last", async () => {
    place = await DownloadPlace.start(shell);
    const log = join(place.host.tools, "links");
    writeFileSync(log, "");
    place.host.own(log);
    place.host.tool("ln", `for last; do :; done; echo "\${last##*/}" >>'${log}'; exec /usr/bin/ln "$@"`);
    const begun = await place.downloads.start(place.request());
    expect(begun).toMatchObject({ isNew: true, warning: undefined });
    expect(begun.state).toMatchObject({ label: `${REPOSITORY}:Q4_K_M`, totalBytes: 1_100_006 });
    expect(await place.ended()).toMatchObject({
      stage: "complete",
      program: "curl",
      doneBytes: 1_100_006,
      problem: undefined,
    });
    expect(place.names).toEqual([...SHARDS, PROJECTOR]);
    expect(await place.wrongFiles()).toEqual([]);
    expect(
      place.hub.requests
        .filter(({ path }) => path.includes("/resolve/"))
        .map(({ path }) => path.split("/").at(-1)),
    ).toEqual([...SHARDS, PROJECTOR]);
    expect(readFileSync(log, "utf8").trimEnd().split("\n")).toEqual([PROJECTOR, ...[...SHARDS].reverse()]);
  });

  test("what a stopped download has fetched is kept, and the next start fetches the rest alone", async () => {
    place = await DownloadPlace.start(shell);
    const held = place.hub.break(SHARDS[1] ?? "", { holdAfter: 100_000 });
    await place.downloads.start(place.request());
    await held.happened;
    // curl keeps the last bytes back until its buffer is full.
    await place.sees("the bytes are written", ({ doneBytes }) => doneBytes > 290_000);
    expect(await place.state()).toMatchObject({ stage: "running", program: "curl" });
    await place.downloads.stop(place.folder, place.id);
    const stopped = await place.state();
    expect(stopped).toMatchObject({ stage: "stopped", problem: undefined });
    expect(place.names).toEqual([]);
    held.end();
    await place.downloads.start(place.request());
    expect(await place.ended()).toMatchObject({ stage: "complete" });
    expect(await place.wrongFiles()).toEqual([]);
    expect(place.hub.transfers.map(({ headers }) => headers.range)).toEqual([
      undefined,
      undefined,
      `bytes=${(stopped?.doneBytes ?? 0) - 200_000}-`,
      undefined,
      undefined,
    ]);
  });

  test("a second start finds what runs, and starts nothing", async () => {
    place = await DownloadPlace.start(shell);
    const held = place.hub.break(SHARDS[0] ?? "", { holdAfter: 10_000 });
    const both = await Promise.all([1, 2, 3].map(() => place.downloads.start(place.request())));
    expect(both.filter(({ isNew }) => isNew)).toHaveLength(1);
    await held.happened;
    await expect(place.downloads.clear(place.folder, place.id)).rejects.toMatchObject({
      code: "still-running",
    });
    held.end();
    expect(await place.ended()).toMatchObject({ stage: "complete" });
    expect(place.hub.transfers).toHaveLength(4);
  });

  test("two downloads that share files fetch each of them once", async () => {
    place = await DownloadPlace.start(shell);
    const held = place.hub.break(SHARDS[0] ?? "", { holdAfter: 10_000, times: 1 });
    const other = place.request({ label: "org/Model-GGUF:other" });
    const { state } = await place.downloads.start(other);
    await held.happened;
    await place.downloads.start(place.request());
    await place.sees("the second one waits", ({ stage }) => stage === "waiting");
    held.end();
    expect(await place.ended()).toMatchObject({ stage: "complete" });
    expect(await place.ended(state.id)).toMatchObject({ stage: "complete" });
    expect(await place.wrongFiles()).toEqual([]);
    expect(place.hub.transfers).toHaveLength(4);
    await place.downloads.clear(place.folder, state.id);
    await place.downloads.clear(place.folder, place.id);
    expect(place.staged).toEqual([]);
    expect(place.names).toHaveLength(4);
  });

  test("clearing removes what has arrived, and nothing that another download needs", async () => {
    place = await DownloadPlace.start(shell);
    const held = place.hub.break(SHARDS[1] ?? "", { holdAfter: 10_000 });
    await place.downloads.start(place.request());
    await held.happened;
    await place.downloads.stop(place.folder, place.id);
    const [first, second] = place.request().files;
    const only = place.request({ label: "only", files: place.request().files.slice(0, 1) });
    const { state } = await place.downloads.start(only);
    expect(await place.ended(state.id)).toMatchObject({ stage: "complete" });
    const left = () => place.staged.filter((name) => /\.(part|whole)$/.test(name));
    expect(left()).toEqual([`${second?.sha256}.part`]);
    await place.downloads.clear(place.folder, place.id);
    expect(left()).toEqual([]);
    expect(place.names).toEqual([first?.path]);
    await expect(place.downloads.stop(place.folder, place.id)).rejects.toMatchObject({
      code: "unknown-download",
    });
  });

  test("a file that is there already counts if it is the same, and is never overwritten if it is another", async () => {
    place = await DownloadPlace.start(shell);
    await place.downloads.start(place.request());
    expect(await place.ended()).toMatchObject({ stage: "complete" });
    await place.downloads.start(place.request());
    expect(await place.ended()).toMatchObject({ stage: "complete" });
    expect(place.hub.transfers).toHaveLength(4);
    const path = join(place.folder, SHARDS[2] ?? "");
    const changed = readFileSync(path);
    changed[7] = (changed[7] ?? 0) ^ 1;
    writeFileSync(path, changed);
    await place.downloads.start(place.request());
    expect(await place.ended()).toMatchObject({
      stage: "failed",
      problem: {
        code: "exists",
        message: expect.stringContaining(`${path} on this machine is another file`),
      },
    });
    expect(readFileSync(path)).toEqual(changed);
  });

  test("files are for all whom the server's umask lets read them, staging for its user alone", async () => {
    place = await DownloadPlace.start(shell);
    const held = place.hub.break(SHARDS[1] ?? "", { holdAfter: 10_000 });
    await place.downloads.start(place.request({ folder: `${place.folder}/a/b`, label: "deep" }));
    await held.happened;
    const staging = join(place.folder, "a/b/.ai-server-download");
    expect(statSync(staging).mode & 0o777).toBe(0o700);
    expect(readdirSync(staging).some((name) => name.endsWith(".job"))).toBe(true);
    held.end();
    await eventually("the files are there", () => (place.names.length === 4 ? true : undefined));
    for (const name of place.names) expect(statSync(join(place.folder, name)).mode & 0o777).toBe(0o644);
    await eventually("it has ended", async () =>
      (await place.downloads.read(`${place.folder}/a/b`))[0]?.stage === "complete" ? true : undefined,
    );
  });

  test("sizes are shown, and only regular files with those sizes are deleted", async () => {
    place = await DownloadPlace.start(shell);
    const folder = join(place.host.folder, "odd $(touch ran) 'q\" names");
    mkdirSync(folder);
    place.host.own(folder);
    const paths = ["a b.gguf", "-rf.gguf", "M-00001-of-00002.gguf", "M-00002-of-00002.gguf"].map((name) =>
      join(folder, name),
    );
    for (const [at, path] of paths.entries()) writeFileSync(path, "x".repeat(at + 1));
    const link = join(folder, "link.gguf");
    symlinkSync(paths[0] ?? "", link);
    const missing = join(folder, "missing.gguf");
    const sizes = await place.downloads.fileSizes([...paths.slice(0, 3), link, folder, missing]);
    expect(sizes.map(({ path, kind, bytes }) => [path, kind, bytes])).toEqual([
      ...paths.map((path, at) => [path, "file", at + 1]),
      [link, "link", 1],
      [folder, "other", 0],
      [missing, "missing", 0],
    ]);
    expect(sizes.map(({ realPath }) => realPath)).toEqual(
      [...paths, paths[0], folder, undefined].map((path) => path && realpathSync(path)),
    );
    writeFileSync(paths[1] ?? "", "grown");
    const left = await place.downloads.deleteFiles(sizes);
    expect(left).toMatchObject([
      { path: paths[1], problem: expect.stringContaining("not the file that was shown") },
    ]);
    expect(readdirSync(folder).sort()).toEqual(["-rf.gguf", "link.gguf"]);
    chmodSync(folder, 0o555);
    const again = await place.downloads.deleteFiles(await place.downloads.fileSizes([paths[1] ?? ""]));
    expect(again).toMatchObject([{ path: paths[1], problem: expect.stringMatching(/denied/i) }]);
  });
});

test("a file is found behind links of its folders, and a link that leads nowhere has no file", async () => {
  place = await DownloadPlace.start();
  const folder = join(place.host.folder, "real");
  mkdirSync(folder);
  const [file, linked, lost] = [
    join(folder, "a.gguf"),
    join(place.host.folder, "linked"),
    join(folder, "lost.gguf"),
  ];
  writeFileSync(file, "x");
  symlinkSync("real", linked);
  symlinkSync("nowhere.gguf", lost);
  const sizes = await place.downloads.fileSizes([join(linked, "a.gguf"), lost]);
  expect(sizes.map(({ kind, realPath }) => [kind, realPath])).toEqual([
    ["file", realpathSync(file)],
    ["link", undefined],
  ]);
});

test("a look finds what there is room for and what fetches, also before the folder is made", async () => {
  place = await DownloadPlace.start();
  place.host.tool(
    "df",
    `printf 'Filesystem 1024-blocks Used Available Capacity Mounted on\\n/dev/a b 100 50 1234 5%% %s\\n' "$2"`,
  );
  const folder = join(place.folder, "not/there");
  expect(await place.downloads.look(folder)).toEqual({
    freeBytes: 1234 * 1024,
    folder,
    programs: ["curl"],
    states: [],
  });
  place.installHf();
  expect(await place.downloads.look(folder)).toMatchObject({ programs: ["hf", "curl"] });
  expect(place.names).toEqual([]);
  place.host.tool("df", "exit 1");
  expect(await place.downloads.look(folder)).toMatchObject({ freeBytes: undefined });
});

test("a download that does not fit beside one that runs is refused before it starts", async () => {
  place = await DownloadPlace.start();
  const held = place.hub.break(SHARDS[0] ?? "", { holdAfter: 100_000 });
  await place.downloads.start(place.request());
  await held.happened;
  await place.sees("the bytes are written", ({ doneBytes }) => doneBytes > 90_000);
  const spare = 1024 ** 3;
  const freeKib = (spare + 1_300_000) / 1024;
  place.host.tool("df", `printf 'a b c d e f\\n/dev/a 100 50 ${Math.ceil(freeKib)} 5%% /\\n'`);
  const [file] = place.request().files;
  const other = (bytes: number) =>
    place.request({ label: "org/other:Q4_0", files: file ? [{ ...file, path: "other.gguf", bytes }] : [] });
  await expect(place.downloads.requireSpace(other(500_000))).rejects.toMatchObject({
    code: "no-space",
    message: expect.stringMatching(
      /^The download needs 488 KiB, \d+ KiB for those that run already and 1 GiB/,
    ),
  });
  expect(await place.downloads.requireSpace(other(200_000))).toBe(Math.ceil(freeKib) * 1024);
  // Its own bytes do not count twice.
  expect(await place.downloads.requireSpace(place.request())).toBe(Math.ceil(freeKib) * 1024);
  held.end();
});
