import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { writeCertificateSet } from "./certificates.ts";
import { type Clock, makeClock } from "./clock.ts";
import { ConfigError, readConfig } from "./config.ts";
import { Door, type DoorOptions, type Failure } from "./door.ts";
import { EventHub } from "./events.ts";
import type { RequestRecord } from "./http.ts";
import { LlamaSwap } from "./llama-swap.ts";
import { Log } from "./log.ts";
import { Monitor } from "./performance.ts";

export type { RequestRecord } from "./http.ts";

export interface SimOptions extends DoorOptions {
  /** Folder with `config.yaml`; certificates stay in its `certs/`. Default: a temporary one, removed by close(). */
  dir?: string;
  /** Text of a config.yaml, written into `dir`. */
  config?: string;
  /** How many times faster than real time models load, read and write. Default 1. */
  speed?: number;
  /** API keys in addition to those of the config. */
  apiKeys?: string[];
}

/** What tests can read from and do to any stand-in. */
export interface StandInServer {
  readonly url: string;
  readonly port: number;
  readonly dir: string;
  /** Holds `root-ca.pem`, `client.pem`, `client-key.pem` (and the server's pair). */
  readonly certsDir: string;
  /** Every request since the start, in order of arrival. */
  readonly requests: RequestRecord[];
  /** How often a process was started, by model id. */
  readonly starts: Record<string, number>;
  /** Answers the next fitting request with `failure`; several calls queue up. */
  failNext(failure: Failure): void;
  /** Changes the speed relative to real time, also for actions in progress. */
  setSpeed(speed: number): void;
  close(): Promise<void>;
}

/** A running stand-in of llama-swap. */
export interface Sim extends StandInServer {
  /** TLS handshakes: successful ones, those that resumed a session, and failed ones. */
  readonly handshakes: { total: number; resumed: number; failed: number };
  /** Connections open now. */
  readonly connections: number;
  /** What llama-swap and its models have logged. */
  readonly log: string;
  /** Calls `follower` for every line that llama-swap prints, as systemd's journal gets it, from the first one. */
  followOutput(follower: (text: string) => void): void;
  /** Calls `follower` with the used memory of the GPU in MB, now and whenever it changes. */
  followMemory(follower: (usedMb: number) => void): void;
  /** Destroys the idle connections. */
  dropConnections(): void;
  /** Reads config.yaml again as SIGHUP does: every model is unloaded; a bad config changes nothing. */
  reload(): Promise<void>;
}

/**
 * Starts the stand-in on 127.0.0.1.
 * @throws {ConfigError} when config.yaml cannot be used
 */
export function startSim(options: SimOptions = {}): Promise<Sim> {
  return inFolder(options, async (dir, certsDir) => {
    if (options.config !== undefined) writeFileSync(join(dir, "config.yaml"), options.config);
    const running = new RunningSim(dir, certsDir, options);
    await running.listen();
    return running;
  });
}

/** Starts something in `options.dir`, or in a temporary folder, which is removed if the start fails. */
export async function inFolder<T>(
  options: Pick<SimOptions, "dir" | "tls">,
  start: (dir: string, certsDir: string) => Promise<T>,
): Promise<T> {
  const dir = options.dir ?? mkdtempSync(join(tmpdir(), "ai-server-sim-"));
  try {
    const certsDir = join(dir, "certs");
    if (options.tls !== "none" && !existsSync(join(certsDir, "root-ca.pem"))) {
      await writeCertificateSet(certsDir);
    }
    return await start(dir, certsDir);
  } catch (error) {
    if (options.dir === undefined) rmSync(dir, { recursive: true, force: true });
    throw error;
  }
}

class RunningSim implements Sim {
  readonly dir: string;
  readonly certsDir: string;
  readonly starts: Record<string, number> = {};
  readonly #options: SimOptions;
  readonly #clock: Clock;
  readonly #door: Door;
  readonly #hub = new EventHub();
  readonly #monitor = new Monitor(Date.now);
  readonly #muxLog = new Log();
  readonly #proxyLog: Log;
  readonly #upstreamLog: Log;
  #swap: LlamaSwap;
  readonly #closed = new AbortController();

  constructor(dir: string, certsDir: string, options: SimOptions) {
    this.dir = dir;
    this.certsDir = certsDir;
    this.#options = options;
    this.#clock = makeClock(options.speed ?? 1);
    const config = this.#readConfig();
    const shows = (source: string) => config.logToStdout === source || config.logToStdout === "both";
    this.#proxyLog = new Log(shows("proxy") ? this.#muxLog : undefined);
    this.#upstreamLog = new Log(shows("upstream") ? this.#muxLog : undefined);
    this.#swap = this.#makeSwap(config);
    const handle = (exchange: Parameters<LlamaSwap["handle"]>[0]) => this.#swap.handle(exchange);
    this.#door = new Door(certsDir, options, handle, (record, status) => this.#logRequest(record, status));
  }

  get port(): number {
    return this.#door.port;
  }

  get url(): string {
    return this.#door.url;
  }

  get requests(): RequestRecord[] {
    return this.#door.requests;
  }

  get handshakes(): Sim["handshakes"] {
    return this.#door.handshakes;
  }

  get connections(): number {
    return this.#door.connections;
  }

  get log(): string {
    return this.#proxyLog.history + this.#upstreamLog.history;
  }

  async listen(): Promise<void> {
    await this.#door.listen();
    this.#proxyLog.line(`[INFO] llama-swap listening on ${this.url}`);
  }

  failNext(failure: Failure): void {
    this.#door.failNext(failure);
  }

  followOutput(follower: (text: string) => void): void {
    for (const line of this.#muxLog.history.split("\n").slice(0, -1)) follower(line);
    this.#muxLog.follow((line) => follower(line.trimEnd()));
  }

  followMemory(follower: (usedMb: number) => void): void {
    this.#monitor.follow(follower);
  }

  dropConnections(): void {
    this.#door.dropIdle();
  }

  setSpeed(speed: number): void {
    this.#clock.setSpeed(speed);
  }

  async reload(): Promise<void> {
    this.#proxyLog.line("[INFO] reloading configuration");
    const old = this.#swap;
    try {
      this.#swap = this.#makeSwap(this.#readConfig());
    } catch (error) {
      this.#proxyLog.line(
        `[WARN] failed to reload config: ${error instanceof Error ? error.message : error}`,
      );
      return;
    }
    await old.close();
    this.#proxyLog.line("[INFO] configuration reloaded");
    void this.#clock.sleep(3000, this.#closed.signal).then(() => this.#swap.tellStates());
  }

  async close(): Promise<void> {
    await this.#swap.close();
    this.#closed.abort();
    await this.#door.close();
    if (this.#options.dir === undefined) rmSync(this.dir, { recursive: true, force: true });
  }

  #readConfig() {
    const path = join(this.dir, "config.yaml");
    if (!existsSync(path)) throw new ConfigError(`there is no file ${path}`);
    return readConfig(readFileSync(path, "utf8"));
  }

  #makeSwap(config: ReturnType<typeof readConfig>): LlamaSwap {
    return new LlamaSwap(config, {
      clock: this.#clock,
      hub: this.#hub,
      monitor: this.#monitor,
      proxyLog: this.#proxyLog,
      upstreamLog: this.#upstreamLog,
      muxLog: this.#muxLog,
      apiKeys: this.#options.apiKeys ?? [],
      started: (id) => {
        this.starts[id] = (this.starts[id] ?? 0) + 1;
      },
    });
  }

  #logRequest(record: RequestRecord, status: number): void {
    const what = `"${record.method} ${record.path.split("?")[0]} HTTP/1.1" ${status}`;
    const took = `${Date.now() - record.at}ms`;
    this.#proxyLog.line(`[INFO] Request 127.0.0.1 ${what} 0 "${record.headers["user-agent"] ?? ""}" ${took}`);
  }
}
