import { spawn } from "node:child_process";
import { chmodSync, existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import type { ShellSettings } from "../../host/ssh/shell.ts";
import { FILE } from "../support/local-host.ts";
import { machineRow, NEW, OLD } from "../support/machine-row.ts";
import { machineSuite } from "../support/machine-suite.ts";
import { silentServer } from "../support/network.ts";
import { missingProgram, realSuite } from "../support/programs.ts";
import { type Login, Sshd, SshHost } from "../support/sshd.ts";

const PROBLEM = missingProgram("ssh", "sshd", "fish", "zsh", "tmux");

realSuite(PROBLEM, "the server's machine over a real sshd", () => {
  let sshd: Sshd;
  beforeAll(async () => {
    sshd = await Sshd.start();
  });
  afterAll(() => sshd.stop());

  const hostBy = (login: Login) => (text: string) => {
    const host = new SshHost(sshd, login, text);
    return Object.assign(host, { machine: host.machine.bind(host) });
  };
  describe("shell", () => machineSuite(hostBy("shell")));
  // The forced command's own details are tested without ssh.
  describe("wrapper", () => machineRow(hostBy("wrapper")));

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
        "ControlPersist yes",
        "EscapeChar A",
        "PermitLocalCommand yes",
        "LocalCommand echo local",
        "Tunnel yes",
        "ForwardAgent yes",
        "BatchMode no",
        "SendEnv AI_*",
        "IgnoreUnknown UseKeychain",
        "UseKeychain yes",
      ]);
      expect((await shell.ask(read, limits)).error).toBeUndefined();
      await shell.close();
    });

    test.each([
      ["StdinNull yes"],
      ["SessionType none"],
      ["SessionType subsystem"],
      ["ForkAfterAuthentication yes"],
    ])("%s of the user's is for another session", async (option) => {
      const before = sshd.logins;
      const shell = sshd.shell(settings(), "shell", ["Host *", option]);
      expect((await shell.ask(read, limits)).error).toBeUndefined();
      expect((await shell.ask(read, limits)).lines.map(({ key }) => key)).toEqual(["file", "content"]);
      expect(sshd.logins - before).toBe(1);
      await shell.close();
    });

    test.each([
      ["8.6", ["StdinNull", "SessionType", "ForkAfterAuthentication"]],
      ["7.4", ["StdinNull", "SessionType", "ForkAfterAuthentication", "RemoteCommand"]],
    ])(
      "an ssh as of OpenSSH %s works without the options that it does not know",
      async (_version, unknown) => {
        const ssh = join(sshd.folder, "old-ssh");
        const refusals = unknown.map(
          (name) =>
            `-o${name}=*) echo 'command-line: line 0: Bad configuration option: ${name.toLowerCase()}' >&2; exit 255 ;;`,
        );
        writeFileSync(
          ssh,
          `#!/bin/sh\necho >>'${ssh}.calls'\nfor one; do case $one in ${refusals.join("\n")} esac; done\nexec ssh "$@"\n`,
        );
        chmodSync(ssh, 0o755);
        writeFileSync(`${ssh}.calls`, "");
        const old = ((_ssh: string, args: string[], options: object) =>
          spawn(ssh, args, options)) as typeof spawn;
        const shell = sshd.shell(settings(), "shell", ["IgnoreUnknown UseKeychain", "UseKeychain yes"], old);
        for (let count = 0; count < 3; count++) expect((await shell.ask(read, limits)).error).toBeUndefined();
        const refused = unknown.includes("RemoteCommand") ? 2 : 1;
        expect(readFileSync(`${ssh}.calls`, "utf8")).toHaveLength(3 + refused);
        await shell.close();
      },
    );

    test("a silent ssh, and one that says too much, fail with the same sentence", async () => {
      for (const level of ["QUIET", "DEBUG3"]) {
        const shell = sshd.shell(settings(), "shell", ["Port 1", `LogLevel ${level}`]);
        await expect(shell.ask(read, limits)).rejects.toThrow(/refuses ssh connections/);
        await shell.close();
      }
    });

    test("neither the ssh that stays nor what it starts gets a secret of this extension's", async () => {
      const secrets = {
        AI_SERVER_API_KEY: "key-of-the-test",
        AI_SERVER_CLIENT_KEY_PASSPHRASE: "words-of-the-test",
      };
      Object.assign(process.env, secrets, { OTHER_OF_THE_TEST: "stays" });
      const seen = join(sshd.folder, "seen");
      try {
        const shell = sshd.shell(settings(), "shell", [`Match exec "env >>${seen}"`, "Host *"]);
        await shell.ask(read, limits);
        // The one that opened the shared connection stays as its master.
        const opened = readFileSync(seen, "utf8").length;
        expect(opened).toBeGreaterThan(0);
        await shell.close();
        expect(readFileSync(seen, "utf8").length).toBeGreaterThan(opened);
      } finally {
        for (const name of [...Object.keys(secrets), "OTHER_OF_THE_TEST"]) delete process.env[name];
      }
      const helpers = readFileSync(seen, "utf8");
      expect(helpers).toContain("OTHER_OF_THE_TEST=stays");
      expect(helpers).not.toMatch(/of-the-test/);
    });

    describe("with a startup file of the login shell", () => {
      const startup = (text: string): void => writeFileSync(join(sshd.home, ".bashrc"), `${text}\n`);
      const ran = (): string => join(host.folder, "ran");
      const restart = () => host.shell({ restartCommand: `echo ran >'${ran()}'` });
      const ask = { verb: ["restart"] } as const;
      let greeting: string;
      beforeEach(() => {
        greeting = readFileSync(join(sshd.home, ".bashrc"), "utf8");
      });
      afterEach(() => writeFileSync(join(sshd.home, ".bashrc"), greeting));

      test.each([
        ['if command -v fish >/dev/null; then [ -z "$FISH_VERSION" ] && exec fish -l; fi', "fish"],
        ["exec zsh -l", "another program"],
        ["exec bash --norc", "another program"],
        ["exec dash", "another program"],
        ["exec tmux", "tmux"],
      ])("%s: nothing is carried out, and the sentence names the file", async (line, who) => {
        startup(line);
        await expect(restart().ask(ask, limits)).rejects.toMatchObject({
          code: "ssh",
          message: expect.stringMatching(
            new RegExp(`${who} received the commands meant for sh.*startup file.*~/\\.bashrc`),
          ),
        });
        expect(existsSync(ran())).toBe(false);
      });

      test.each([
        "cat >/dev/null",
        "head -c 9000 >/dev/null",
        "read -r _; read -r _; read -r _",
        "exit 0",
        "exit 3",
        "exec python3",
      ])("%s: nothing is carried out, and the sentence names the file", async (line) => {
        startup(line);
        await expect(restart().ask(ask, limits)).rejects.toThrow(/~\/\.bashrc/);
        expect(existsSync(ran())).toBe(false);
      });

      test("one that waits is given up, and the sentence names the file", async () => {
        startup("sleep 5");
        const shell = host.shell({ connectTimeoutMs: 1000, restartCommand: `echo ran >'${ran()}'` });
        await expect(shell.ask(ask, { timeoutMs: 500 })).rejects.toMatchObject({
          code: "timeout",
          message: expect.stringMatching(/did not begin the step within 2 s\. A startup file .*~\/\.bashrc/),
        });
        expect(existsSync(ran())).toBe(false);
      });

      test.each([
        "echo hello; echo there >&2",
        "read -r _",
        "exec 9</dev/null",
        "set -u",
        "alias expr=false cat=false",
      ])("%s does no harm", async (line) => {
        startup(line);
        expect((await restart().ask(ask, limits)).error).toBeUndefined();
        expect(readFileSync(ran(), "utf8")).toBe("ran\n");
      });

      test("a forced command whose key a startup file gives to another shell", async () => {
        const wrapper = new SshHost(sshd, "wrapper", OLD);
        for (const line of ["exec zsh -l", "exec fish -l", "exec bash --norc"]) {
          startup(line);
          const machine = wrapper.machine();
          await expect(machine.read()).rejects.toThrow(/received the commands meant for .*~\/\.bashrc/);
        }
        await wrapper.remove();
      });

      test.each<Login>(["shell", "wrapper"])(
        "a wrong XDG_RUNTIME_DIR is named where systemctl finds no session, by %s",
        async (login) => {
          startup("export XDG_RUNTIME_DIR=/run/user/4711");
          const there = new SshHost(sshd, login, OLD);
          there.tool("systemctl", "echo 'Failed to connect to bus: No such file or directory' >&2; exit 1");
          const why =
            /XDG_RUNTIME_DIR is \/run\/user\/4711 instead of \/run\/user\/\d+\. A startup file.*~\/\.bashrc/;
          await expect(there.machine().restart()).rejects.toThrow(why);
          expect((await there.machine().status()).problem).toMatch(why);
          await there.remove();
        },
      );
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
      await expect(shell.ask(read, limits)).rejects.toThrow(/does not accept this user's key/);
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
