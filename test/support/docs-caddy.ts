import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { eventually, killGroup, spawnGroup } from "./processes.ts";

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
export async function runCaddy(
  program: string,
  text: string,
  port: number,
): Promise<{ stop(): Promise<void> }> {
  const { folder, file, env } = caddyPlace(text);
  const child = spawnGroup(program, ["run", "--config", file, "--adapter", "caddyfile"], {
    cwd: folder,
    env,
    stdio: ["ignore", "ignore", "pipe"],
  });
  let log = "";
  let isOver = false;
  child.stderr?.setEncoding("utf8").on("data", (piece: string) => {
    log += piece;
  });
  const ended = new Promise<void>((resolve) => {
    for (const event of ["close", "error"]) {
      child.once(event, () => {
        isOver = true;
        resolve();
      });
    }
  });
  const stop = async (): Promise<void> => {
    killGroup(child, "SIGTERM");
    const limit = setTimeout(() => killGroup(child), 5000);
    await ended;
    clearTimeout(limit);
    rmSync(folder, { recursive: true, force: true });
  };
  try {
    await eventually("Caddy listens", async () => {
      if (isOver) throw new Error(`Caddy ended at once: ${log}`);
      return (await listens(port)) || undefined;
    });
  } catch (error) {
    await stop();
    throw error;
  }
  return { stop };
}

function listens(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ host: "127.0.0.1", port });
    socket.once("connect", () => {
      socket.destroy();
      resolve(true);
    });
    socket.once("error", () => resolve(false));
  });
}
