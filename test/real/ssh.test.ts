import { existsSync } from "node:fs";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import type { ShellSettings } from "../../host/shell.ts";
import { FILE } from "../support/local-host.ts";
import { machineSuite, NEW, OLD } from "../support/machine-suite.ts";
import { silentServer } from "../support/network.ts";
import { missingProgram, realSuite } from "../support/programs.ts";
import { type Login, Sshd, SshHost } from "../support/sshd.ts";

realSuite(missingProgram("ssh", "sshd"), "the server's machine over a real sshd", () => {
  let sshd: Sshd;
  beforeAll(async () => {
    sshd = await Sshd.start();
  });
  afterAll(() => sshd.stop());

  describe.each<Login>(["shell", "wrapper"])("%s", (login) => {
    machineSuite((text) => {
      const host = new SshHost(sshd, login, text);
      return Object.assign(host, { machine: host.machine.bind(host) });
    });
  });

  describe("the way there", () => {
    let host: SshHost;
    beforeEach(() => {
      host = new SshHost(sshd, "shell", OLD);
    });
    afterEach(async () => {
      sshd.knownHosts("right");
      await host.remove();
    });

    const settings = (change: Partial<ShellSettings> = {}) => sshd.settings(host.path, "direct", change);
    const read = { verb: ["read"] } as const;
    const limits = { timeoutMs: 5000 };

    test("a login shell that greets, and one that knows no sh syntax, change nothing", async () => {
      const fish = new SshHost(sshd, "fish", OLD);
      for (const through of [host, fish]) {
        const machine = through.machine();
        const [file] = await machine.read();
        await machine.write(NEW, file?.hash ?? "", FILE);
        expect(through.text).toBe(NEW);
      }
      await fish.remove();
    });

    test("many steps, also at once, are one connection, and its socket is gone afterwards", async () => {
      const before = sshd.logins;
      const shell = host.shell();
      await Promise.all([shell.ask(read, limits), shell.ask({ verb: ["status"] }, limits)]);
      await shell.ask(read, limits);
      expect(sshd.logins - before).toBe(1);
      await shell.close();
      await shell.close();
      await shell.ask(read, limits);
      expect(sshd.logins - before).toBe(2);
    });

    test("a user's own ssh options do not get in the way", async () => {
      const shell = sshd.shell(settings(), "shell", [
        "RemoteCommand tmux attach",
        "RequestTTY force",
        "LocalForward 1 127.0.0.1:1",
        "ExitOnForwardFailure yes",
        "ControlMaster auto",
        "ControlPath /nowhere/%C",
      ]);
      expect((await shell.ask(read, limits)).error).toBeUndefined();
      await shell.close();
    });

    test("an unknown host key is refused, with how to check it", async () => {
      sshd.knownHosts("empty");
      await expect(host.shell().ask(read, limits)).rejects.toMatchObject({
        link: "ssh",
        message: expect.stringMatching(
          new RegExp(
            `does not know the host key of .* Run "ssh ${sshd.user}@127\\.0\\.0\\.1" once .*ssh-keygen -lf`,
          ),
        ),
      });
    });

    test("a changed host key is refused, with how to check it", async () => {
      sshd.knownHosts("other");
      await expect(host.shell().ask(read, limits)).rejects.toMatchObject({
        message: expect.stringContaining(`ssh-keygen -R '[127.0.0.1]:${sshd.port}'`),
      });
    });

    test("a user that is not let in", async () => {
      const shell = sshd.shell(settings({ host: "nobody-of-that-name@127.0.0.1" }), "shell");
      await expect(shell.ask(read, limits)).rejects.toThrow(/does not let this user in by key/);
      await shell.close();
    });

    test("a machine without sshd, and one that never speaks", async () => {
      const silent = await silentServer();
      const short = settings({ connectTimeoutMs: 1000 });
      const refused = sshd.shell(short, "shell", ["Port 1"]);
      await expect(refused.ask(read, limits)).rejects.toThrow(/refuses ssh connections/);
      const mute = sshd.shell(short, "shell", [`Port ${silent.port}`]);
      await expect(mute.ask(read, limits)).rejects.toThrow(/did not answer ssh within 1 s/);
      await Promise.all([refused.close(), mute.close(), silent.stop()]);
    });

    test("a key of the wrapper without AI_SERVER_SSH_MODE=wrapper, and the other way round", async () => {
      const wrapper = sshd.shell(sshd.settings(host.path, "wrapper"), "wrapper");
      const direct = sshd.shell(settings(), "wrapper");
      await expect(direct.ask(read, limits)).rejects.toThrow(/Set AI_SERVER_SSH_MODE=wrapper/);
      const other = sshd.shell(sshd.settings(host.path, "wrapper"), "fish");
      await expect(other.ask({ verb: ["status"] }, limits)).rejects.toThrow(/no forced command/);
      await Promise.all([wrapper, direct, other].map((shell) => shell.close()));
    });

    test("the wrapper's key runs nothing but verbs", async () => {
      const shell = sshd.shell(sshd.settings(host.path, "wrapper"), "wrapper");
      for (const verb of [
        ["sh"],
        ["read", "20200101T000000Z", "x"],
        ["write"],
        ["logs", "0"],
        ["logs", "1000000"],
      ]) {
        const answer = await shell.ask({ verb: verb as [string] }, limits);
        expect(answer.error).toMatch(/^(not-allowed|bad-request)$/);
      }
      await shell.close();
      expect(existsSync(join(sshd.home, "ran"))).toBe(false);
    });
  });
});
