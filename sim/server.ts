import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import {
  createServer as createHttpServer,
  type IncomingMessage,
  type Server,
  type ServerResponse,
} from "node:http";
import { createServer as createHttpsServer } from "node:https";
import type { AddressInfo, Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { TLSSocket } from "node:tls";
import { type Certificate, writeCertificateSet } from "./certificates.ts";
import { type Clock, makeClock } from "./clock.ts";
import { ConfigError, readConfig } from "./config.ts";
import { EventHub } from "./events.ts";
import type { Exchange, RequestRecord } from "./http.ts";
import { LlamaSwap } from "./llama-swap.ts";
import { Log } from "./log.ts";
import { Monitor } from "./performance.ts";

export type { RequestRecord } from "./http.ts";

export interface SimOptions {
  /** Folder with `config.yaml`; certificates stay in its `certs/`. Default: a temporary one, removed by close(). */
  dir?: string;
  /** Text of a config.yaml, written into `dir`. */
  config?: string;
  /** Default: any free port, on 127.0.0.1. */
  port?: number;
  /** `mutual` (default) demands a client certificate, `server` does not, `none` is plain HTTP. */
  tls?: "mutual" | "server" | "none";
  /** Presented instead of the one in the folder: expired, of another CA, for another host. */
  serverCertificate?: Certificate;
  /** PEM of the CA whose clients are let in, instead of the folder's. */
  clientAuthority?: string;
  /** How many times faster than real time models load, read and speak. Default 1. */
  speed?: number;
  /** Idle time after which the server closes a connection. Default 300000, as Caddy does. */
  keepAliveTimeoutMs?: number;
  /** Whether that time is told in a Keep-Alive header. Default false: Go's servers never do. */
  keepAliveHint?: boolean;
  /** API keys beside those of the config. */
  apiKeys?: string[];
}

/** An answer that takes the place of the real one. */
export interface Failure {
  /** Only for a request whose path begins so; default: the next request. */
  path?: string;
  /** Absent: the connection is destroyed without an answer. */
  status?: number;
  body?: string;
  headers?: Record<string, string>;
  contentType?: string;
}

/** A running stand-in, with what a test may want to know of it and do to it. */
export interface Sim {
  readonly url: string;
  readonly port: number;
  readonly dir: string;
  /** Holds `root-ca.pem`, `client.pem`, `client-key.pem` (and the server's pair). */
  readonly certsDir: string;
  /** Every request since the start, in order of arrival. */
  readonly requests: RequestRecord[];
  /** TLS handshakes: all that succeeded, those of them that resumed a session, and those that failed. */
  readonly handshakes: { total: number; resumed: number; failed: number };
  /** Connections open now. */
  readonly connections: number;
  /** How often a process was started, by model id. */
  readonly starts: Record<string, number>;
  /** What llama-swap and its models have logged. */
  readonly log: string;
  /** Answers the next fitting request with `failure`; several calls queue up. */
  failNext(failure: Failure): void;
  /** Destroys the connections on which no request is under way. */
  dropConnections(): void;
  /** Reads config.yaml again as SIGHUP does: every model is unloaded; a bad config changes nothing. */
  reload(): Promise<void>;
  /** Changes how much faster than real time things go, also for what is under way. */
  setSpeed(speed: number): void;
  close(): Promise<void>;
}

/**
 * Starts the stand-in on 127.0.0.1.
 * @throws {ConfigError} when config.yaml cannot be used
 */
export async function startSim(options: SimOptions = {}): Promise<Sim> {
  const dir = options.dir ?? mkdtempSync(join(tmpdir(), "ai-server-sim-"));
  try {
    if (options.config !== undefined) writeFileSync(join(dir, "config.yaml"), options.config);
    const certsDir = join(dir, "certs");
    const tls = options.tls ?? "mutual";
    if (tls !== "none" && !existsSync(join(certsDir, "root-ca.pem"))) await writeCertificateSet(certsDir);
    const running = new RunningSim(dir, certsDir, options);
    await running.listen();
    return running;
  } catch (error) {
    if (options.dir === undefined) rmSync(dir, { recursive: true, force: true });
    throw error;
  }
}

class RunningSim implements Sim {
  readonly dir: string;
  readonly certsDir: string;
  readonly requests: RequestRecord[] = [];
  readonly handshakes = { total: 0, resumed: 0, failed: 0 };
  readonly starts: Record<string, number> = {};
  readonly #options: SimOptions;
  readonly #clock: Clock;
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  readonly #failures: Failure[] = [];
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
    this.#server = this.#makeServer();
    this.#server.keepAliveTimeout = options.keepAliveTimeoutMs ?? 300_000;
    this.#server.requestTimeout = 0;
    this.#server.on("connection", (socket) => {
      this.#sockets.add(socket);
      socket.on("close", () => this.#sockets.delete(socket));
    });
    this.#server.on("secureConnection", (socket: TLSSocket) => {
      this.handshakes.total++;
      if (socket.isSessionReused()) this.handshakes.resumed++;
    });
    this.#server.on("tlsClientError", () => this.handshakes.failed++);
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  get url(): string {
    return `${this.#options.tls === "none" ? "http" : "https"}://127.0.0.1:${this.port}`;
  }

  get connections(): number {
    return this.#sockets.size;
  }

  get log(): string {
    return this.#proxyLog.history + this.#upstreamLog.history;
  }

  async listen(): Promise<void> {
    await new Promise<void>((resolve, reject) => {
      this.#server.once("error", reject);
      this.#server.listen(this.#options.port ?? 0, "127.0.0.1", resolve);
    });
    this.#proxyLog.line(`[INFO] llama-swap listening on ${this.url}`);
  }

  failNext(failure: Failure): void {
    this.#failures.push(failure);
  }

  dropConnections(): void {
    this.#server.closeIdleConnections();
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
    const closed = new Promise((resolve) => this.#server.close(resolve));
    for (const socket of this.#sockets) socket.destroy();
    await closed;
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

  #makeServer(): Server {
    const answer = (request: IncomingMessage, response: ServerResponse) => {
      void this.#answer(request, response);
    };
    const { tls = "mutual", serverCertificate, clientAuthority } = this.#options;
    if (tls === "none") return createHttpServer(answer);
    const pem = (name: string) => readFileSync(join(this.certsDir, name), "utf8");
    const identity = serverCertificate ?? { cert: pem("server.pem"), key: pem("server-key.pem") };
    const mutual = { ca: clientAuthority ?? pem("root-ca.pem"), requestCert: true, rejectUnauthorized: true };
    return createHttpsServer(
      { ...identity, minVersion: "TLSv1.2", ...(tls === "mutual" ? mutual : {}) },
      answer,
    );
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const exchange = this.#open(request, response);
    try {
      exchange.body = exchange.record.body = await readBody(request);
    } catch {
      return;
    }
    const failure = this.#takeFailure(exchange.path);
    if (failure?.status === undefined && failure) {
      request.socket.destroy();
      return;
    }
    if (failure?.status !== undefined) {
      const type = failure.contentType ?? "application/json";
      response.writeHead(failure.status, {
        ...(failure.body ? { "Content-Type": type } : {}),
        ...failure.headers,
      });
      response.end(failure.body);
      return;
    }
    await this.#swap.handle(exchange);
  }

  #open(request: IncomingMessage, response: ServerResponse): Exchange {
    const gone = new AbortController();
    const record: RequestRecord = {
      method: request.method ?? "GET",
      path: request.url ?? "/",
      headers: request.headers,
      body: "",
      at: Date.now(),
      status: undefined,
      finishedAt: undefined,
      disconnectedAt: undefined,
      tokens: 0,
      tokensAfterDisconnect: 0,
      timings: undefined,
    };
    this.requests.push(record);
    if (!this.#options.keepAliveHint) response.removeHeader("Connection");
    response.on("finish", () => {
      record.finishedAt = Date.now();
      record.status = response.statusCode;
    });
    response.on("close", () => {
      if (response.headersSent) record.status = response.statusCode;
      if (!response.writableFinished) record.disconnectedAt = Date.now();
      gone.abort();
      const what = `"${record.method} ${record.path.split("?")[0]} HTTP/1.1" ${response.statusCode}`;
      const took = `${Date.now() - record.at}ms`;
      this.#proxyLog.line(
        `[INFO] Request 127.0.0.1 ${what} 0 "${request.headers["user-agent"] ?? ""}" ${took}`,
      );
    });
    const { method, path, headers } = record;
    return { method, path, headers, body: "", response, record, gone: gone.signal };
  }

  #takeFailure(path: string): Failure | undefined {
    const index = this.#failures.findIndex((failure) => path.startsWith(failure.path ?? ""));
    return index === -1 ? undefined : this.#failures.splice(index, 1)[0];
  }
}

async function readBody(request: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of request) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks).toString("utf8");
}
