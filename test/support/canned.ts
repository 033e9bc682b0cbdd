import { readFileSync } from "node:fs";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { Socket } from "node:net";
import type { Variables } from "../../config.ts";
import { ModelServer } from "../../server/model-server.ts";
import { listen } from "./network.ts";
import { clientOf, kept } from "./wire.ts";

export type Answer = { status: number; headers: Record<string, string>; body: string };

/** A server on 127.0.0.1 that a test wrote, and a client of it. */
export interface Canned {
  swap: ModelServer;
  /** `GET /running` and the like, in the order of arrival. */
  requests: string[];
  /** Connections open now, idle ones too. */
  connections(): number;
  /** Requests whose answer is not over. */
  underWay(): number;
}

export type Answering = (request: IncomingMessage, response: ServerResponse) => void;

/**
 * A server of plain HTTP; both ends are closed with the test.
 *
 * @param recogniseMs the client's limit for the answers by which it recognises the server
 */
export async function cannedServer(
  answer: Answering,
  env: Variables = {},
  recogniseMs?: number,
  session?: () => string | undefined,
): Promise<Canned> {
  const requests: string[] = [];
  const sockets = new Set<Socket>();
  let underWay = 0;
  const server = createServer({ keepAliveTimeout: 300_000 }, (request, response) => {
    requests.push(`${request.method} ${request.url}`);
    underWay += 1;
    response.on("close", () => {
      underWay -= 1;
    });
    answer(request, response);
  });
  server.on("connection", (socket) => {
    sockets.add(socket);
    socket.on("close", () => sockets.delete(socket));
  });
  const port = await listen(server);
  const close = (): Promise<void> =>
    new Promise((resolve) => {
      server.close(() => resolve());
      for (const socket of sockets) socket.destroy();
    });
  await kept({ close });
  const config = clientOf(`http://127.0.0.1:${port}`, "/nowhere", env);
  const swap = await kept(new ModelServer(config, Date.now, undefined, recogniseMs, session));
  return { swap, requests, connections: () => sockets.size, underWay: () => underWay };
}

/** Answers by path: a status, an answer, or a value as JSON; what is not in the table is 404, and nothing runs. */
export function byPath(answers: Record<string, unknown>): Answering {
  return (request, response) => {
    const answer = answers[request.url ?? ""] ?? (request.url === "/running" ? { running: [] } : 404);
    if (typeof answer === "number") response.writeHead(answer).end();
    else if (isAnswer(answer)) give(response, answer);
    else response.end(JSON.stringify(answer));
  };
}

export function give(response: ServerResponse, { status, headers, body }: Answer): void {
  response.writeHead(status, headers).end(body);
}

function isAnswer(value: unknown): value is Answer {
  return typeof value === "object" && value !== null && "status" in value && "body" in value;
}

/** An answer that a real llama-swap of this version gave; `name` is the file without `.http`. */
export function recordedAnswer(version: "v170" | "v217" | "head", name: string): Answer {
  const url = new URL(`../fixtures/llama-swap-${version}/${name}.http`, import.meta.url);
  const raw = readFileSync(url, "utf8");
  const [head = "", ...body] = raw.split(/\r?\n\r?\n/);
  const [statusLine = "", ...lines] = head.split(/\r?\n/);
  const headers = lines.map((line): [string, string] => {
    const colon = line.indexOf(":");
    return [line.slice(0, colon).toLowerCase(), line.slice(colon + 1).trim()];
  });
  const kept = headers.filter(([name]) => name !== "content-length" && name !== "date");
  return {
    status: Number(statusLine.split(" ")[1]),
    headers: Object.fromEntries(kept),
    body: body.join("\n\n"),
  };
}

/** One frame as llama-swap writes it. */
export function frame(type: string, payload: unknown): string {
  return `event:message\ndata:${JSON.stringify({ type, data: JSON.stringify(payload) })}\n\n`;
}
