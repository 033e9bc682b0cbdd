import { mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Daemon, startDaemon } from "./daemon.ts";
import { listens } from "./network.ts";

/** What keeps a Caddy of the tests to itself: no admin port, no port 80, this machine alone. */
const KEPT_IN = `{
  admin off
  auto_https off
  default_bind 127.0.0.1
  grace_period 1s
}
`;

export interface CaddyPlace {
  /** A folder with Caddy's state and its Caddyfile. */
  folder: string;
  file: string;
  env: Record<string, string>;
}

/** Writes a documented Caddyfile into a folder of its own. `remove` is the caller's. */
export function caddyPlace(text: string): CaddyPlace {
  const folder = mkdtempSync(join(tmpdir(), "docs-caddy-"));
  const file = join(folder, "Caddyfile");
  writeFileSync(file, KEPT_IN + text);
  const env = { PATH: process.env.PATH ?? "", HOME: folder, XDG_DATA_HOME: folder, XDG_CONFIG_HOME: folder };
  return { folder, file, env };
}

/**
 * Runs a Caddy with a documented Caddyfile until `stop`, which removes its folder.
 *
 * @param program name or path of the Caddy
 * @param port on which the text lets it listen
 */
export function runCaddy(program: string, text: string, port: number): Promise<Daemon> {
  const { folder, file, env } = caddyPlace(text);
  const args = ["run", "--config", file, "--adapter", "caddyfile"];
  return startDaemon({ name: "Caddy", program, args, folder, env, isUp: () => listens(port) });
}
