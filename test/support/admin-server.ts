import { existsSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { cp, mkdir, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { readConfig } from "../../config.ts";
import { Http, readText } from "../../server/http/http.ts";
import { type Sim, startSim } from "../../sim/server.ts";
import { writeCertificates } from "./certificates.ts";
import { LocalHost } from "./local-host.ts";
import { UNIT } from "./machine-row.ts";
import { EXTENSION, makeWorkplace, type PiOptions, type PiVersion, runPi, type Workplace } from "./pi.ts";
import type { SshHost } from "./sshd.ts";

/** Stands in the config and in the logs, and must never be found in a session or at a model. */
export const PRIVATE = "private-matter";

/** What no command may show. */
export const SECRETS = ["sk-adminsuite0123456789abcdef", "hf_AdminSuiteToken0123456789abcdefgh"] as const;

const COMMAND = `llama-server --port \${PORT}`;

/** Models for every command; the ids between them have spaces, a slash, a colon and an umlaut. */
export const CONFIG = `# the models of this machine, ${PRIVATE}
healthCheckTimeout: 90
apiKeys: ["${SECRETS[0]}"]

models:
  steady:
    cmd: ${COMMAND} --load 0.2 -m /models/steady.gguf --ctx-size 65536 --no-reasoning # sixty-four
    metadata: { context_length: 65536 }
  "org/Größe:Q4":
    env: ["HF_TOKEN=${SECRETS[1]}"]
    cmd: |
      ${COMMAND} --load 0.2
        -m /models/groesse.gguf --no-reasoning
        --ctx-size 32768
  "a model with spaces":
    cmd: ${COMMAND} --load 0.2 -m /models/spaces.gguf -c 8192 --no-reasoning --token-rate 40
  slow:
    cmd: ${COMMAND} --load 60 -m /models/slow.gguf --ctx-size 16384 --no-reasoning
  failing:
    cmd: ${COMMAND} --load 9 --fail-after 1 -m /models/failing.gguf --ctx-size 4096
`;

export const MODEL_IDS = ["a model with spaces", "failing", "org/Größe:Q4", "slow", "steady"] as const;

/** A key as a user of the server has it; the variables hold nothing else that is secret. */
const API_KEY = SECRETS[0];

const RESTART_LOOKS_MS = 25;

/**
 * A server and its machine: the stand-in behind mutual TLS on a fixed port, whose config.yaml is the host's file, and a
 * `systemctl` and a `journalctl` among the host's programs; this systemctl really stops and starts it.
 */
export class AdminServer {
  readonly host: LocalHost | SshHost;
  /** How often it was restarted. */
  restarts = 0;
  #sim: Sim;
  readonly #port: number;
  /** With the certificates, and a link to the host's file. */
  readonly #folder: string;
  /** In which the server's user may ask for a restart, and where the journal is. */
  readonly #requests: string;
  #isOver = false;
  readonly #loop: Promise<void>;

  static async start(host: LocalHost | SshHost = new LocalHost(CONFIG)): Promise<AdminServer> {
    const folder = mkdtempSync(join(tmpdir(), "admin-server-"));
    await writeCertificates(join(folder, "certs"));
    symlinkSync(host.path, join(folder, "config.yaml"));
    return new AdminServer(host, folder, await startSim({ dir: folder }));
  }

  private constructor(host: LocalHost | SshHost, folder: string, sim: Sim) {
    this.host = host;
    this.#folder = folder;
    this.#sim = sim;
    this.#port = sim.port;
    this.#requests = mkdtempSync(join(host.tools, "requests-"));
    host.own(this.#requests);
    this.journal = ["started", `llama-swap listening, ${PRIVATE}`];
    for (const [name, script] of Object.entries(this.#programs())) host.tool(name, script);
    this.#loop = this.#serve();
  }

  get sim(): Sim {
    return this.#sim;
  }

  /** What the machine's `journalctl` gives. */
  set journal(lines: readonly string[]) {
    writeFileSync(join(this.#requests, "journal"), lines.map((line) => `${line}\n`).join(""));
  }

  /** The variables of a user of this server, on this machine. */
  get env(): Record<string, string> {
    return {
      AI_SERVER_URL: this.#sim.url,
      AI_SERVER_CERTS_DIR: this.#sim.certsDir,
      AI_SERVER_API_KEY: API_KEY,
      AI_SERVER_PRESET_PATH: this.host.path,
      AI_SERVER_SERVICE_UNIT: "stand-in.service",
      PATH: `${this.host.tools}:${process.env.PATH ?? ""}`,
    };
  }

  /** What `/running` shows, by id. */
  async running(): Promise<Map<string, string>> {
    const shown = await this.#ask("GET", "/running");
    const { running } = JSON.parse(shown) as { running: { model: string; state: string }[] };
    return new Map(running.map(({ model, state }) => [model, state]));
  }

  async load(id: string): Promise<void> {
    await this.#ask("GET", `/upstream/${encodeURIComponent(id)}/health`);
  }

  /** A short turn of another client's, which the model's log shows. */
  async complete(id: string): Promise<void> {
    const messages = [{ role: "user", content: "sim: say Ok." }];
    await this.#ask("POST", "/v1/chat/completions", JSON.stringify({ model: id, messages }));
  }

  async unloadAll(): Promise<void> {
    await this.#ask("POST", "/api/models/unload");
  }

  /** Puts the first text back, without backups and with nothing loaded, and the journal as it was. */
  async reset(text = CONFIG): Promise<void> {
    const { host } = this;
    for (const name of host.backups) rmSync(join(host.folder, name));
    writeFileSync(host.path, text);
    this.journal = ["started", `llama-swap listening, ${PRIVATE}`];
    this.restarts = 0;
    await this.#sim.reload();
  }

  async stop(): Promise<void> {
    this.#isOver = true;
    await this.#loop;
    await this.#sim.close();
    await this.host.remove();
    rmSync(this.#folder, { recursive: true, force: true });
  }

  /** Has a restart do something else. @returns what makes it whole again */
  breakUnit(restart: string): () => void {
    this.host.tool("systemctl", this.#systemctl(restart));
    return () => this.host.tool("systemctl", this.#systemctl(this.#restartScript()));
  }

  #programs(): Record<string, string> {
    return {
      systemctl: this.#systemctl(this.#restartScript()),
      journalctl: `tail -n "$5" '${this.#requests}/journal'`,
    };
  }

  #restartScript(): string {
    const ask = `${this.#requests}/restart`;
    return `: >'${ask}'; while [ -e '${ask}' ]; do sleep 0.05; done`;
  }

  #systemctl(restart: string): string {
    const show = `cat <<'END'\n${UNIT(`llama-swap -config config.yaml --api-key ${API_KEY}`)}\nEND\n`;
    return `case $2 in restart) ${restart} ;; show) ${show};; esac`;
  }

  async #ask(method: "GET" | "POST", path: string, content?: string): Promise<string> {
    const http = new Http(readConfig(this.env, {}, this.#folder));
    try {
      const { body } = await http.request({
        method,
        path,
        ...(content === undefined ? {} : { body: content }),
      });
      return await readText(body, 1_000_000);
    } finally {
      await http.close();
    }
  }

  async #serve(): Promise<void> {
    const request = join(this.#requests, "restart");
    while (!this.#isOver) {
      if (existsSync(request)) {
        await this.#restart();
        this.restarts += 1;
        rmSync(request, { force: true });
      }
      await new Promise((resolve) => setTimeout(resolve, RESTART_LOOKS_MS));
    }
  }

  /** A config that cannot be used leaves it down, as the real one. */
  async #restart(): Promise<void> {
    await this.#sim.close();
    try {
      this.#sim = await startSim({ dir: this.#folder, port: this.#port });
      this.journal = ["started again"];
    } catch (error) {
      this.journal = [`failed to load config: ${(error as Error).message}`];
    }
  }
}

/** A workplace for pi on an `AdminServer`, whose temporary files stay in it. */
export interface AdminPlace extends Workplace {
  /** pi's folder for temporary files. */
  tmp: string;
  /** What pi is started with on this server, and on its model `steady`. */
  options(args: readonly string[], env?: Record<string, string>): PiOptions;
  /** Another one that knows the same. */
  copy(): Promise<AdminPlace>;
}

async function emptyPlace(version: PiVersion, server: AdminServer): Promise<AdminPlace> {
  const place = await makeWorkplace();
  const tmp = join(place.folder, "tmp");
  // The extension as pi has compiled it before.
  const compiled = join(tmpdir(), "jiti");
  await mkdir(compiled, { recursive: true });
  await mkdir(tmp);
  await symlink(compiled, join(tmp, "jiti"));
  return {
    ...place,
    tmp,
    options: (args, env = {}) => ({
      version,
      agentDir: place.agentDir,
      args: ["-e", EXTENSION, "--model", "ai-server/steady", ...args],
      env: { ...server.env, TMPDIR: tmp, ...env },
    }),
    copy: async () => {
      const other = await emptyPlace(version, server);
      await cp(place.agentDir, other.agentDir, { recursive: true });
      return other;
    },
  };
}

/** One whose agent folder knows the server's models. */
export async function makeAdminPlace(version: PiVersion, server: AdminServer): Promise<AdminPlace> {
  const place = await emptyPlace(version, server);
  await writeFile(join(place.agentDir, "settings.json"), JSON.stringify({ retry: { enabled: false } }));
  await runPi({ ...place.options(["--list-models"]), offline: false });
  return place;
}
