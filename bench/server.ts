/**
 * The server of the benchmarks, a process of its own so that its work does not count: prepared bytes over mutual TLS.
 * Started by `server-process.ts`: node bench/server.ts FOLDER_OF_CERTIFICATES
 */
import { readFileSync } from "node:fs";
import type { IncomingMessage, ServerResponse } from "node:http";
import { createServer } from "node:https";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { setTimeout } from "node:timers/promises";
import type { TLSSocket } from "node:tls";
import { fixtureOf, writesOf } from "./fixtures.ts";
import type { Answer, Question } from "./server-process.ts";

/** Answers up to this many deltas are prepared whole; a longer one is made while it is sent. */
const PREPARED_DELTAS = 100_000;

const [certsDir = ""] = process.argv.slice(2);
const pem = (name: string): string => readFileSync(join(certsDir, name), "utf8");

const prepared = new Map<string, readonly Buffer[]>();
const handshakes = { total: 0, resumed: 0 };

function prepare(modelId: string): Iterable<Buffer | string> {
  if (fixtureOf(modelId).deltas > PREPARED_DELTAS) return writesOf(modelId);
  const writes = prepared.get(modelId) ?? Array.from(writesOf(modelId), (text) => Buffer.from(text));
  prepared.set(modelId, writes);
  return writes;
}

async function bodyOf(request: IncomingMessage): Promise<{ model: string }> {
  const pieces: Buffer[] = [];
  for await (const piece of request as AsyncIterable<Buffer>) pieces.push(piece);
  return JSON.parse(Buffer.concat(pieces).toString("utf8")) as { model: string };
}

/** Each write goes out before the next begins: else Node would join several into one TLS record. */
function write(response: ServerResponse, bytes: Buffer | string): Promise<void> {
  return new Promise((resolve, reject) => {
    response.write(bytes, (error) => (error ? reject(error) : resolve()));
  });
}

async function answerChat(request: IncomingMessage, response: ServerResponse): Promise<void> {
  const { model } = await bodyOf(request);
  const writes = prepare(model);
  const { pauseMs } = fixtureOf(model);
  response.writeHead(200, { "Content-Type": "text/event-stream", "Cache-Control": "no-cache" });
  for (const bytes of writes) {
    if (pauseMs !== undefined) await setTimeout(pauseMs);
    if (response.destroyed) return;
    await write(response, bytes);
  }
  response.end();
}

function answerJson(response: ServerResponse, status: number, value: unknown): void {
  response.writeHead(status, { "Content-Type": "application/json" }).end(JSON.stringify(value));
}

async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
  // A Keep-Alive hint would tell the client when to let go; Go's servers never send one.
  response.removeHeader("Connection");
  const path = request.url ?? "/";
  if (path.endsWith("/v1/chat/completions")) return answerChat(request, response);
  if (path === "/v1/models") {
    const model = { id: "bench", object: "model", created: 1_795_187_080, owned_by: "llama-swap" };
    return answerJson(response, 200, { object: "list", data: [model] });
  }
  if (path === "/running") return answerJson(response, 200, { running: [] });
  answerJson(response, 404, { error: "not found" });
}

const server = createServer(
  {
    ca: pem("root-ca.pem"),
    cert: pem("server.pem"),
    key: pem("server-key.pem"),
    minVersion: "TLSv1.2",
    requestCert: true,
    rejectUnauthorized: true,
    // As long as Caddy keeps an idle connection.
    keepAliveTimeout: 300_000,
  },
  (request, response) => {
    answer(request, response).catch(() => response.destroy());
  },
);
server.on("secureConnection", (socket: TLSSocket) => {
  handshakes.total += 1;
  if (socket.isSessionReused()) handshakes.resumed += 1;
});

function reply(message: Answer): void {
  process.send?.(message);
}

process.on("message", (question: Question) => {
  if (question === "close idle connections") server.closeIdleConnections();
  reply({ handshakes: { ...handshakes } });
});
// The benchmark that started it is gone.
process.on("disconnect", () => process.exit());

server.listen(0, "127.0.0.1", () => reply({ port: (server.address() as AddressInfo).port }));
