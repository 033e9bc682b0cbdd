import { readFileSync } from "node:fs";
import type { RequestListener } from "node:http";
import { createServer as createHttpsServer, type ServerOptions } from "node:https";
import { createServer as createTcpServer, type Server, type Socket } from "node:net";
import { join } from "node:path";
import { createServer as createTlsServer, type TLSSocket, type TlsOptions } from "node:tls";
import { onTestFinished } from "vitest";
import { type Config, readConfig, type Variables } from "../../config.ts";
import { ServerError } from "../../lib/errors.ts";
import { Http, readText } from "../../server/http/http.ts";
import { issue, makeAuthority, writePemFiles } from "../../sim/certificates.ts";
import { listen } from "./network.ts";

/** A server on 127.0.0.1 that a test made for one fault. */
export interface WireServer {
  port: number;
  url: string;
  /** TLS handshakes that succeeded, and how many of them resumed a session. */
  handshakes: { total: number; resumed: number; protocols: unknown[] };
  dropConnections(): void;
  close(): Promise<void>;
}

async function run(server: Server, scheme: string): Promise<WireServer> {
  const sockets = new Set<Socket>();
  const handshakes: WireServer["handshakes"] = { total: 0, resumed: 0, protocols: [] };
  server.on("connection", (socket: Socket) => {
    sockets.add(socket);
    socket.on("error", () => {});
    socket.on("close", () => sockets.delete(socket));
  });
  server.on("secureConnection", (socket: TLSSocket) => {
    handshakes.total++;
    if (socket.isSessionReused()) handshakes.resumed++;
    handshakes.protocols.push(socket.alpnProtocol);
    socket.on("error", () => {});
  });
  const port = await listen(server);
  const dropConnections = (): void => {
    for (const socket of sockets) socket.destroy();
  };
  return {
    port,
    url: `${scheme}://127.0.0.1:${port}`,
    handshakes,
    dropConnections,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        dropConnections();
      }),
  };
}

/** Certificate, key and CA out of a folder as `writeCertificates` fills it. */
export function pair(folder: string, name = "server"): { cert: string; key: string; ca: string } {
  const read = (file: string): string => readFileSync(join(folder, file), "utf8");
  return { cert: read(`${name}.pem`), key: read(`${name}-key.pem`), ca: read("root-ca.pem") };
}

/** An HTTPS server that does what `answer` says. */
export function httpsServer(options: ServerOptions, answer: RequestListener): Promise<WireServer> {
  return run(createHttpsServer({ keepAliveTimeout: 300_000, ...options }, answer), "https");
}

/** A TLS server that speaks HTTP as `speak` says, or something else. */
export function tlsServer(options: TlsOptions, speak: (socket: TLSSocket) => void): Promise<WireServer> {
  return run(createTlsServer(options, speak), "https");
}

/** A TCP server. */
export function tcpServer(speak: (socket: Socket) => void): Promise<WireServer> {
  return run(createTcpServer(speak), "https");
}

/** A server that answers the beginning of a TLS handshake with an alert of this number (RFC 8446, section 6). */
export function alertingServer(alert: number): Promise<WireServer> {
  const FATAL = 2;
  const record = Buffer.from([0x15, 0x03, 0x03, 0x00, 0x02, FATAL, alert]);
  return tcpServer((socket) => socket.once("data", () => socket.end(record)));
}

/** The configuration of a client whose certificates are in `folder`. */
export function clientOf(url: string, folder: string, more: Variables = {}): Config {
  return readConfig({ AI_SERVER_URL: url, AI_SERVER_CERTS_DIR: folder, ...more }, {}, "/nowhere");
}

/** Closes what was opened when the test ends, the last opened first. */
export async function kept<T extends { close(): Promise<unknown> }>(opening: T | Promise<T>): Promise<T> {
  const opened = await opening;
  onTestFinished(async () => {
    await opened.close();
  });
  return opened;
}

/** A client of this server with the certificates in `folder`. */
export function httpFor(server: { url: string }, folder: string, more: Variables = {}): Promise<Http> {
  return kept(new Http(clientOf(server.url, folder, more)));
}

/** Reads an answer to its end, however long it is. */
export function drained(body: AsyncIterable<Uint8Array>): Promise<string> {
  return readText(body, Number.POSITIVE_INFINITY);
}

/** The error of ours with which `work` ends. */
export async function faultOf(work: Promise<unknown>): Promise<ServerError> {
  const error: unknown = await work.then(
    () => new Error("no fault"),
    (reason: unknown) => reason,
  );
  if (error instanceof ServerError) return error;
  throw error;
}

const DAY_MS = 86_400_000;

/** With what the first request to this address fails, and what it is said to be. */
export async function firstFault(
  url: string,
  folder: string,
  more: Variables,
  timeoutMs: number,
): Promise<string[]> {
  const http = new Http(clientOf(url, folder, more));
  try {
    await http.json("/running", { timeoutMs });
  } catch (error) {
    if (error instanceof ServerError) return [error.link, error.remedy, error.message];
    throw error;
  } finally {
    await http.close();
  }
  throw new Error("no fault");
}

/** A server that answers everything with `{}`. */
export const serving = (certificate: { cert: string; key: string }): Promise<WireServer> =>
  kept(httpsServer(certificate, (_, response) => response.end("{}")));

/** A server's certificate of a CA of its own, in `own-ca.pem`; valid between two days from today. */
export const ownServer =
  (folder: string, names: string[], notBefore: number, notAfter: number) => async () => {
    const authority = await makeAuthority("Own CA");
    writePemFiles(folder, { "own-ca.pem": authority.cert });
    return issue(authority, {
      commonName: "server",
      usage: "server",
      names,
      notBefore: new Date(Date.now() + notBefore * DAY_MS),
      notAfter: new Date(Date.now() + notAfter * DAY_MS),
    });
  };
