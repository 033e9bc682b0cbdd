import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Activities } from "../../activity/activities.ts";
import { type CommandName, runCommand } from "../../admin.ts";
import type { Config } from "../../config.ts";
import { siteLines } from "../../host/ca/caddyfile.ts";
import { AiServer } from "../../provider/ai-server.ts";
import { type Sim, startSim } from "../../sim/server.ts";
import { contextOf } from "./command-place.ts";
import { keptBy, User } from "./command-user.ts";
import { type Daemon, startDaemon } from "./daemon.ts";
import { freePort, listens } from "./network.ts";
import { type Finished, run } from "./processes.ts";

/** The Caddys whose ways of listing devices differ. */
export const CADDYS = ["caddy", "caddy-current"] as const;
export type CaddyProgram = (typeof CADDYS)[number];

const MODELS = `models:\n  one: { cmd: "llama-server --port \${PORT} -m /models/one.gguf" }\n`;

/** A laptop, a machine with CA and Caddy that is the same machine, and a model server behind it. */
export class DevicePlace {
  readonly root = mkdtempSync(join(tmpdir(), "devices-"));
  readonly ca = join(this.root, "ca of mine");
  readonly certs = join(this.root, "certs");
  readonly caddyfile = join(this.root, "Caddyfile");
  readonly accessLog = join(this.root, "access.log");
  readonly program: CaddyProgram;
  readonly sim: Sim;
  readonly port: number;
  readonly aiServer: AiServer;
  readonly ended = new AbortController();
  readonly #adminPort: number;
  readonly #env: Record<string, string>;
  #caddy: Daemon | undefined;

  static async start(program: CaddyProgram): Promise<DevicePlace> {
    const sim = await startSim({ config: MODELS, tls: "none" });
    return new DevicePlace(program, sim, await freePort(), await freePort());
  }

  private constructor(program: CaddyProgram, sim: Sim, port: number, adminPort: number) {
    this.program = program;
    this.sim = sim;
    this.port = port;
    this.#adminPort = adminPort;
    mkdirSync(join(this.root, "agent"));
    this.#env = {
      AI_SERVER_URL: this.url,
      AI_SERVER_CERTS_DIR: this.certs,
      AI_SERVER_SSH_HOST: "local",
      AI_SERVER_CA_DIR: this.ca,
    };
    this.aiServer = new AiServer({
      env: this.#env,
      agentDir: join(this.root, "agent"),
      now: Date.now,
      onChanged: () => {},
    });
  }

  get url(): string {
    return `https://localhost:${this.port}`;
  }

  get config(): Config {
    return this.aiServer.config();
  }

  set(variables: Record<string, string>): void {
    Object.assign(this.#env, variables);
  }

  unset(name: string): void {
    delete this.#env[name];
  }

  /** The version that chooses the form of the list. */
  get version(): string {
    const said = execFileSync(this.program, ["version"], { encoding: "utf8" });
    return /\d+\.\d+\.\d+/.exec(said)?.[0] ?? "";
  }

  /** The site as the product shows it, on this place's port and in front of its server. */
  site(): string {
    return siteLines(`https://localhost:${this.port}`, this.ca, { version: this.version }).join("\n");
  }

  /** Writes the Caddyfile around a site. */
  writeCaddyfile(site = this.site()): void {
    const text = `{
	admin localhost:${this.#adminPort}
	auto_https off
	default_bind 127.0.0.1
	log {
		output file "${this.accessLog}"
		format json
	}
}
${site.replace(/^(\S+ \{)\n/, "$1\n\tlog\n").replace("127.0.0.1:8080", new URL(this.sim.url).host)}
`;
    writeFileSync(this.caddyfile, text);
  }

  async startCaddy(): Promise<void> {
    const folder = mkdtempSync(join(tmpdir(), "devices-caddy-"));
    const env = {
      PATH: process.env.PATH ?? "",
      HOME: folder,
      XDG_DATA_HOME: folder,
      XDG_CONFIG_HOME: folder,
    };
    this.#caddy = await startDaemon({
      name: "Caddy",
      program: this.program,
      args: ["run", "--config", this.caddyfile, "--adapter", "caddyfile"],
      folder,
      env,
      isUp: () => listens(this.port),
    });
  }

  async stopCaddy(): Promise<void> {
    await this.#caddy?.stop();
    this.#caddy = undefined;
  }

  /** Types a command. */
  async type(line: string, user = new User("rpc")): Promise<User> {
    const [, name = "", argument = ""] = /^\/(\S+) ?(.*)$/s.exec(line) ?? [];
    const { aiServer, ended } = this;
    const ctx = contextOf(aiServer, user);
    const use = { aiServer, activities: new Activities(), selectModel: async () => false, ctx, argument };
    await runCommand(name as CommandName, { ...use, ended: ended.signal, keepResult: keptBy(ctx) });
    return user;
  }

  /** Types a command and says yes to every question, also to a choice between ways by what it begins with. */
  says(line: string, chosen = ""): Promise<User> {
    const user = new User("rpc");
    user.confirms = () => true;
    user.ui.select = async (asked, offered) => {
      const [title = "", ...lines] = asked.split("\n");
      user.questions.push({ title, text: lines.join("\n") });
      user.acts.push(offered);
      return chosen === "" ? offered[1] : offered.find((one) => one.startsWith(chosen));
    };
    return this.type(line, user);
  }

  /** Asks the server as another program does, with a certificate in whatever form `args` says. */
  curl(...args: string[]): Promise<Finished> {
    const fixed = ["-sS", "--max-time", "20", "--cacert", join(this.ca, "root-ca.pem")];
    return run("curl", [...fixed, ...args, `${this.url}/v1/models`]);
  }

  /** With the certificate that this laptop has. */
  curlAsLaptop(): Promise<Finished> {
    const { clientCert, clientKey } = this.config;
    return this.curl("--cert", clientCert, "--key", clientKey);
  }

  /** Names of what is on a list of the CA, without serial numbers. */
  onList(list: "devices" | "revoked"): string[] {
    const at = list === "devices" ? 0 : 1;
    try {
      return readdirSync(join(this.ca, list))
        .map((name) => name.split(".")[at] ?? "")
        .sort();
    } catch {
      return [];
    }
  }

  certificate(): string {
    return readFileSync(this.config.clientCert, "utf8");
  }

  async close(): Promise<void> {
    this.ended.abort();
    await this.stopCaddy();
    await this.aiServer.close();
    await this.sim.close();
    rmSync(this.root, { recursive: true, force: true });
  }
}
