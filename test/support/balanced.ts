import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { readConfig } from "../../config.ts";
import { Http, readText } from "../../server/http/http.ts";
import { writeCertificates } from "./certificates.ts";
import type { Daemon } from "./daemon.ts";
import { docsBlock, withOwn } from "./docs.ts";
import { runCaddy } from "./docs-caddy.ts";
import { freePort } from "./network.ts";

/** How Caddy chooses the server of a request: as documented, or in turn. */
export type Policy = "header x-session-id" | "round_robin";

export interface Balanced extends Daemon {
  /** `https://localhost:<port>` */
  url: string;
  /** The variables of a client that it lets in. */
  env: Record<string, string>;
  /** Ids of sessions that the documented policy divides equally among the servers. */
  evenIds(count: number): Promise<string[]>;
}

export interface BalancedOptions {
  /** As `127.0.0.1:8080`. */
  upstreams: readonly [string, string];
  /** Default: the documented one. */
  policy?: Policy;
  /** Default: `caddy`. */
  program?: string;
}

/** Starts a real Caddy with the documented site and load balancing before two servers. */
export async function startBalanced({
  upstreams,
  policy = "header x-session-id",
  program = "caddy",
}: BalancedOptions): Promise<Balanced> {
  const folder = mkdtempSync(join(tmpdir(), "balanced-"));
  const certs = join(folder, "certs");
  await writeCertificates(certs);
  const port = await freePort();
  const balance = withOwn(docsBlock("several-machines.md", "balance"), {
    "192.168.2.3:8080 192.168.2.4:8080": upstreams.join(" "),
    "header x-session-id": policy,
  });
  const isOld = /^v?2\.6\./.test(execFileSync(program, ["version"], { encoding: "utf8" }));
  const site = withOwn(docsBlock("caddy.md", isOld ? "caddyfile-2.6" : "caddyfile"), {
    "ai.example.org {": `https://localhost:${port} {`,
    "/etc/caddy/certs": certs,
    "\treverse_proxy 192.168.2.3:8080\n": balance,
  });
  const caddy = await runCaddy(program, site, port);
  const url = `https://localhost:${port}`;
  const stop = async (): Promise<void> => {
    await caddy.stop();
    rmSync(folder, { recursive: true });
  };
  const env = { AI_SERVER_URL: url, AI_SERVER_CERTS_DIR: certs };
  return { ...caddy, url, env, stop, evenIds: (count) => evenIds(env, count) };
}

async function evenIds(env: Record<string, string>, count: number): Promise<string[]> {
  const chosen = new Map<string, string[]>();
  const http = new Http(readConfig(env, {}, "/nowhere"));
  try {
    for (let nth = 1; [...chosen.values()].flat().length < count; nth += 1) {
      const id = `conversation-${nth}`;
      const { headers, body } = await http.request({
        method: "GET",
        path: "/health",
        headers: { "x-session-id": id },
      });
      await readText(body, 1000);
      const upstream = headers["x-upstream"] ?? "";
      const own = chosen.get(upstream) ?? [];
      if (own.length < count / 2) chosen.set(upstream, [...own, id]);
    }
    return [...chosen.values()].flat();
  } finally {
    await http.close();
  }
}
