import { existsSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, describe, expect, test } from "vitest";
import { isRunning } from "../../../host/download/download.ts";
import { DownloadPlace, PROJECTOR, REPOSITORY, SHARDS, SHELLS } from "../../support/download-place.ts";

const [FIRST = "", SECOND = "", THIRD = ""] = SHARDS;
/** Kept between two tries of a download: nothing that is not whole has a final name. */
const MOST_TRIES = 20;

let place: DownloadPlace;
afterEach(() => place.remove());

/** Starts, and waits for the end. */
async function attempt(change = {}) {
  await place.downloads.start(place.request(change));
  return place.ended();
}

/** The next try has nothing to do but to go on. */
async function checkNextTry(change = {}): Promise<void> {
  expect(await attempt(change)).toMatchObject({ stage: "complete", problem: undefined });
  expect(place.names).toEqual([FIRST, SECOND, THIRD, PROJECTOR]);
  expect(await place.wrongFiles()).toEqual([]);
}

describe.each(SHELLS)("in %s", (shell) => {
  test("a connection that is cut at ten places is made again where it was", async () => {
    place = await DownloadPlace.start(shell);
    const cuts = [0, 1, 4095, 65_536, 99_999];
    for (const path of [FIRST, PROJECTOR]) {
      for (const cutAfter of cuts) place.hub.break(path, { cutAfter, times: 1 });
    }
    expect(await attempt()).toMatchObject({ stage: "complete", problem: undefined });
    expect(await place.wrongFiles()).toEqual([]);
    const ranges = place.hub.transfers.map(({ headers }) => headers.range);
    expect(ranges).toHaveLength(4 + 2 * cuts.length);
    // Without any byte there is nothing to go on from; from then on each begins after the last.
    const starts = ranges
      .slice(0, cuts.length + 1)
      .map((range) => Number(/=(\d+)-/.exec(range ?? "")?.[1] ?? 0));
    expect(starts).toEqual([0, 0, 1, 4096, 69_632, 169_631]);
  });

  test.each([
    ["the content is wrong", "wrong-hash"],
    ["another page comes in its place", "wrong-size"],
    ["a longer file comes in its place", "wrong-size"],
  ])("a file whose %s is thrown away, and the others are kept", async (what, code) => {
    place = await DownloadPlace.start(shell);
    if (what === "the content is wrong") place.hub.break(SECOND, { isWrong: true, times: 1 });
    else {
      const held = place.hub.break(FIRST, { holdAfter: 1000, times: 1 });
      await place.downloads.start(place.request());
      await held.happened;
      const body = what.startsWith("another") ? "<html>Log in</html>" : "x".repeat(400_000);
      place.hub.failTransfer({ status: 200, body });
      held.end();
    }
    const state = what === "the content is wrong" ? await attempt() : await place.ended();
    expect(state).toMatchObject({
      stage: "failed",
      doneBytes: 200_000,
      problem: {
        code,
        link: "Hugging Face",
        message: expect.stringContaining(`${SECOND} did not arrive with the`),
      },
    });
    expect(place.names).toEqual([]);
    const before = place.hub.transfers.length;
    await checkNextTry();
    expect(place.hub.transfers).toHaveLength(before + 3);
  });

  test("a disk without room for it: nothing is begun, and nothing is left", async () => {
    place = await DownloadPlace.start(shell);
    place.host.tool("df", "printf 'a b c d e f\\n/dev/a 100 50 1048576 5%% /\\n'");
    await expect(attempt()).rejects.toMatchObject({
      code: "no-space",
      message: expect.stringMatching(
        /^The download needs 1 MiB and 1 GiB to spare on this machine, and 1 GiB is free/,
      ),
    });
    expect(existsSync(join(place.folder, ".ai-server-download"))).toBe(false);
    expect(place.hub.transfers).toEqual([]);
  });

  test("room that a running download still needs is not promised twice", async () => {
    place = await DownloadPlace.start(shell);
    const kib = 1024 * 1024 + 1500;
    place.host.tool("df", `printf 'a b c d e f\\n/dev/a 100 50 ${kib} 5%% /\\n'`);
    const held = place.hub.break(FIRST, { holdAfter: 0 });
    await place.downloads.start(place.request({ label: "first" }));
    await held.happened;
    await expect(attempt()).rejects.toMatchObject({
      code: "no-space",
      message: expect.stringMatching(
        /^The download needs 1 MiB, 1 MiB for those that run already and 1 GiB to spare/,
      ),
    });
    const known = await place.downloads.read(place.folder);
    expect(known.map(({ label }) => label)).toEqual(["first"]);
    held.end();
    await place.ended(known[0]?.id);
    await checkNextTry();
  });

  test("a program that computes the hash and is killed says nothing about the file, which is kept", async () => {
    place = await DownloadPlace.start(shell);
    // The first hash is that of the request.
    const flag = join(place.folder, "flag");
    place.host.tool("sha256sum", `[ ! -e '${flag}' ] || kill -9 $$; exec /usr/bin/sha256sum "$@"`);
    const held = place.hub.break(FIRST, { holdAfter: 1000, times: 1 });
    await place.downloads.start(place.request());
    await held.happened;
    writeFileSync(flag, "");
    held.end();
    expect(await place.ended()).toMatchObject({
      stage: "failed",
      doneBytes: 200_000,
      problem: { code: "interrupted" },
    });
    rmSync(flag);
    const before = place.hub.transfers.length;
    await checkNextTry();
    expect(place.hub.transfers).toHaveLength(before + 3);
  });

  test("a file system without hard links gets the file by a rename", async () => {
    place = await DownloadPlace.start(shell);
    place.host.tool("ln", "echo 'ln: Operation not permitted' >&2; exit 1");
    await checkNextTry();
  });

  test("without flock and setsid perl does the same", async () => {
    place = await DownloadPlace.start(shell);
    place.without("flock", "setsid");
    for (const name of ["flock", "setsid"]) place.host.tool(name, "exit 69");
    const held = place.hub.break(FIRST, { holdAfter: 1000, times: 1 });
    const both = await Promise.all([1, 2].map(() => place.downloads.start(place.request())));
    expect(both.filter(({ isNew }) => isNew)).toHaveLength(1);
    await held.happened;
    expect(await place.state()).toMatchObject({ stage: "running" });
    await place.downloads.stop(place.folder, place.id);
    expect(await place.state()).toMatchObject({ stage: "stopped" });
    held.end();
    await checkNextTry();
  });
});

// These take many tries, each in one of the shells.

test("one that is cut again and again ends in a sentence, and the next try goes on from there", async () => {
  place = await DownloadPlace.start("dash");
  const once = place.hub.break(SECOND, { cutAfter: 50_000, times: 1 });
  const broken = place.hub.break(SECOND, { cutAfter: 0 });
  await place.downloads.start(place.request());
  await once.happened;
  await place.sees(
    "it says so while it goes on",
    ({ stage, problem }) => isRunning(stage) && problem?.message.endsWith("; trying again."),
  );
  const state = await place.ended();
  expect(state).toMatchObject({
    stage: "failed",
    doneBytes: 250_000,
    problem: {
      code: "network",
      link: "ssh",
      remedy: "retry",
      message: expect.stringMatching(
        /^The connection from this machine kept breaking off, .*curl error \d+: .*the next try goes on from there\.$/,
      ),
    },
  });
  expect(place.names).toEqual([]);
  broken.end();
  const before = place.hub.transfers.length;
  await checkNextTry();
  expect(place.hub.transfers[before]?.headers.range).toBe("bytes=50000-");
  expect(place.hub.transfers).toHaveLength(before + 3);
});

test("a rate limit is waited for, and named if it does not end", async () => {
  place = await DownloadPlace.start("bash");
  place.hub.limitRate(1, 3);
  expect(await attempt()).toMatchObject({ stage: "complete" });
  await place.downloads.clear(place.folder, place.id);
  for (const name of place.names) rmSync(join(place.folder, name));
  place.hub.limitRate(1, MOST_TRIES);
  expect(await attempt()).toMatchObject({
    stage: "failed",
    problem: {
      code: "rate-limit",
      link: "Hugging Face",
      message: expect.stringMatching(/allows no more downloads/),
    },
  });
  await checkNextTry();
});

test("a gated repository, an unknown token, one without access, and a commit that is gone", async () => {
  const files = { "a-Q4_0.gguf": { bytes: 5000, seed: "a" } };
  const repositories = { [REPOSITORY]: { files, gated: "auto" as const, readers: ["hf_reader"] } };
  place = await DownloadPlace.start("busybox", { repositories, tokens: ["hf_other"] });
  const failed = async (token: string | undefined) => (await attempt({ token })).problem;
  const link = "Hugging Face";
  expect(await failed(undefined)).toMatchObject({
    code: "needs-token",
    link,
    message: expect.stringMatching(/does not give org\/Model-GGUF:Q4_0 to anonymous users: .* Set HF_TOKEN/),
  });
  expect(await failed("hf_wrong")).toMatchObject({ code: "bad-token", link });
  expect(await failed("hf_other")).toMatchObject({ code: "no-access", link });
  expect(place.hub.transfers).toEqual([]);
  place.hub.publish(REPOSITORY, { files: { "a-Q4_0.gguf": "new" } });
  expect(await failed(undefined)).toMatchObject({
    code: "not-found",
    message: expect.stringContaining("no longer has a-Q4_0.gguf"),
  });
  place.hub.publish(REPOSITORY, repositories[REPOSITORY] ?? { files });
  expect(await failed("hf_reader")).toBeUndefined();
  expect(place.names).toEqual(["a-Q4_0.gguf"]);
});

test("a server that can send no part of a file is asked for all of it again, three times", async () => {
  place = await DownloadPlace.start("dash");
  place.hub.obeyRanges(false);
  place.hub.break(FIRST, { cutAfter: 150_000, times: 2 });
  expect(await attempt()).toMatchObject({ stage: "complete" });
  for (const name of place.names) rmSync(join(place.folder, name));
  const broken = place.hub.break(FIRST, { cutAfter: 150_000 });
  expect(await attempt()).toMatchObject({ stage: "failed", problem: { code: "server-error" } });
  broken.end();
  await checkNextTry();
});

test("a server that fails is asked again, and named if it goes on failing", async () => {
  place = await DownloadPlace.start("busybox");
  for (let at = 0; at < MOST_TRIES; at++) place.hub.failTransfer({ status: 503 });
  expect(await attempt()).toMatchObject({
    stage: "failed",
    problem: { code: "server-error", message: expect.stringContaining("(HTTP 503)") },
  });
  place.hub.failTransfer({ status: 503 });
  await checkNextTry();
});

test("a machine with neither hf nor curl gets another sentence than one on which they fail", async () => {
  place = await DownloadPlace.start();
  place.without("curl");
  await expect(attempt()).rejects.toMatchObject({
    code: "no-program",
    message: expect.stringMatching(/^Neither hf nor curl is installed on this machine\. Install one/),
  });
});
