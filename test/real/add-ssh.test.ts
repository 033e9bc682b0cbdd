import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from "vitest";
import { ServerDownloads } from "../../host/download/downloads.ts";
import { type Hub, startHub } from "../../sim/hub.ts";
import { Dialogs, noticesIn, statusesIn, yes } from "../support/admin-rpc.ts";
import { type AdminPlace, AdminServer, CONFIG, makeAdminPlace } from "../support/admin-server.ts";
import { NEWEST_PI, piProblem } from "../support/pi.ts";
import { missingProgram, realSuite } from "../support/programs.ts";
import { RpcPi, type UiHandler } from "../support/rpc.ts";
import { Sshd, SshHost } from "../support/sshd.ts";
import { processesWith } from "../support/terminal.ts";

const TOKEN = "hf_ReaderReaderReaderReaderReaderReade";
const SHARDS = [1, 2].map((part) => `Wren-Q8_0-0000${part}-of-00002.gguf`);
const LABEL = "maker/Wren-GGUF:Q8_0";

/** Chooses the line that begins with these words. */
const taking =
  (words: string): UiHandler =>
  ({ options }) => {
    const lines = Array.isArray(options) ? options.map(String) : [];
    return { value: lines.find((line) => line.startsWith(words)) ?? `none of ${lines.join()} is ${words}` };
  };

const problem = (await piProblem(NEWEST_PI)) ?? missingProgram("ssh", "sshd", "curl");
realSuite(problem, `a model that is added over a real sshd, pi ${NEWEST_PI}`, () => {
  let sshd: Sshd;
  let host: SshHost;
  let server: AdminServer;
  let hub: Hub;
  let place: AdminPlace;

  beforeAll(async () => {
    sshd = await Sshd.start();
  });
  afterAll(() => sshd.stop());

  async function start(login: "shell" | "wrapper"): Promise<void> {
    host = new SshHost(sshd, login, CONFIG);
    server = await AdminServer.start(host);
    place = await makeAdminPlace(NEWEST_PI, server);
  }

  beforeEach(async () => {
    const files = Object.fromEntries(
      SHARDS.map((path, at) => [path, { bytes: 400_000 + at, seed: path }] as const),
    );
    hub = await startHub({
      repositories: {
        "maker/Wren-GGUF": { gguf: { context_length: 40_960 }, files: { ...files, "Wren-F16.gguf": "x" } },
        "maker/Gated-GGUF": {
          gated: "auto",
          readers: [TOKEN],
          files: { "Gated-Q4_K_M.gguf": { bytes: 100_000, seed: "gated" } },
        },
      },
    });
  });
  afterEach(async () => {
    const shell = host.shell();
    const downloads = new ServerDownloads(shell);
    const folder = join(host.folder, "models");
    for (const { id } of await downloads.read(folder).catch(() => [])) await downloads.stop(folder, id);
    await shell.close();
    await place.remove();
    await server.stop();
    await hub.close();
  });

  function openPi(answer: UiHandler, more: Record<string, string> = {}): Promise<RpcPi> {
    const env = {
      ...host.variablesOfPi(),
      AI_SERVER_MODELS_DIR: join(host.folder, "models"),
      HF_ENDPOINT: hub.url,
      ...more,
    };
    return RpcPi.start(place.options([], env), answer);
  }

  const models = (name: string): string[] => {
    const folder = join(host.folder, "models/maker", name);
    return existsSync(folder) ? readdirSync(folder).sort() : [];
  };

  test("is downloaded by the server, and goes on when pi is killed; the next pi writes, loads and checks it", async () => {
    await start("shell");
    const held = hub.break(SHARDS[1] ?? "", { holdAfter: 200_000 });
    const first = new Dialogs();
    const pi = await openPi(first.answer);
    first.expect(taking("Q8_0"), yes);
    const begun = pi.command("/ai-server-add maker/Wren-GGUF").catch(() => []);
    await held.happened;
    killLaptop(place);
    await begun;
    expect(first.question(0)).toBe("Which quantisation of maker/Wren-GGUF?");
    expect(first.question(1)).toMatch(
      /^Download maker\/Wren-GGUF:Q8_0\?\n781 KiB in 2 files, into .*\/models\//,
    );
    expect([models("Wren-GGUF"), host.text]).toEqual([[], CONFIG]);
    held.end();

    const dialogs = new Dialogs();
    const next = await openPi(dialogs.answer);
    dialogs.expect(taking("Like steady"), taking("32k"), yes);
    const seen = await next.command(`/ai-server-add ${LABEL}`);
    expect(noticesIn(seen).at(-1)).toMatch(
      /^Wren-Q8_0 is added; \/model has it now\.\nIt is loaded, and a request may use 32768 tokens\.\n/,
    );
    expect(dialogs.question(2)).toMatch(
      /^\+ +cmd: llama-server .*Wren-Q8_0-00001-of-00002\.gguf --ctx-size 32768/m,
    );
    expect(host.text.startsWith(CONFIG)).toBe(true);
    expect(models("Wren-GGUF")).toEqual(SHARDS);
    expect([...(await server.running())]).toEqual([["Wren-Q8_0", "ready"]]);
    expect(await next.close()).toBe(0);
  });

  test("that is gated comes with the token of this machine, which no command line and no file of the server has", async () => {
    await start("shell");
    const curl = join(host.folder, "curl-was-called-with");
    host.tool("curl", `echo "$@" >>'${curl}'; exec /usr/bin/curl "$@"`);
    const dialogs = new Dialogs();
    const pi = await openPi(dialogs.answer, { HF_TOKEN: TOKEN });
    dialogs.expect(yes, taking("Like steady"), taking("16k"), yes);
    const seen = await pi.command("/ai-server-add maker/Gated-GGUF");
    expect(noticesIn(seen).at(-1)).toContain("Gated-Q4_K_M is added; /model has it now.");
    expect(statusesIn(seen).join()).not.toContain(TOKEN);
    expect(readFileSync(curl, "utf8")).not.toContain(TOKEN);
    expect(hub.requests.some(({ headers }) => headers.authorization === `Bearer ${TOKEN}`)).toBe(true);
    expect(hub.transfers.every(({ headers }) => headers.authorization === undefined)).toBe(true);
    expect(JSON.stringify(seen)).not.toContain(TOKEN);
    expect(filesWith(host.folder, TOKEN)).toEqual([]);
    expect(await pi.close()).toBe(0);
  });

  test("is refused in one sentence with a key that may only run ai-server-admin", async () => {
    await start("wrapper");
    const pi = await openPi(() => undefined);
    const before = sshd.logins;
    const seen = noticesIn(await pi.command(`/ai-server-add ${LABEL}`));
    expect(seen).toEqual([
      expect.stringContaining("may only run ai-server-admin (AI_SERVER_SSH_MODE=wrapper)"),
    ]);
    expect([sshd.logins - before, hub.requests.length]).toEqual([0, 0]);
    expect(await pi.close()).toBe(0);
  });
});

/** pi and its ssh, as when the laptop is off. A shared connection has its socket's path in place of its environment. */
function killLaptop({ agentDir, tmp }: AdminPlace): void {
  const shared = readdirSync("/proc").filter((name) => {
    if (!/^\d+$/.test(name)) return false;
    const path = join("/proc", name, "cmdline");
    return existsSync(path) && readFileSync(path, "utf8").includes(tmp);
  });
  for (const id of new Set([...processesWith(agentDir), ...shared.map(Number)])) process.kill(id, "SIGKILL");
}

/** The files below a folder that contain a text. */
function filesWith(folder: string, text: string): string[] {
  return readdirSync(folder, { recursive: true, withFileTypes: true }).flatMap((entry) => {
    const path = join(entry.parentPath, entry.name);
    return entry.isFile() && readFileSync(path).includes(text) ? [path] : [];
  });
}
