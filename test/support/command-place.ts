import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  watch,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import type { ExtensionCommandContext } from "@earendil-works/pi-coding-agent";
import { onTestFinished, vi } from "vitest";
import { Activities } from "../../activity/activities.ts";
import type { SelectModel } from "../../admin/call.ts";
import { type CommandName, runCommand } from "../../admin.ts";
import { AiServer } from "../../provider/ai-server.ts";
import { ModelServer } from "../../server/model-server.ts";
import { writeCertificateSet } from "../../sim/certificates.ts";
import { type Sim, startSim } from "../../sim/server.ts";
import { keptBy, User } from "./command-user.ts";
import { installWrapper } from "./local-host.ts";
import { UNIT } from "./machine-row.ts";
import { installSystemd } from "./systemd.ts";
import { clientOf, drained, kept } from "./wire.ts";

/** Two models; one fits at a time. The comments must outlive every change. */
export const CONFIG = `# the models of this house
includeAliasesInList: true
models:
  small:   # for everyday questions
    cmd: |
      llama-server --port \${PORT} --load 0.2 --no-reasoning
        -m /models/small.gguf
        --ctx-size 8192
  "org/Größe:Q4 x":
    cmd: llama-server --port \${PORT} --load 0.2 --parallel 2 -m /models/g.gguf -c 16384
    aliases: [groesse]
    ttl: 300
`;

export const ODD = "org/Größe:Q4 x";

const SESSION = "session-of-this-pi";

let certificates: Promise<string> | undefined;
/** Made once for a process, which removes it at its end: making keys takes a while. */
async function certificatesFolder(): Promise<string> {
  const folder = mkdtempSync(join(tmpdir(), "place-certs-"));
  process.once("exit", () => rmSync(folder, { recursive: true, force: true }));
  await writeCertificateSet(folder);
  return folder;
}

/** What pi hands to a command. */
export function contextOf(aiServer: AiServer, user: User): ExtensionCommandContext {
  const publish = async ({ update }: { update?: () => void }): Promise<boolean> => {
    update?.();
    return true;
  };
  const { signal } = new AbortController();
  return {
    mode: user.mode,
    ui: user.ui,
    isIdle: () => true,
    cwd: tmpdir(),
    isProjectTrusted: () => false,
    modelRegistry: {
      getProviderAuth: async () => ({ env: {} }),
      refresh: ({ allowNetwork }: { allowNetwork: boolean }) =>
        aiServer.refresh({ allowNetwork, signal, publish }),
    },
    sessionManager: { getSessionId: () => SESSION },
  } as unknown as ExtensionCommandContext;
}

/**
 * A server that a fake systemctl restarts, the config that it reads then, and a user of pi who administers it
 * from the same machine.
 */
export class Place {
  /** Holds the config and nothing else. */
  readonly folder: string;
  readonly aiServer: AiServer;
  readonly activities = new Activities();
  /** How often the unit was restarted. */
  restarts = 0;
  /** How much faster than real time the server goes from its next start on. */
  speed = 100;
  /** The server is started with this file. */
  served: string;
  /** Gives the text with which a start of the server goes wrong; undefined leaves it as it is. */
  spoils: (text: string) => string | undefined = () => undefined;
  /** The session's end. */
  readonly ended = new AbortController();
  readonly #root: string;
  readonly #port: number;
  readonly #env: Record<string, string>;
  #sim: Sim;
  #restarting: Promise<void> | undefined;

  constructor(root: string, sim: Sim, env: Record<string, string>) {
    this.#root = root;
    this.folder = join(root, "config");
    this.served = this.path;
    this.#sim = sim;
    this.#port = sim.port;
    this.#env = {
      AI_SERVER_URL: sim.url,
      AI_SERVER_CERTS_DIR: sim.certsDir,
      AI_SERVER_SSH_HOST: "local",
      AI_SERVER_PRESET_PATH: this.path,
      ...env,
    };
    const agentDir = join(root, "agent");
    this.aiServer = new AiServer({ env: this.#env, agentDir, now: Date.now, onChanged: () => {} });
    onTestFinished(() => this.aiServer.close());
    // The doctor asks and may change these: never those of the machine that runs the tests.
    installSystemd(this);
    this.journal = "";
    this.unitRuns("llama-swap -config config.yaml");
    this.tool("journalctl", `cat '${join(root, "journal")}' 2>/dev/null`);
    const watcher = watch(join(root, "asked"), () => this.#look());
    onTestFinished(() => watcher.close());
  }

  get sim(): Sim {
    return this.#sim;
  }

  get path(): string {
    return join(this.folder, "config.yaml");
  }

  get text(): string {
    return readFileSync(this.path, "utf8");
  }

  set text(text: string) {
    writeFileSync(this.path, text);
  }

  /** pi's own folder. */
  get agentDir(): string {
    return join(this.#root, "agent");
  }

  /** The stamps of the backups, the oldest first. */
  get backups(): string[] {
    const names = readdirSync(this.folder).filter((name) => name.startsWith("config.yaml.bak-"));
    return names.map((name) => name.slice("config.yaml.bak-".length)).sort();
  }

  /** The file of what is remembered on this machine; empty while there is none. */
  get rememberedText(): string {
    const path = join(this.#root, "agent", "ai-server.json");
    return existsSync(path) ? readFileSync(path, "utf8") : "";
  }

  /** What the commands see in the environment from now on. */
  set(variables: Record<string, string>): void {
    Object.assign(this.#env, variables);
  }

  /** Puts a program before all others on PATH. */
  tool(name: string, script: string): void {
    writeFileSync(join(this.#root, "tools", name), `#!/bin/sh\n${script}\n`, { mode: 0o755 });
  }

  /** Gives the unit this command line, as `systemctl show` prints it. */
  unitRuns(commandLine: string): void {
    this.unitShows(UNIT(commandLine));
  }

  /** Lets `systemctl show` print this. */
  unitShows(shown: string): void {
    const ask = join(this.#root, "asked", "restart");
    const restart = `echo >'${ask}'; while [ -e '${ask}' ]; do sleep 0.02; done`;
    this.tool("systemctl", `case $2 in restart) ${restart} ;; show) cat <<'END'\n${shown}\nEND\n;; esac`);
  }

  /** The machine lets us in with a forced command alone, as sshd would run it. */
  installsWrapper(restartCommand = ""): void {
    const wrapper = join(this.#root, "tools", "ai-server-admin");
    installWrapper(wrapper, {
      host: "local",
      mode: "direct",
      connectTimeoutMs: 0,
      keepMs: 0,
      presetPath: this.path,
      serviceUnit: "llama-swap.service",
      restartCommand: restartCommand || undefined,
    });
    this.tool("ssh", `for last; do :; done\nSSH_ORIGINAL_COMMAND=$last exec sh '${wrapper}'`);
  }

  /** The text of the unit's journal. */
  set journal(text: string) {
    writeFileSync(join(this.#root, "journal"), text);
  }

  /** Lets the server read its config again, as it does on SIGHUP. */
  async reload(): Promise<void> {
    this.#putConfig();
    await this.#sim.reload();
  }

  /** Reloads whenever the config changes, as `-watch-config` does. */
  reloadsWhenChanged(): void {
    const watcher = watch(this.folder, (_, name) => {
      if (name === "config.yaml") void this.reload();
    });
    onTestFinished(() => watcher.close());
  }

  /** Another client. */
  client(): Promise<ModelServer> {
    const { url, certsDir } = this.#sim;
    return kept(new ModelServer(clientOf(url, certsDir, this.#env)));
  }

  /** Loads a model, as any client may. */
  async load(id: string): Promise<void> {
    const { body, status } = await (await this.client()).http.request({
      method: "GET",
      path: `/upstream/${encodeURIComponent(id)}/health`,
    });
    void drained(body);
    if (status !== 200) throw new Error(`${id} was not loaded: ${status}`);
  }

  /** The ids of what is loaded, with the state of what is not ready. */
  async loaded(): Promise<string[]> {
    const running = await (await this.client()).running();
    return (running ?? []).map(({ id, state }) => (state === "ready" ? id : `${id} ${state}`));
  }

  /** Lets a model answer another client until the test ends or the server cuts it. */
  async chat(model: string, headers: Record<string, string>): Promise<void> {
    const ended = new AbortController();
    onTestFinished(() => ended.abort());
    const body = JSON.stringify({ model, messages: [{ role: "user", content: "hi" }], stream: true });
    const response = await (await this.client()).chat(body, headers, ended.signal);
    void drained(response.body).catch(() => {});
  }

  /** Runs a command as pi does. */
  run(
    name: CommandName,
    argument: string,
    ctx: ExtensionCommandContext,
    selectModel: SelectModel = async () => false,
  ): Promise<void> {
    const { aiServer, activities, ended } = this;
    const use = { aiServer, activities, selectModel, ctx, argument, ended: ended.signal };
    return runCommand(name, { ...use, keepResult: keptBy(ctx) });
  }

  /** Types a command, and gives back who did when it is over. */
  async type(line: string, user = new User("rpc")): Promise<User> {
    const [, name = "", argument = ""] = /^\/(\S+) ?(.*)$/s.exec(line) ?? [];
    await this.run(name as CommandName, argument, this.contextOf(user));
    return user;
  }

  /** What pi hands to a command. */
  contextOf(user: User): ExtensionCommandContext {
    return contextOf(this.aiServer, user);
  }

  /** Ends the server, as when its machine goes away. */
  async close(): Promise<void> {
    await this.#restarting;
    await this.#sim.close();
  }

  #look(): void {
    const ask = join(this.#root, "asked", "restart");
    if (!existsSync(ask)) return;
    this.#restarting ??= this.#restart().finally(() => {
      this.#restarting = undefined;
      rmSync(ask, { force: true });
    });
  }

  async #restart(): Promise<void> {
    const { dir } = this.#sim;
    this.restarts += 1;
    await this.#sim.close();
    this.#putConfig();
    try {
      this.#sim = await startSim({ dir, port: this.#port, speed: this.speed });
    } catch (error) {
      // A config that the server refuses leaves nothing on the port.
      this.journal = `failed to load config: ${error instanceof Error ? error.message : error}\n`;
    }
  }

  #putConfig(): void {
    const text = readFileSync(this.served, "utf8");
    writeFileSync(join(this.#sim.dir, "config.yaml"), this.spoils(text) ?? text);
  }
}

/**
 * Starts the server behind mutual TLS with a config, and closes everything when the test ends.
 *
 * @param env variables beside those that lead to the server and its config
 */
export async function startPlace(
  config = CONFIG,
  env: Record<string, string> = {},
  more: { tls?: "mutual" | "server" } = {},
): Promise<Place> {
  certificates ??= certificatesFolder();
  const root = mkdtempSync(join(tmpdir(), "place-"));
  for (const name of ["config", "server", "tools", "asked", "agent"]) mkdirSync(join(root, name));
  const dir = join(root, "server");
  cpSync(await certificates, join(dir, "certs"), { recursive: true });
  writeFileSync(join(root, "config", "config.yaml"), config);
  const before = process.env.PATH ?? "";
  vi.stubEnv("PI_CODING_AGENT_DIR", join(root, "agent"));
  process.env.PATH = `${join(root, "tools")}${delimiter}${before}`;
  onTestFinished(() => {
    process.env.PATH = before;
    vi.unstubAllEnvs();
    rmSync(root, { recursive: true, force: true });
  });
  return kept(new Place(root, await startSim({ dir, config, speed: 100, ...more }), env));
}
