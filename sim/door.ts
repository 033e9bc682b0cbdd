import { readdirSync, readFileSync } from "node:fs";
import {
  createServer as createHttpServer,
  type IncomingMessage,
  type Server,
  type ServerResponse,
} from "node:http";
import { createServer as createHttpsServer, type Server as HttpsServer } from "node:https";
import type { AddressInfo, Socket } from "node:net";
import { join } from "node:path";
import { createSecureContext, type TLSSocket } from "node:tls";
import type { Certificate } from "./certificates.ts";
import type { Exchange, RequestRecord } from "./http.ts";

export interface DoorOptions {
  /** Default: any free port, on 127.0.0.1. */
  port?: number;
  /** `mutual` (default) demands a client certificate, `server` does not, `none` is plain HTTP. */
  tls?: "mutual" | "server" | "none";
  /** Presented instead of the one in the folder: expired, of another CA, for another host. */
  serverCertificate?: Certificate;
  /** PEM of the CA whose clients are admitted, instead of the folder's. */
  clientAuthority?: string;
  /** Folder with a `cert.pem` for each device: only these are admitted, as by a Caddy with that list. */
  devicesDir?: string;
  /** Idle time after which the server closes a connection. Default 300000, as Caddy does. */
  keepAliveTimeoutMs?: number;
  /** Whether a Keep-Alive header names that time. Default false: Go's servers never send one. */
  keepAliveHint?: boolean;
}

/** An answer that replaces the real one. */
export interface Failure {
  /** Only for a request whose path begins with this; default: the next request. */
  path?: string;
  /** Only for a request whose body contains this. */
  asking?: string;
  /** Absent: the connection is destroyed without an answer. */
  status?: number;
  body?: string;
  headers?: Record<string, string>;
  contentType?: string;
}

/** The entrance of every stand-in: one port with its TLS, and a record of the requests. */
export class Door {
  /** Every request since the start, in order of arrival. */
  readonly requests: RequestRecord[] = [];
  /** TLS handshakes: all that succeeded, those of them that resumed a session, and those that failed. */
  readonly handshakes = { total: 0, resumed: 0, failed: 0 };
  readonly #options: DoorOptions;
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  readonly #failures: Failure[] = [];
  readonly #handle: (exchange: Exchange) => void | Promise<void>;
  readonly #onClosed: (record: RequestRecord, status: number) => void;

  /**
   * @param certsDir holds `server.pem`, `server-key.pem`, `root-ca.pem`; not read without TLS
   * @param onClosed called with the written status when an answer is complete or its connection closed
   */
  constructor(
    certsDir: string,
    options: DoorOptions,
    handle: (exchange: Exchange) => void | Promise<void>,
    onClosed: (record: RequestRecord, status: number) => void,
  ) {
    this.#options = options;
    this.#handle = handle;
    this.#onClosed = onClosed;
    this.#server = this.#makeServer(certsDir);
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

  /** Connections open now. */
  get connections(): number {
    return this.#sockets.size;
  }

  listen(): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#server.once("error", reject);
      this.#server.listen(this.#options.port ?? 0, "127.0.0.1", resolve);
    });
  }

  /** Answers the next fitting request with `failure`; several calls queue up. */
  failNext(failure: Failure): void {
    this.#failures.push(failure);
  }

  /** Destroys the idle connections. */
  dropIdle(): void {
    this.#server.closeIdleConnections();
  }

  async close(): Promise<void> {
    const closed = new Promise((resolve) => this.#server.close(resolve));
    for (const socket of this.#sockets) socket.destroy();
    await closed;
  }

  #makeServer(certsDir: string): Server {
    const answer = (request: IncomingMessage, response: ServerResponse) => {
      void this.#answer(request, response);
    };
    const { tls = "mutual", serverCertificate, clientAuthority, devicesDir } = this.#options;
    if (tls === "none") return createHttpServer(answer);
    const pem = (name: string) => readFileSync(join(certsDir, name), "utf8");
    const identity = serverCertificate ?? { cert: pem("server.pem"), key: pem("server-key.pem") };
    const mutual = { ca: clientAuthority ?? pem("root-ca.pem"), requestCert: true, rejectUnauthorized: true };
    const server = createHttpsServer(
      { ...identity, minVersion: "TLSv1.2", ...(tls === "mutual" ? mutual : {}) },
      answer,
    );
    if (devicesDir !== undefined) admitOnly(server, devicesDir, identity);
    return server;
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const exchange = this.#open(request, response);
    try {
      exchange.body = exchange.record.body = await readBody(request);
    } catch {
      return;
    }
    const failure = this.#takeFailure(exchange);
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
    await this.#handle(exchange);
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
      this.#onClosed(record, response.statusCode);
    });
    const { method, path, headers } = record;
    return { method, path, headers, body: "", response, record, gone: gone.signal };
  }

  #takeFailure({ path, body }: Exchange): Failure | undefined {
    const index = this.#failures.findIndex(
      (failure) => path.startsWith(failure.path ?? "") && body.includes(failure.asking ?? ""),
    );
    return index === -1 ? undefined : this.#failures.splice(index, 1)[0];
  }
}

/** Trusts the devices' own certificates and no CA, and looks at the list before each connection. */
function admitOnly(server: HttpsServer, dir: string, identity: Certificate): void {
  let known = "";
  server.prependListener("connection", () => {
    const names = readdirSync(dir);
    if (names.join() === known) return;
    known = names.join();
    const ca = names.map((name) => readFileSync(join(dir, name, "cert.pem"), "utf8"));
    const context = createSecureContext({
      ...identity,
      minVersion: "TLSv1.2",
      ca,
      allowPartialTrustChain: true,
      // Without one, OpenSSL ends a resumed handshake with a client certificate in an internal error.
      sessionIdContext: "devices",
    });
    // `setSecureContext` has no allowPartialTrustChain; this is what it sets.
    Object.assign(server, { _sharedCreds: context });
  });
}

async function readBody(request: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of request) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks).toString("utf8");
}
