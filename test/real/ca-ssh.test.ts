import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from "vitest";
import { CaMachine } from "../../host/ca/machine.ts";
import type { Shell } from "../../host/ssh/shell.ts";
import { requestFor } from "../support/ca-host.ts";
import { missingProgram, realSuite } from "../support/programs.ts";
import { type Login, Sshd } from "../support/sshd.ts";

realSuite(missingProgram("ssh", "sshd", "openssl"), "the machine of the CA over a real sshd", () => {
  let sshd: Sshd;
  beforeAll(async () => {
    sshd = await Sshd.start();
  });
  afterAll(() => sshd.stop());

  let home: string;
  let folder: string;
  const shells: Shell[] = [];
  beforeEach(async () => {
    home = mkdtempSync(join(sshd.home, "ca-"));
    sshd.own(home);
    folder = join(home, "ca");
    await machine("shell").create("localhost");
  });
  afterEach(async () => {
    await Promise.all(shells.splice(0).map((shell) => shell.close()));
    rmSync(home, { recursive: true });
  });

  const count = (): number =>
    existsSync(join(home, "reloads")) ? readdirSync(join(home, "reloads")).length : 0;
  /** Each reload leaves a file. */
  const reload = (): string => `mkdir -p '${home}/reloads'; : >"${home}/reloads/$$"`;

  function machine(login: Login): CaMachine {
    sshd.installCa(folder, reload());
    const settings = { host: `${sshd.user}@127.0.0.1`, folder, reloadCommand: reload() };
    return new CaMachine(settings, (mode) => {
      const shell = sshd.shell(sshd.settings("~/none", mode), login);
      shells.push(shell);
      return shell;
    });
  }
  const names = (list: string): string[] =>
    readdirSync(join(folder, list)).map((name) => name.split(".")[0] ?? "");

  test.each<Login>(["shell", "ca"])(
    "signs, lists, revokes and reloads with a key of the kind %s",
    async (login) => {
      const ca = machine(login);
      const { serial, certificate } = await ca.sign("phone", await requestFor("phone"), {});
      expect(certificate).toMatch(/^-----BEGIN CERTIFICATE-----/);
      expect(names("devices")).toEqual(["phone"]);
      expect(await ca.list()).toMatchObject({ folder, key: "open", devices: [{ name: "phone", serial }] });
      expect(await ca.revoke(serial)).toBe(true);
      expect(names("devices")).toEqual([]);
      await ca.putBack(serial);
      await ca.reload();
      expect([names("devices"), count()]).toEqual([["phone"], 4]);
    },
  );

  test("over one connection, also where the first answer is that the key has a forced command", async () => {
    const before = sshd.logins;
    const ca = machine("ca");
    await ca.list();
    await Promise.all([ca.list(), ca.sign("phone", await requestFor("phone"), {})]);
    // One for the question what the key may do, and one for all that follows.
    expect(sshd.logins - before).toBe(2);
    await ca.close();
  });

  test("a key that is tied to ai-server-admin is named, and so is one in the place of the server's", async () => {
    await expect(machine("wrapper").list()).rejects.toMatchObject({
      message: expect.stringMatching(
        /may only run ai-server-admin, which signs nothing\. Set AI_SERVER_CA_HOST/,
      ),
    });
    const shell = sshd.shell(sshd.settings("~/none", "direct"), "ca");
    shells.push(shell);
    await expect(shell.ask({ verb: ["read"] }, { timeoutMs: 5000 })).rejects.toMatchObject({
      message: expect.stringMatching(/may only run ai-server-ca\. Use it in AI_SERVER_CA_HOST alone/),
    });
  });

  test("the key makes no CA, and says so", async () => {
    rmSync(folder, { recursive: true });
    const ca = machine("ca");
    expect(await ca.list()).toEqual({ missingIn: folder });
    await expect(ca.create("localhost")).rejects.toMatchObject({ code: "not-allowed" });
    mkdirSync(folder);
  });
});
