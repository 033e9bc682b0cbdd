import { existsSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { Examiner } from "../../../host/examine/examiner.ts";
import { type Kill, PROGRAMS, prepareKill, recordSteps, wasHit } from "../../support/kill.ts";
import { LocalHost } from "../../support/local-host.ts";
import { installSystemd } from "../../support/systemd.ts";

const UNIT = `[Service]\nExecStart=/bin/true ${"x".repeat(3000)}\n`;
const WRITING = [...PROGRAMS, "chmod", "mkdir"];

const examinerOf = (host: LocalHost): Examiner =>
  new Examiner(host.shell("direct", { serviceUnit: "llama-swap.service" }, { HOME: host.folder }));

async function stepsOfWrite(): Promise<string[]> {
  const host = new LocalHost("");
  try {
    installSystemd(host);
    const steps = recordSteps(host, WRITING);
    await examinerOf(host).writeUnit(UNIT);
    return steps();
  } finally {
    host.remove();
  }
}

/** The unit's file, or undefined while there is none. */
function written(host: LocalHost): string | undefined {
  const path = join(host.folder, ".config/systemd/user/llama-swap.service");
  if (!existsSync(path)) return undefined;
  expect(statSync(path).mode & 0o777).toBe(0o644);
  return readFileSync(path, "utf8");
}

async function killed(kill: Kill, program: string): Promise<"missed" | "none" | "whole"> {
  const host = new LocalHost("");
  try {
    installSystemd(host);
    prepareKill(host, kill, [program]);
    const outcome = await examinerOf(host)
      .writeUnit(UNIT)
      .then(
        () => "done",
        () => "failed",
      );
    // What a killed shell had started may still run.
    const before = written(host);
    expect([undefined, UNIT]).toContain(before);
    if (outcome === "done") expect(before).toBe(UNIT);
    if (!wasHit(host)) return "missed";
    for (const name of WRITING) host.tool(name, `exec /usr/bin/${name} "$@"`);
    // A link that was just being made may have come meanwhile.
    await examinerOf(host)
      .writeUnit(UNIT)
      .catch((error: unknown) => expect(error).toMatchObject({ code: "unit-exists" }));
    expect(written(host)).toBe(UNIT);
    return before === undefined ? "none" : "whole";
  } finally {
    host.remove();
  }
}

test("the shell is killed at each of its steps: the unit is there whole, or not at all, and the next try works", {
  timeout: 120_000,
}, async () => {
  const steps = await stepsOfWrite();
  const kills = steps.flatMap((program, at) =>
    (["shell", "all"] as const).flatMap((who) =>
      (["before", "after"] as const).map((when) => ({
        program,
        kill: { at: steps.slice(0, at + 1).filter((name) => name === program).length, who, when },
      })),
    ),
  );
  const seen: string[] = [];
  let next = 0;
  const work = async (): Promise<void> => {
    for (let job = kills[next++]; job !== undefined; job = kills[next++]) {
      seen.push(await killed(job.kill, job.program));
    }
  };
  await Promise.all([work(), work(), work(), work()]);
  expect(seen.filter((end) => end === "none").length).toBeGreaterThan(10);
  expect(seen).toContain("whole");
  expect(seen).toHaveLength(kills.length);
});
