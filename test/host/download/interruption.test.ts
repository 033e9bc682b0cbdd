import { execFileSync } from "node:child_process";
import { mkdirSync, readFileSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, describe, expect, test } from "vitest";
import { DownloadPlace, PROJECTOR, SHARDS, SHELLS } from "../../support/download-place.ts";
import { processesOf } from "../../support/kill.ts";
import { eventually } from "../../support/processes.ts";

const SECOND = SHARDS[1] ?? "";
const isRoot = process.getuid?.() === 0;

let place: DownloadPlace;
let disks: string[] = [];
afterEach(async () => {
  for (const disk of disks) execFileSync("umount", ["--lazy", disk]);
  disks = [];
  await place.remove();
});

/** The processes of the download, by their program's name. */
function processes(): { id: number; name: string }[] {
  return processesOf(place.host).map((id) => ({
    id: Number(id),
    name: readFileSync(`/proc/${id}/comm`, "utf8").trim(),
  }));
}

/** A file system of its own for the folder of the models, which only root can make. */
function mountSmallDisk(size: string, folder = place.folder): void {
  mkdirSync(folder, { recursive: true });
  execFileSync("mount", ["-t", "tmpfs", "-o", `size=${size},mode=0777`, "none", folder]);
  disks.push(folder);
}

async function checkNextTry(): Promise<void> {
  await place.downloads.start(place.request());
  expect(await place.ended()).toMatchObject({ stage: "complete", problem: undefined });
  expect(place.names).toEqual([...SHARDS, PROJECTOR]);
  expect(await place.wrongFiles()).toEqual([]);
}

/** Starts, holds the second shard in its middle, and waits until its bytes are written. */
async function hold() {
  const held = place.hub.break(SECOND, { holdAfter: 100_000, times: 1 });
  await place.downloads.start(place.request());
  await held.happened;
  await place.sees("the bytes are written", ({ doneBytes }) => doneBytes > 290_000);
  return held;
}

describe.each(SHELLS)("in %s, in the middle of a file", (shell) => {
  test("all its processes are killed, as when the machine restarts: that is said, and the next try goes on", async () => {
    place = await DownloadPlace.start(shell);
    const held = await hold();
    for (const { id } of processes()) process.kill(id, "SIGKILL");
    const state = await place.ended();
    expect(state).toMatchObject({
      stage: "stopped",
      problem: {
        code: "interrupted",
        remedy: "retry",
        message: expect.stringMatching(
          /^The download was cut off: this machine was restarted, or its processes were killed/,
        ),
      },
    });
    expect(place.names).toEqual([]);
    held.end();
    await checkNextTry();
    expect(place.hub.transfers[2]?.headers.range).toBe(`bytes=${state.doneBytes - 200_000}-`);
    expect(place.hub.transfers).toHaveLength(5);
  });

  test("curl is killed: it is started again where it was", async () => {
    place = await DownloadPlace.start(shell);
    const held = await hold();
    const curl = processes().find(({ name }) => name === "curl");
    process.kill(curl?.id ?? 0, "SIGKILL");
    held.end();
    expect(await place.ended()).toMatchObject({ stage: "complete" });
    expect(await place.wrongFiles()).toEqual([]);
    expect(place.hub.transfers[2]?.headers.range).toMatch(/^bytes=\d+-$/);
  });

  test("the worker alone is killed: curl holds the download until it ends, or can be stopped", async () => {
    place = await DownloadPlace.start(shell);
    const held = await hold();
    const worker = Number(readFileSync(join(place.folder, ".ai-server-download", `${place.id}.pid`), "utf8"));
    process.kill(worker, "SIGKILL");
    await eventually("it has ended", () => (processes().some(({ id }) => id === worker) ? undefined : true));
    expect(await place.state()).toMatchObject({ stage: "running" });
    expect(await place.downloads.start(place.request())).toMatchObject({ isNew: false });
    if (shell === "bash") {
      await place.downloads.stop(place.folder, place.id);
      expect(processes()).toEqual([]);
    }
    held.end();
    expect(await place.ended()).toMatchObject({ stage: "stopped" });
    await checkNextTry();
  });

  test("a worker that does not listen is ended by force", async () => {
    place = await DownloadPlace.start(shell);
    place.host.tool("curl", "trap '' TERM; while :; do /usr/bin/sleep 0.1; done");
    await place.downloads.start(place.request());
    await place.sees("it fetches", ({ program }) => program === "curl");
    await place.downloads.stop(place.folder, place.id);
    expect(await place.state()).toMatchObject({ stage: "stopped", problem: undefined });
    expect(processes()).toEqual([]);
  });

  test("what is in staging is longer than the file: it is fetched again", async () => {
    place = await DownloadPlace.start(shell);
    const held = await hold();
    await place.downloads.stop(place.folder, place.id);
    const part = place.staged.find((name) => name.endsWith(".part")) ?? "";
    truncateSync(join(place.folder, ".ai-server-download", part), 400_000);
    held.end();
    await checkNextTry();
  });
});

describe.skipIf(!isRoot).each(SHELLS)("in %s, on a small disk", (shell) => {
  test("that fills up meanwhile: that is said even without a byte left, and the next try goes on", async () => {
    place = await DownloadPlace.start(shell);
    mountSmallDisk("3m");
    // A start wants a gigabyte to spare; later looks see the real disk.
    const flag = join(place.host.tools, "flag");
    place.host.tool(
      "df",
      `[ ! -e '${flag}' ] || exec /usr/bin/df "$@"; printf 'a b c d e f\\n/dev/a 100 50 9048576 5%% /\\n'`,
    );
    const held = await hold();
    writeFileSync(flag, "");
    const filler = join(place.folder, "filler");
    expect(() => writeFileSync(filler, Buffer.alloc(4_000_000))).toThrow(/ENOSPC/);
    held.end();
    const state = await place.ended();
    expect(state).toMatchObject({
      stage: "failed",
      problem: {
        code: "disk-full",
        message: expect.stringMatching(
          /^The disk on this machine is full: .* KiB is still missing, and 0 B is free\..*Make room first\.$/,
        ),
      },
    });
    rmSync(filler);
    rmSync(flag);
    const before = place.hub.transfers.length;
    await checkNextTry();
    expect(place.hub.transfers[before]?.headers.range).toBe(`bytes=${state.doneBytes - 200_000}-`);
    expect(place.hub.transfers).toHaveLength(before + 3);
  });

  test("below the folder: a file could not be moved there in one step, so nothing is fetched", async () => {
    place = await DownloadPlace.start(shell);
    mountSmallDisk("3m", join(place.folder, "org"));
    place.host.own(place.folder);
    const files = place.request().files.map((file) => ({ ...file, path: `org/name/${file.path}` }));
    await place.downloads.start(place.request({ files }));
    expect(await place.ended()).toMatchObject({
      stage: "failed",
      problem: {
        code: "other-file-system",
        message: expect.stringContaining(`${place.folder}/org on this machine is on a different disk`),
      },
    });
    expect(place.hub.transfers).toEqual([]);
  });
});
