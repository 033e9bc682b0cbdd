import { writeFileSync } from "node:fs";
import { readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { UNIT } from "./machine-row.ts";
import { eventually, killGroup, spawnGroup } from "./processes.ts";

const PROGRAM = fileURLToPath(new URL("../../sim/main.ts", import.meta.url));

/**
 * What systemd does for the unit: it starts the stand-in as a process, and stops and starts it again when a
 * `systemctl` of the server user's asks. The asking goes through files, since the user may not start this
 * checkout's programs.
 */
export class Supervisor {
  readonly url: string;
  /** How often it was restarted. */
  restarts = 0;
  readonly #folder: string;
  readonly #port: number;
  readonly #requests: string;
  #process: ReturnType<typeof spawnGroup> | undefined;
  #log = "";
  #isOver = false;
  #loop: Promise<void>;

  /**
   * @param folder with the stand-in's `config.yaml`
   * @param requests a folder in which the server's user may write
   */
  constructor(folder: string, port: number, requests: string) {
    this.#folder = folder;
    this.#port = port;
    this.#requests = requests;
    this.url = `http://127.0.0.1:${port}`;
    this.#loop = this.#serve();
  }

  /** The programs that a server user's PATH needs, by name. */
  programs(): Record<string, string> {
    const ask = `${this.#requests}/restart`;
    const wait = `echo $$ >'${ask}.new' && mv '${ask}.new' '${ask}'; while [ -e '${ask}' ]; do sleep 0.05; done`;
    return {
      systemctl: `case $2 in restart) ${wait} ;; show) cat <<'END'\n${UNIT("llama-swap -config config.yaml")}\nEND\n;; esac`,
      journalctl: `cat '${this.#requests}/journal' 2>/dev/null`,
    };
  }

  /** Starts the stand-in and waits until it listens, or has given up. */
  async start(): Promise<void> {
    this.#log = "";
    const args = [
      PROGRAM,
      "--dir",
      this.#folder,
      "--port",
      String(this.#port),
      "--tls",
      "none",
      "--speed",
      "20",
    ];
    const child = spawnGroup(process.execPath, args, { stdio: ["ignore", "pipe", "pipe"] });
    this.#process = child;
    for (const stream of [child.stdout, child.stderr]) {
      stream?.setEncoding("utf8").on("data", (text: string) => {
        this.#log += text;
        writeFileSync(join(this.#requests, "journal"), this.#log);
      });
    }
    await eventually(
      "the stand-in listens or has given up",
      () =>
        child.exitCode !== null ||
        child.signalCode !== null ||
        this.#log.includes("listening on") ||
        undefined,
    );
  }

  /** Ends the stand-in, at once as the out-of-memory killer does unless another signal is given. */
  async kill(signal: NodeJS.Signals = "SIGKILL"): Promise<void> {
    const child = this.#process;
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
    const ended = new Promise((resolve) => child.once("close", resolve));
    killGroup(child, signal);
    await ended;
  }

  async stop(): Promise<void> {
    this.#isOver = true;
    await this.#loop;
    // A Node that ends by itself keeps what it compiled for the next one.
    await this.kill("SIGTERM");
  }

  async #serve(): Promise<void> {
    const request = join(this.#requests, "restart");
    while (!this.#isOver) {
      if (await readFile(request, "utf8").catch(() => undefined)) {
        await this.kill();
        await this.start().catch(() => undefined);
        this.restarts += 1;
        await rm(request, { force: true });
      }
      await new Promise((resolve) => setTimeout(resolve, 25));
    }
  }
}
