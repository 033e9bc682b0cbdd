import { execFileSync, spawn as nodeSpawn } from "node:child_process";
import {
  appendFileSync,
  chmodSync,
  existsSync,
  mkdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { RemoteMachine } from "../../host/ssh/machine.ts";
import { Shell } from "../../host/ssh/shell.ts";
import { docsBlock, withOwn } from "../support/docs.ts";
import { DocsPlace } from "../support/docs-place.ts";
import { LocalHost, WRAPPER } from "../support/local-host.ts";
import { UNIT } from "../support/machine-row.ts";
import { REPOSITORY } from "../support/pi.ts";
import { missingProgram, realSuite } from "../support/programs.ts";
import { Sshd } from "../support/sshd.ts";

const block = (name: string): string => docsBlock("administration.md", name);
/** The real one, for the programs that stand before it on PATH. */
const SSH = execFileSync("sh", ["-c", "command -v ssh || true"], { encoding: "utf8" }).trim();
const CONFIG = "models:\n  a: { cmd: 'llama-server -c 1024' }\n";

/** The value that an `export` line of the page gives its variable, as a shell reads it. */
function exported(name: string): string {
  const lines = `${block(name)}\nset -f; printf '%s' "$AI_SERVER_RESTART_COMMAND$AI_SERVER_SSH_MODE$AI_SERVER_SSH_HOST"`;
  const env = { PATH: process.env.PATH ?? "" };
  return execFileSync("sh", ["-e", "-c", lines], { env, encoding: "utf8" });
}

realSuite(
  missingProgram("ssh", "sshd", "ssh-copy-id"),
  "the documented way over ssh, against a real sshd",
  () => {
    let place: DocsPlace;
    let sshd: Sshd;
    /** The server user's. */
    let authorized: string;

    beforeAll(async () => {
      place = new DocsPlace();
      sshd = await Sshd.start();
      mkdirSync(join(place.home, ".ssh"), { mode: 0o700 });
      authorized = join(sshd.folder, "authorized_keys");
      sshd.own(authorized);
      mkdirSync(join(sshd.home, ".ssh"));
      symlinkSync(authorized, join(sshd.home, ".ssh", "authorized_keys"));
      sshd.own(join(sshd.home, ".ssh"));
      await place.runOk(block("key"));
      place.write(".ssh/config", ownConfig());
      place.tool("ssh", sshThrough());
    });
    afterAll(async () => {
      await sshd.stop();
      place.remove();
    });

    /** The documented block with this sshd's address; ssh looks for `~` in the user's real home, so that is spelled out. */
    function ownConfig(): string {
      const own = withOwn(block("ssh-config"), {
        "192.168.2.3": "127.0.0.1",
        "User ai-server": `User ${sshd.user}`,
        "~/.ssh/": `${place.home}/.ssh/`,
      });
      const known = `UserKnownHostsFile ${sshd.folder}/known_hosts`;
      return `${own}    Port ${sshd.port}\n    ${known}\n    IdentityAgent none\n`;
    }

    /** An ssh that reads the config above. The login with a password, which ssh-copy-id needs once, is one with a key. */
    function sshThrough(): string {
      const first = `${place.home}/.ssh/config-first`;
      writeFileSync(first, `IdentityFile ${sshd.folder}/key-shell\n${ownConfig()}`);
      return `case "$SSH_FIRST$*" in
  *PreferredAuthentications=publickey*) config=${place.home}/.ssh/config ;;
  first*) config=${first} ;;
  *) config=${place.home}/.ssh/config ;;
esac
exec ${SSH} -F "$config" "$@"`;
    }

    const machineWith = (key: string, mode: "direct" | "wrapper", presetPath: string): Shell => {
      const config = join(sshd.folder, `config-${mode}-${key.length}`);
      writeFileSync(config, ownConfig().replace(/IdentityFile .*/, `IdentityFile ${key}`));
      place.tool("ssh-of-test", `exec ${SSH} -F ${config} "$@"`);
      const spawnSsh = ((_ssh: string, args: string[], options: object) =>
        nodeSpawn(join(place.tools, "ssh-of-test"), args, options)) as typeof nodeSpawn;
      return new Shell({ ...sshd.settings(presetPath, mode), host: exported("ssh-host") }, spawnSsh);
    };

    test("makes a key that others cannot read", () => {
      expect(statSync(join(place.home, ".ssh/ai-server")).mode & 0o777).toBe(0o600);
    });

    test("is understood by ssh as it is meant", async () => {
      const config = place.write("documented", block("ssh-config"));
      const { stdout } = await place.runOk(`${SSH} -G -F ${config} ai-server`);
      expect(stdout).toMatch(/^hostname 192\.168\.2\.3$/m);
      expect(stdout).toMatch(/^user ai-server$/m);
      expect(stdout).toMatch(/^identitiesonly yes$/m);
      expect(stdout).toMatch(/^identityfile ~\/\.ssh\/ai-server$/m);
    });

    test("shows the fingerprint of the host's key", async () => {
      const lines = withOwn(block("fingerprint"), {
        "/etc/ssh/ssh_host_ed25519_key.pub": join(sshd.folder, "host_key.pub"),
      });
      expect((await place.runOk(lines)).stdout).toMatch(/^256 SHA256:\S+ .*\(ED25519\)$/m);
    });

    test("puts the key there, after which ssh asks nothing", async () => {
      expect((await place.run(block("login"))).code).toBe(255);
      place.env.SSH_FIRST = "first";
      await place.runOk(block("copy-id"));
      delete place.env.SSH_FIRST;
      const { stdout } = await place.runOk(block("login"));
      expect(stdout).toContain(execFileSync("hostname", { encoding: "utf8" }).trim());
      const shell = machineWith(join(place.home, ".ssh/ai-server"), "direct", join(sshd.home, "none.yaml"));
      await expect(new RemoteMachine(shell, 10_000).read()).rejects.toThrow(/none\.yaml does not exist/);
      await shell.close();
    });

    test("goes around what a startup file does in a terminal", async () => {
      const startup = join(sshd.home, ".bashrc");
      const before = readFileSync(startup, "utf8");
      const shell = machineWith(join(place.home, ".ssh/ai-server"), "direct", join(sshd.home, "none.yaml"));
      const read = () => new RemoteMachine(shell, 10_000).read();
      try {
        writeFileSync(startup, "exec bash --norc\n");
        await expect(read()).rejects.toThrow(/received the commands meant for sh/);
        writeFileSync(startup, `${block("bashrc")}exec bash --norc\n`);
        await expect(read()).rejects.toThrow(/none\.yaml does not exist/);
      } finally {
        writeFileSync(startup, before);
        await shell.close();
      }
    });

    describe("with the forced command", () => {
      const installed = () => join(sshd.home, ".local/bin/ai-server-admin");
      const key = () => join(place.home, ".ssh/only-this");
      let config: string;

      beforeAll(async () => {
        appendFileSync(authorized, readFileSync(join(place.home, ".ssh/ai-server.pub"), "utf8"));
        place.folder = REPOSITORY;
        await place.runOk(block("wrapper-install"));
        place.folder = place.home;
        config = join(sshd.home, ".config/llama-swap/config.yaml");
        mkdirSync(join(config, ".."), { recursive: true });
        writeFileSync(config, CONFIG);
        for (const path of [config, join(config, "..")]) sshd.own(path);
        sshd.tool("systemctl", `printf '%s\\n' "${UNIT("/usr/bin/llama-swap -watch-config")}"`);
        await place.runOk(`ssh-keygen -q -t ed25519 -N "" -f ${key()} -C "pi on my laptop"`);
        const [type, value] = readFileSync(`${key()}.pub`, "utf8").split(" ");
        const line = withOwn(block("authorized-keys"), {
          "/home/ai-server/.local/bin/ai-server-admin": installed(),
          "ssh-ed25519 AAAA…": `${type} ${value}`,
        });
        appendFileSync(authorized, line);
        place.write("line", line);
      });

      test("the file arrives whole and can be run", () => {
        expect(readFileSync(installed(), "utf8")).toBe(readFileSync(WRAPPER, "utf8"));
        expect(statSync(installed()).mode & 0o777).toBe(0o755);
      });

      test("its four values are the ones that the page shows", () => {
        const head = readFileSync(WRAPPER, "utf8").split("# ==== begin ====")[0] ?? "";
        const values = head.split("\n").filter((line) => /^[a-z_]+=/.test(line));
        expect(values).toEqual(block("wrapper-values").trim().split("\n"));
      });

      test("the line is one that sshd reads", async () => {
        expect((await place.runOk("ssh-keygen -lf line")).stdout).toMatch(
          /^256 SHA256:\S+ pi on my laptop \(ED25519\)$/m,
        );
      });

      test("the key reads, writes, lists and asks for the unit, with the paths fixed in the file", async () => {
        expect(exported("wrapper-mode")).toBe("wrapper");
        const shell = machineWith(key(), "wrapper", "/nowhere/else.yaml");
        const machine = new RemoteMachine(shell, 10_000);
        try {
          const [file] = await machine.read();
          expect(file).toMatchObject({ name: "config.yaml", text: CONFIG });
          expect(await machine.status()).toMatchObject({ activeState: "active", watchesConfig: true });
          const { backup } = await machine.write(
            CONFIG.replace("1024", "2048"),
            file?.hash ?? "",
            "config.yaml",
          );
          expect((await machine.list("config.yaml")).map(({ stamp }) => stamp)).toEqual([backup]);
        } finally {
          await shell.close();
        }
      });

      test("it runs nothing else", async () => {
        const marker = join(sshd.home, "ran");
        const config = join(place.home, "only-this-config");
        writeFileSync(config, ownConfig().replace(/IdentityFile .*/, `IdentityFile ${key()}`));
        const { code, stderr } = await place.run(`${SSH} -F ${config} ai-server touch ${marker}`);
        expect(code).not.toBe(0);
        expect(stderr).toContain("and nothing else");
        expect(existsSync(marker)).toBe(false);
      });
    });
  },
);

realSuite(missingProgram("visudo"), "the sudoers line", () => {
  test("is right, and allows the documented restart command and no other", async () => {
    const place = new DocsPlace();
    try {
      const file = place.write("ai-server", block("sudoers"), 0o440);
      await place.runOk(`PATH=$PATH:/usr/sbin visudo -cf ${file}`);
      const [, allowed] = /NOPASSWD: (.*)$/m.exec(block("sudoers")) ?? [];
      expect(exported("restart-sudo")).toBe(`sudo -n ${allowed}`);
      chmodSync(file, 0o640);
      writeFileSync(file, block("sudoers").replace("NOPASSWD:", "NOPASSWD"));
      expect((await place.run(`PATH=$PATH:/usr/sbin visudo -cf ${file}`)).code).not.toBe(0);
    } finally {
      place.remove();
    }
  });
});

test.each([
  ["restart-sudo", "sudo", "-n /usr/bin/systemctl restart llama-swap.service"],
  ["restart-docker", "docker", "restart llama-swap"],
  ["restart-launchd", "launchctl", /^kickstart -k gui\/\d+\/local\.llama-swap$/],
])("%s reaches its program as it is written", async (name, program, words) => {
  const host = new LocalHost(CONFIG);
  try {
    host.tool(program, `echo "$*" >'${host.folder}/called'`);
    await host.machine("direct", { restartCommand: exported(name) }).restart();
    const called = readFileSync(join(host.folder, "called"), "utf8").trim();
    if (typeof words === "string") expect(called).toBe(words);
    else expect(called).toMatch(words);
  } finally {
    host.remove();
  }
});

test("a backup is found, compared and put back by hand", async () => {
  const place = new DocsPlace();
  try {
    const path = place.write(".config/llama-swap/config.yaml", CONFIG, 0o640);
    const host = new LocalHost(CONFIG);
    const shell = new Shell(host.settings({ presetPath: path }));
    const machine = new RemoteMachine(shell, 10_000);
    const [file] = await machine.read();
    const { backup = "" } = await machine.write(
      CONFIG.replace("1024", "2048"),
      file?.hash ?? "",
      "config.yaml",
    );
    host.remove();
    expect((await place.runOk(block("backups"))).stdout).toContain(`config.yaml.bak-${backup}`);
    const lines = withOwn(block("rollback"), { "20260131T180000Z": backup });
    // diff ends with 1 where there is a difference, which a shell at a prompt does not mind.
    const { stdout } = await place.runOk(lines.replace(/^diff .*$/m, "$& || true"));
    expect(stdout).toMatch(/^< .*-c 1024.*\n---\n> .*-c 2048/m);
    expect(readFileSync(path, "utf8")).toBe(CONFIG);
    expect(statSync(path).mode & 0o777).toBe(0o640);
  } finally {
    place.remove();
  }
});
