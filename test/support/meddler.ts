/** A proxy in front of a server, as one on the way or an older server would be: it changes what passes. */
import { createServer, type IncomingMessage, request } from "node:http";
import { onTestFinished } from "vitest";
import { listen } from "./network.ts";

export interface Meddling {
  /** Changes the body of a chat request. */
  asked?(body: Record<string, unknown>): Record<string, unknown>;
  /** Changes the JSON answer of a path. */
  answered?: { path: string; change(answer: Record<string, unknown>): unknown };
  /** Hands an answer on only when it is whole. */
  isBuffered?: boolean;
}

/** @param url of the server, plain HTTP. @returns the address of the proxy, which ends with the test */
export async function meddle(url: string, meddling: Meddling): Promise<string> {
  const server = createServer(async (question, reply) => {
    const { method, url: path = "", headers } = question;
    const given = await textOf(question);
    // The sizes that the doctor tries are no JSON.
    const isChat = path.endsWith("/chat/completions") && given.includes('"model"');
    const body = isChat && meddling.asked ? JSON.stringify(meddling.asked(JSON.parse(given))) : given;
    const { "content-length": _, ...others } = headers;
    const length = body === "" ? {} : { "content-length": Buffer.byteLength(body) };
    const onward = request(`${url}${path}`, { method, headers: { ...others, ...length } }, async (answer) => {
      const { "content-length": __, ...kept } = answer.headers;
      reply.writeHead(answer.statusCode ?? 502, kept);
      const change = path.startsWith(meddling.answered?.path ?? "\0") ? meddling.answered?.change : undefined;
      if (change !== undefined) reply.end(JSON.stringify(change(JSON.parse(await textOf(answer)))));
      else if (isChat && meddling.isBuffered) reply.end(await textOf(answer));
      else answer.pipe(reply);
    });
    onward.on("error", () => reply.destroy());
    reply.on("close", () => onward.destroy());
    onward.end(body);
  });
  const port = await listen(server);
  onTestFinished(async () => {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  });
  return `http://127.0.0.1:${port}`;
}

async function textOf(message: IncomingMessage): Promise<string> {
  const pieces: Buffer[] = [];
  for await (const piece of message) pieces.push(piece as Buffer);
  return Buffer.concat(pieces).toString("utf8");
}
