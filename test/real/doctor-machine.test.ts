import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, onTestFinished, test } from "vitest";
import { Examiner } from "../../host/examine/examiner.ts";
import { type Place, startPlace } from "../support/command-place.ts";
import { saying } from "../support/command-user.ts";
import { docsBlock } from "../support/docs.ts";
import { allFindings, type ShownFinding } from "../support/doctor-findings.ts";
import { missingProgram, realSuite } from "../support/programs.ts";
import { type Login, Sshd } from "../support/sshd.ts";
import { installSystemd, type SystemdParts } from "../support/systemd.ts";

/** The real one, for the program that stands before it on PATH. */
const SSH = execFileSync("sh", ["-c", "command -v ssh || true"], { encoding: "utf8" }).trim();

realSuite(missingProgram("ssh", "sshd"), "the doctor and a machine over a real sshd", () => {
  let sshd: Sshd;
  beforeAll(async () => {
    sshd = await Sshd.start();
  });
  afterAll(() => sshd.stop());

  /** A server whose machine is reached through this sshd, with programs as these parts say. */
  async function placeOver(login: Login, parts: SystemdParts = {}): Promise<Place> {
    const mode = login === "wrapper" ? "wrapper" : "direct";
    const config = join(sshd.home, "config.yaml");
    writeFileSync(config, "models: {}\n");
    sshd.own(config);
    const place = await startPlace(undefined, {
      AI_SERVER_SSH_HOST: `${sshd.user}@127.0.0.1`,
      AI_SERVER_SSH_MODE: mode,
      AI_SERVER_PRESET_PATH: "~/config.yaml",
    });
    sshd.installWrapper(sshd.settings(config, mode, { serviceUnit: "llama-swap.service" }));
    installSystemd(sshd, parts);
    place.tool("ssh", `exec ${SSH} -F '${sshd.clientConfig(login)}' "$@"`);
    return place;
  }

  async function found(place: Place): Promise<ShownFinding[]> {
    return (await allFindings(place)).filter(({ group }) => group === "machine");
  }

  const wrong = (list: readonly ShownFinding[]): ShownFinding[] =>
    list.filter(({ verdict }) => verdict === "fault" || verdict === "warning");

  test("nothing is wrong, and what a startup file prints is quoted", async () => {
    const list = await found(await placeOver("shell"));
    expect(wrong(list)).toEqual([]);
    expect(list[0]).toMatchObject({
      check: "ssh",
      seen: expect.stringMatching(/^\S+@127\.0\.0\.1 is known and answered within \d+\.\d s$/),
    });
    expect(list[1]).toMatchObject({
      check: "startup-files",
      verdict: "ok",
      seen: expect.stringContaining("print “Welcome, you have mail no line end” before each command"),
    });
    expect(list.find(({ check }) => check === "unit-running")).toMatchObject({ verdict: "ok" });
  });

  test("with a restricted key, what its program shows is looked at", async () => {
    const list = await found(await placeOver("wrapper"));
    expect(wrong(list)).toEqual([]);
    expect(list.map(({ check }) => check)).toEqual([
      "ssh",
      "startup-files",
      "unit-running",
      "journal",
      "machine",
    ]);
  });

  test.each([
    ["empty", /does not know the host key of/],
    ["other", /is not the one in known_hosts.*man-in-the-middle/],
  ] as const)("a host key that is %s to this machine is named", async (hosts, sentence) => {
    const place = await placeOver("shell");
    sshd.knownHosts(hosts);
    onTestFinished(() => sshd.knownHosts("right"));
    const list = await found(place);
    expect(list.map(({ check, verdict }) => `${verdict} ${check}`)).toEqual([
      "fault ssh",
      "unchecked machine",
    ]);
    expect(list[0]?.seen).toMatch(sentence);
  });

  test("a key that is not accepted is named", async () => {
    const place = await placeOver("shell");
    const keys = readFileSync(join(sshd.folder, "authorized_keys"), "utf8");
    writeFileSync(join(sshd.folder, "authorized_keys"), "");
    onTestFinished(() => writeFileSync(join(sshd.folder, "authorized_keys"), keys));
    expect((await found(place))[0]).toMatchObject({
      verdict: "fault",
      seen: expect.stringContaining("does not accept this user's key"),
      next: expect.stringContaining("ssh -o BatchMode=yes"),
    });
  });

  test("a startup file that starts another program is named", async () => {
    const place = await placeOver("shell");
    const bashrc = join(sshd.home, ".bashrc");
    const before = readFileSync(bashrc, "utf8");
    writeFileSync(bashrc, "exec bash\n");
    onTestFinished(() => writeFileSync(bashrc, before));
    expect((await found(place))[0]).toMatchObject({
      verdict: "fault",
      seen: expect.stringMatching(/a startup file of the login shell there starts it with exec/),
    });
  });

  test("--fix writes the missing unit as the server's user", async () => {
    const place = await placeOver("shell", { state: "none" });
    const bin = join(sshd.home, ".local/bin");
    mkdirSync(bin, { recursive: true });
    writeFileSync(join(bin, "llama-swap"), "#!/bin/sh\n", { mode: 0o755 });
    for (const name of [".local", ".config", "config.yaml"]) {
      onTestFinished(() => rmSync(join(sshd.home, name), { recursive: true, force: true }));
    }
    const user = saying(true);
    await place.type("/ai-server-doctor --fix", user);
    expect(user.questions.map(({ title }) => title)).toContain(
      "Write llama-swap.service on the server, and enable it?",
    );
    const path = join(sshd.home, ".config/systemd/user/llama-swap.service");
    const expected = docsBlock("server.md", "unit").replace(
      "%h/.config/llama-swap/config.yaml",
      "%h/config.yaml",
    );
    expect(readFileSync(path, "utf8")).toBe(expected);
    expect(statSync(path).mode & 0o777).toBe(0o644);
    expect(statSync(path).uid).toBe(statSync(sshd.home).uid);
  });

  test("files of models are found whatever their names, and nothing in them is run", async () => {
    const folder = join(sshd.home, "mo dels '$(touch ran)`touch ran`\";touch ran");
    mkdirSync(folder);
    onTestFinished(() => rmSync(folder, { recursive: true }));
    const path = join(folder, "-n é.gguf");
    writeFileSync(path, "GGUF");
    const shell = sshd.shell(sshd.settings("~/config.yaml", "direct"), "shell");
    onTestFinished(() => shell.close());
    const missing = join(folder, "*.gguf");
    expect(await new Examiner(shell).files([path, missing])).toEqual([
      { path, kind: "file", bytes: 4 },
      { path: missing, kind: "missing", bytes: 0 },
    ]);
    expect(existsSync(join(sshd.home, "ran"))).toBe(false);
  });
});
