import { existsSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { CaHost, requestFor, serialIn } from "../../support/ca-host.ts";
import { type Kill, prepareKill, processesOf, recordSteps, wasHit } from "../../support/kill.ts";
import { seeded } from "../../support/random.ts";

const SEED = Number(process.env.KILL_SEED ?? 20261130);
/** Of some fifty steps each, before and after it, of the shell alone or all. */
const KILLS = 60;
const AT_ONCE = 6;
const PROGRAMS =
  "base64 chmod date find flock head ls mkdir mv openssl rm sed sha256sum sync tail touch tr wc".split(" ");
const ACTS = ["sign", "renew", "revoke"] as const;

type Act = (typeof ACTS)[number];

/** A machine with a phone, and what each act does to it. */
class Case {
  readonly host = new CaHost();
  serial = "";

  async prepare(): Promise<void> {
    ({ serial: this.serial } = await this.machine().sign("phone", await requestFor("phone"), {}));
  }

  machine() {
    return this.host.machine("direct", { reload: `printf r >>'${this.host.root}/reloads'` });
  }

  async act(act: Act): Promise<unknown> {
    if (act === "sign") return this.machine().sign("laptop", await requestFor("laptop"), {});
    if (act === "revoke") return this.machine().revoke(this.serial);
    return this.machine().sign("phone", await requestFor("phone"), { replaces: this.serial });
  }
}

async function stepsOf(act: Act): Promise<string[]> {
  const one = new Case();
  try {
    await one.prepare();
    const steps = recordSteps(one.host, PROGRAMS);
    await one.act(act);
    return steps();
  } finally {
    await one.host.remove();
  }
}

/** What must hold after any kill: every device is whole, and on one list. */
function expectWhole({ host, serial }: Case, act: Act, isDone: boolean): void {
  const entries = [
    ...host.names("devices").map((name) => ["devices", name] as const),
    ...host.names("revoked").map((name) => ["revoked", name] as const),
  ];
  for (const entry of entries) {
    expect(host.names(...entry)).toEqual(["cert.pem", "leaf.caddy"]);
    const certificate = readFileSync(host.path(...entry, "cert.pem"), "utf8");
    expect(host.verify(certificate)).toBe("OK");
    expect(entry[1].endsWith(`.${serialIn(certificate)}`)).toBe(true);
    const leaf = readFileSync(host.path(...entry, "leaf.caddy"), "utf8");
    expect(leaf).toMatch(/^trusted_leaf_cert [A-Za-z0-9+/]+=*\n$/);
  }
  const phone = [...host.names("devices"), ...host.names("revoked")].filter((name) => name.endsWith(serial));
  expect(phone).toHaveLength(1);
  // What was reported as done is.
  if (isDone) {
    expect(host.admitted).toEqual({ sign: ["laptop", "phone"], renew: ["phone", "phone"], revoke: [] }[act]);
  }
}

test(`the machine's shell is killed ${KILLS} times, at any step: every device is whole, and the next step works (seed ${SEED})`, {
  timeout: 300_000,
}, async () => {
  const random = seeded(SEED);
  const pick = <T>(values: readonly T[]): T => values[Math.floor(random() * values.length)] as T;
  const steps = new Map<Act, string[]>();
  for (const act of ACTS) steps.set(act, await stepsOf(act));
  const ends = new Map<string, number>();
  let misses = 0;

  const killOnce = async (): Promise<boolean> => {
    const act = pick(ACTS);
    const all = steps.get(act) ?? [];
    const step = Math.floor(random() * all.length);
    const program = all[step] ?? "";
    const kill: Kill = {
      at: all.slice(0, step + 1).filter((name) => name === program).length,
      who: pick(["shell", "all"]),
      when: pick(["before", "after"]),
    };
    const one = new Case();
    try {
      await one.prepare();
      prepareKill(one.host, kill, [program]);
      const isDone = await one.act(act).then(
        () => true,
        (error: unknown) => {
          expect(error).toMatchObject({ name: "HostError" });
          return false;
        },
      );
      // What a killed shell has started goes on for a moment.
      await expect.poll(() => processesOf(one.host)).toEqual([]);
      expectWhole(one, act, isDone);
      if (!wasHit(one.host)) return false;
      const end = `${act} ${isDone ? "done" : one.host.admitted.join("+") || "none"}`;
      ends.set(end, (ends.get(end) ?? 0) + 1);
      // Nothing that is left of it may hinder the next one, who also clears it away.
      rmSync(join(one.host.tools, program));
      const { certificate } = await one.machine().sign("tablet", await requestFor("tablet"), {});
      expect(one.host.verify(certificate)).toBe("OK");
      expect(one.host.leftovers).toEqual([]);
      const found = await one.machine().list();
      expect(found).toMatchObject({ caddy: { isPending: false } });
      expect(existsSync(one.host.path("root-ca.pem"))).toBe(true);
      return true;
    } catch (error) {
      throw new Error(`a kill: ${JSON.stringify({ act, ...kill, program })}: ${error}`, { cause: error });
    } finally {
      await one.host.remove();
    }
  };
  let left = KILLS;
  await Promise.all(
    Array.from({ length: AT_ONCE }, async () => {
      while (left-- > 0) while (!(await killOnce())) misses += 1;
    }),
  );
  expect(misses).toBeLessThan(KILLS * 0.15);
  process.stdout.write(
    `killed ${KILLS} shells, missed ${misses} (${JSON.stringify([...steps].map(([act, all]) => [act, all.length]))} steps): ${JSON.stringify([...ends].sort())}\n`,
  );
});
