/** A real llama-server as llama-swap shows one: listed, running, and behind `/upstream/<id>/`. */
import { createServer, request } from "node:http";
import type { AddressInfo } from "node:net";

export interface SwapFront {
  /** `http://127.0.0.1:<port>` */
  url: string;
  stop(): Promise<void>;
}

/**
 * @param target `http://127.0.0.1:<port>` of a server with one model
 * @param id of that model
 */
export async function startSwapFront(target: string, id: string): Promise<SwapFront> {
  const upstream = `/upstream/${id}/`;
  const running = JSON.stringify({ running: [{ model: id, state: "ready", cmd: "", ttl: 0 }] });
  const server = createServer((asked, answer) => {
    const { method, headers, url = "/" } = asked;
    if (url === "/running") {
      answer.writeHead(200, { "content-type": "application/json" }).end(running);
      return;
    }
    const path = url.startsWith(upstream) ? url.slice(upstream.length - 1) : url;
    if (path === url && !url.startsWith("/v1/")) {
      answer.writeHead(404).end("404 page not found");
      return;
    }
    const onward = request(new URL(path, target), { method, headers }, (came) => {
      answer.writeHead(came.statusCode ?? 502, came.headers);
      came.pipe(answer);
    });
    onward.once("error", () => answer.destroy());
    answer.once("close", () => onward.destroy());
    asked.pipe(onward);
  });
  await new Promise<void>((listening) => server.listen(0, "127.0.0.1", listening));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    stop: async () => {
      server.closeAllConnections();
      await new Promise((closed) => server.close(closed));
    },
  };
}
