import { existsSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { CaHost, requestFor, serialIn } from "../../support/ca-host.ts";
import { KILL_SEED, killShells, prepareKill, processesOf, recordSteps, wasHit } from "../../support/kill.ts";

/** Of some fifty steps each, before and after it, of the shell alone or all. */
const KILLS = 60;
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

test(`the machine's shell is killed ${KILLS} times, at any step: every device is whole, and the next step works (seed ${KILL_SEED})`, {
  timeout: 300_000,
}, async () => {
  await killShells(KILLS, ACTS, stepsOf, async ({ way: act, program, ...kill }) => {
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
      if (!wasHit(one.host)) return undefined;
      const end = `${act} ${isDone ? "done" : one.host.admitted.join("+") || "none"}`;
      // Nothing that is left of it may hinder the next one, who also clears it away.
      rmSync(join(one.host.tools, program));
      const { certificate } = await one.machine().sign("tablet", await requestFor("tablet"), {});
      expect(one.host.verify(certificate)).toBe("OK");
      expect(one.host.leftovers).toEqual([]);
      const found = await one.machine().list();
      expect(found).toMatchObject({ caddy: { isPending: false } });
      expect(existsSync(one.host.path("root-ca.pem"))).toBe(true);
      return end;
    } finally {
      await one.host.remove();
    }
  });
});
