import { rmSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { DownloadPlace, REPOSITORY, type ServerShell, SHELLS } from "../../support/download-place.ts";
import {
  DOWNLOAD_PROGRAMS,
  type Kill,
  prepareKill,
  processesOf,
  recordSteps,
  wasHit,
} from "../../support/kill.ts";
import { eventually } from "../../support/processes.ts";
import { seeded } from "../../support/random.ts";

const SEED = Number(process.env.KILL_SEED ?? 20261120);
const KILLS = 60;
const AT_ONCE = 6;

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

test(`a download is killed ${KILLS} times, at any of its steps: no half file has a final name, and the next try completes it (seed ${SEED})`, {
  timeout: 300_000,
}, async () => {
  const random = seeded(SEED);
  const pick = <T>(values: readonly T[]): T => values[Math.floor(random() * values.length)] as T;
  const stepsByShell = new Map<ServerShell, string[]>();
  for (const shell of SHELLS) stepsByShell.set(shell, await stepsIn(shell));
  const hits = new Map<string, number>();
  let misses = 0;
  /** Gives false where the download needed fewer steps than the one that was recorded: then nothing was killed. */
  const killOnce = async (): Promise<boolean> => {
    const shell = pick(SHELLS);
    const steps = stepsByShell.get(shell) ?? [];
    // Programs that run often are not the ones where most can go wrong.
    const program = pick([...new Set(steps)]);
    const kill: Kill = {
      at: 1 + Math.floor(random() * steps.filter((name) => name === program).length),
      who: pick(["shell", "all"]),
      when: pick(["before", "after"]),
    };
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
      if (!wasHit(place.host)) return false;
      hits.set(program, (hits.get(program) ?? 0) + 1);
      rmSync(join(place.host.tools, program));
      await checkNextTry(place);
      await eventually("nothing runs any more", () =>
        processesOf(place.host).length === 0 ? true : undefined,
      );
      return true;
    } catch (error) {
      throw new Error(`a kill: ${JSON.stringify({ shell, ...kill, program })}: ${error}`, { cause: error });
    } finally {
      await place.remove();
    }
  };
  let next = 0;
  await Promise.all(
    Array.from({ length: AT_ONCE }, async () => {
      while (next++ < KILLS) while (!(await killOnce())) misses += 1;
    }),
  );
  process.stdout.write(`killed ${KILLS} downloads, missed ${misses}: ${JSON.stringify([...hits])}\n`);
});
