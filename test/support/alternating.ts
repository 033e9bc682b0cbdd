import { createServer, request } from "node:http";
import { onTestFinished } from "vitest";
import { listen } from "./network.ts";

export interface Alternating {
  /** `http://127.0.0.1:<port>` */
  url: string;
  /** Each request with its server, as `1 GET /running`. */
  asked: string[];
  /** Which server gets a request: its place in the list. Default: each in turn. */
  choose: (nth: number, session: string | undefined) => number;
  /** Whether the answers name their server (`x-upstream`). */
  namesServers: boolean;
}

/** A load balancer before servers of this machine that speak plain HTTP, until the test has ended. */
export async function startAlternating(targets: readonly { url: string }[]): Promise<Alternating> {
  let nth = 0;
  const balancer: Alternating = {
    url: "",
    asked: [],
    choose: (count) => count % targets.length,
    namesServers: false,
  };
  const server = createServer((question, answer) => {
    const { method = "GET", url: path = "/", headers } = question;
    const session = headers["x-session-id"];
    const at = balancer.choose(nth++, typeof session === "string" ? session : undefined);
    balancer.asked.push(`${at + 1} ${method} ${path}`);
    const onward = request(`${targets[at]?.url}${path}`, { method, headers }, (given) => {
      const named = balancer.namesServers ? { "x-upstream": `server-${at + 1}` } : {};
      answer.writeHead(given.statusCode ?? 502, { ...given.headers, ...named });
      answer.flushHeaders();
      given.pipe(answer);
      given.on("error", () => answer.destroy());
    });
    onward.on("error", () => answer.destroy());
    answer.on("close", () => onward.destroy());
    question.pipe(onward);
  });
  const port = await listen(server);
  onTestFinished(async () => {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  });
  balancer.url = `http://127.0.0.1:${port}`;
  return balancer;
}
