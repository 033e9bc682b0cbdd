import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  watch,
  writeFileSync,
} from "node:fs";
import { createServer, request, type Server } from "node:http";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import { Activities } from "../../activity/activities.ts";
import { type CommandName, runCommand } from "../../admin.ts";
import { AiServer } from "../../provider/ai-server.ts";
import { type Hub, startHub } from "../../sim/hub.ts";
import { contextOf } from "./command-place.ts";
import { keptBy, User } from "./command-user.ts";
import { type LlamaServer, startRouter, TINY_MODEL } from "./llama-server.ts";
import { UNIT } from "./machine-row.ts";
import { listen } from "./network.ts";
import { eventually } from "./processes.ts";
import { at } from "./rpc.ts";

/** The router's own default path, in the home of its user. */
const PRESET = ".llama-models.ini";
/** The folder in its home in which the router finds models itself. */
const MODELS = "models";

/** A preset of one small model. */
export const SMALL_PRESET = `; the models of this house
[*]
threads = 1

[small]
model = ${TINY_MODEL}
ctx-size = 2048
`;

/** A router with `SMALL_PRESET`, and a hub whose `maker/Tiny-GGUF` has the tiny model under these names. */
export async function placeWithHub(...names: readonly string[]): Promise<{ place: RouterPlace; hub: Hub }> {
  const tiny = readFileSync(TINY_MODEL);
  const files = Object.fromEntries(names.map((name) => [name, tiny]));
  const hub = await startHub({ repositories: { "maker/Tiny-GGUF": { files } } });
  return { place: await RouterPlace.start(SMALL_PRESET, hub.url), hub };
}

/**
 * A real router on this machine with its preset in a home of its own, and a user of pi who administers it with every
 * default. Behind a door that counts requests, may be too old to reload, and leads to the next router after a restart.
 */
export class RouterPlace {
  readonly home: string;
  /** `POST /models/load {"model":"a"}` and the like, in order. */
  readonly requests: string[] = [];
  restarts = 0;
  /** Answers a reload with 404 instead of handing it on. */
  knowsReload = true;
  readonly aiServer: AiServer;
  readonly #door: Server;
  readonly #former = { HOME: process.env.HOME, PATH: process.env.PATH };
  readonly #watcher: ReturnType<typeof watch>;
  readonly #start: () => Promise<LlamaServer>;
  #router: LlamaServer;
  #restarting: Promise<void> | undefined;

  private constructor(
    home: string,
    door: Server,
    port: number,
    router: LlamaServer,
    start: () => Promise<LlamaServer>,
    hub: string | undefined,
  ) {
    this.home = home;
    this.#start = start;
    this.#door = door;
    this.#router = router;
    door.on("request", (question, answer) => {
      const body: Buffer[] = [];
      question.on("data", (piece: Buffer) => body.push(piece));
      question.on("end", () => {
        this.requests.push(`${question.method} ${question.url} ${Buffer.concat(body)}`.trim());
        if (!this.knowsReload && question.url?.includes("reload=1")) {
          answer.writeHead(404, { "content-type": "application/json" }).end('{"error":{"code":404}}');
          return;
        }
        const { method, url = "", headers } = question;
        const onward = request(`${this.#router.url}${url}`, { method, headers }, (told) => {
          answer.writeHead(told.statusCode ?? 502, told.headers);
          told.pipe(answer);
        });
        onward.on("error", () => answer.destroy());
        answer.on("close", () => onward.destroy());
        onward.end(Buffer.concat(body));
      });
    });
    const asked = join(home, "asked");
    const env = {
      AI_SERVER_URL: `http://127.0.0.1:${port}`,
      AI_SERVER_SSH_HOST: "local",
      ...(hub === undefined ? {} : { HF_ENDPOINT: hub, HF_HOME: home }),
      AI_SERVER_RESTART_COMMAND: `: >'${asked}'; while [ -e '${asked}' ]; do sleep 0.05; done`,
    };
    const agentDir = join(home, "agent");
    this.aiServer = new AiServer({ env, agentDir, now: Date.now, onChanged: () => {} });
    process.env.HOME = home;
    mkdirSync(join(home, "tools"));
    this.unitRuns("--offline", "--threads", "1");
    process.env.PATH = `${join(home, "tools")}${delimiter}${process.env.PATH}`;
    this.#watcher = watch(home, () => {
      if (existsSync(asked))
        this.#restarting ??= this.#restart().finally(() => {
          this.#restarting = undefined;
          rmSync(asked, { force: true });
        });
    });
  }

  /** @param hub that pi and the router use, @param env more of the router's environment */
  static async start(
    preset: string,
    hub?: string,
    env?: Readonly<Record<string, string>>,
  ): Promise<RouterPlace> {
    const home = mkdtempSync(join(tmpdir(), "router-place-"));
    writeFileSync(join(home, PRESET), preset);
    mkdirSync(join(home, MODELS));
    const door = createServer();
    const startAgain = (): Promise<LlamaServer> =>
      routerOn(home, { ...(hub === undefined ? {} : { hub }), ...(env === undefined ? {} : { env }) });
    return new RouterPlace(home, door, await listen(door), await startAgain(), startAgain, hub);
  }

  /** The command line of the unit, as systemd shows it. */
  unitRuns(...args: readonly string[]): void {
    const unit = UNIT(`llama-server ${args.join(" ")} --models-preset ${join(this.home, PRESET)}`);
    const systemctl = `#!/bin/sh\n[ "$2" != show ] || cat <<'END'\n${unit}\nEND\n`;
    writeFileSync(join(this.home, "tools", "systemctl"), systemctl, { mode: 0o755 });
  }

  /** systemd knows the router's process, whose environment its models have. */
  unitHasProcess(): void {
    const path = join(this.home, "tools", "systemctl");
    const rest = readFileSync(path, "utf8").replace("#!/bin/sh\n", "");
    const asked = `case $* in *'-p MainPID'*) echo MainPID=${this.#router.pid}; exit ;; esac`;
    writeFileSync(path, `#!/bin/sh\n${asked}\n${rest}`, { mode: 0o755 });
  }

  get text(): string {
    return readFileSync(join(this.home, PRESET), "utf8");
  }

  set text(text: string) {
    writeFileSync(join(this.home, PRESET), text);
  }

  get backups(): string[] {
    return readdirSync(this.home).flatMap((name) => name.split(`${PRESET}.bak-`)[1] ?? []);
  }

  /** What the router itself says at this moment, without going through the door. */
  async ask(path: string): Promise<unknown> {
    return (await fetch(`${this.#router.url}${path}`)).json();
  }

  /** The state of each model, as the router itself lists them. */
  async states(): Promise<Record<string, unknown>> {
    const data = at(await this.ask("/models"), "data") as unknown[];
    return Object.fromEntries(data.map((one) => [at(one, "id"), at(one, "status", "value")]));
  }

  /** Reads the preset and loads models, as any client may. */
  async begin(preset: string, ids: readonly string[]): Promise<void> {
    this.text = preset;
    await this.ask("/models?reload=1");
    for (const model of ids) {
      const headers = { "content-type": "application/json" };
      const body = JSON.stringify({ model });
      await (await fetch(`${this.#router.url}/models/load`, { method: "POST", headers, body })).text();
      await eventually(`${model} is loaded`, async () => {
        return (await this.states())[model] === "loaded" || undefined;
      }).catch((error: unknown) => {
        throw new Error(`${model} is not loaded: ${this.#router.log()}`, { cause: error });
      });
    }
    this.takeDeeds();
  }

  /** The requests that changed something since the last call. */
  takeDeeds(): string[] {
    const deeds = this.requests.filter((line) => line.startsWith("POST") || line.includes("reload"));
    this.requests.length = 0;
    return deeds;
  }

  /** Types a command as pi runs it, and gives back who did. */
  async type(line: string, user = new User("rpc")): Promise<User> {
    const [, name = "", argument = ""] = /^\/(\S+) ?(.*)$/s.exec(line) ?? [];
    const ctx = contextOf(this.aiServer, user);
    await runCommand(name as CommandName, {
      aiServer: this.aiServer,
      activities: new Activities(),
      selectModel: async () => false,
      keepResult: keptBy(ctx),
      ctx,
      argument,
      ended: new AbortController().signal,
    });
    return user;
  }

  async stop(): Promise<void> {
    Object.assign(process.env, this.#former);
    this.#watcher.close();
    await this.#restarting;
    await this.aiServer.close();
    this.#door.closeAllConnections();
    await new Promise((resolve) => this.#door.close(resolve));
    await this.#router.stop();
    rmSync(this.home, { recursive: true, force: true });
  }

  async #restart(): Promise<void> {
    this.restarts += 1;
    await this.#router.stop();
    this.#router = await this.#start();
  }
}

/** Of two values for one flag the last counts. */
function routerOn(
  home: string,
  more: { hub?: string; env?: Readonly<Record<string, string>> },
): Promise<LlamaServer> {
  const files = ["--models-preset", join(home, PRESET), "--models-dir", join(home, MODELS)];
  const args = [...files, "--models-max", "2"];
  return startRouter({ preset: "", args, ...more });
}
