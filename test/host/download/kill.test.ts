import { rmSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { DownloadPlace, REPOSITORY, type ServerShell, SHELLS } from "../../support/download-place.ts";
import {
  DOWNLOAD_PROGRAMS,
  KILL_SEED,
  killShells,
  prepareKill,
  processesOf,
  recordSteps,
  wasHit,
} from "../../support/kill.ts";
import { eventually } from "../../support/processes.ts";

const KILLS = 60;

const FILES = Object.fromEntries(
  ["a-Q4_0-00001-of-00002.gguf", "a-Q4_0-00002-of-00002.gguf"].map((path) => [
    path,
    { bytes: 30_000, seed: path },
  ]),
);
const OPTIONS = { repositories: { [REPOSITORY]: { files: FILES } } };

async function stepsIn(shell: ServerShell): Promise<string[]> {
  const place = await DownloadPlace.start(shell, OPTIONS);
  try {
    const steps = recordSteps(place.host, DOWNLOAD_PROGRAMS);
    await place.downloads.start(place.request());
    // The looks for the end start programs too: a kill at one of them is one of a reader.
    expect(await place.ended()).toMatchObject({ stage: "complete" });
    return steps();
  } finally {
    await place.remove();
  }
}

/** Nothing may be left that hinders the next try, which may find what the kill has left at work. */
async function checkNextTry(place: DownloadPlace): Promise<void> {
  const stage = await eventually("a try is complete", async () => {
    await place.downloads.start(place.request());
    const state = await place.ended();
    return state.stage === "complete" || state.stage === "failed" ? state : undefined;
  });
  expect(stage).toMatchObject({ stage: "complete", problem: undefined });
  expect(place.names).toEqual(Object.keys(FILES));
  expect(await place.wrongFiles()).toEqual([]);
  await place.downloads.clear(place.folder, place.id);
  expect(place.staged).toEqual([]);
}

test(`a download is killed ${KILLS} times, at any of its steps: no half file has a final name, and the next try completes it (seed ${KILL_SEED})`, {
  timeout: 300_000,
}, async () => {
  await killShells(KILLS, SHELLS, stepsIn, async ({ way: shell, program, ...kill }) => {
    const place = await DownloadPlace.start(shell, OPTIONS);
    try {
      prepareKill(place.host, kill, [program]);
      const begun = await place.downloads.start(place.request()).catch((error: unknown) => {
        expect(error).toMatchObject({ name: "HostError" });
        return undefined;
      });
      const late = (error: unknown): void => expect(error).toMatchObject({ name: "HostError" });
      if (begun !== undefined) await place.ended().then(undefined, late);
      expect(await place.wrongFiles()).toEqual([]);
      if (!wasHit(place.host)) return undefined;
      rmSync(join(place.host.tools, program));
      await checkNextTry(place);
      await eventually("nothing runs any more", () =>
        processesOf(place.host).length === 0 ? true : undefined,
      );
      return program;
    } finally {
      await place.remove();
    }
  });
});
