import { mkdtempSync, readFileSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Daemon, startDaemon } from "./daemon.ts";
import { isHealthy, OWN_ARGUMENTS, prepareLlamaServer, TINY_MODEL } from "./llama-server.ts";
import { freePort } from "./network.ts";

/** A llama-swap whose models are real llama-servers. */
export interface LlamaSwap extends Daemon {
  url: string;
  /** How often a model's process was started. */
  starts(): number;
  /** Writes another config, which it reads when it was started with `-watch-config`. */
  write(config: string): void;
}

/**
 * Starts llama-swap on a free port of 127.0.0.1.
 *
 * @param program the path of a llama-swap
 * @param config its YAML; `serve <arguments>` in it is a llama-server with the tiny model
 * @param args further arguments
 */
export async function startLlamaSwap(
  program: string,
  config: string,
  args: readonly string[] = [],
): Promise<LlamaSwap> {
  const { program: llamaServer, cwd, env } = await prepareLlamaServer();
  const { LD_LIBRARY_PATH: libraries, ...environment } = env;
  const folder = mkdtempSync(join(tmpdir(), "llama-swap-test-"));
  const started = join(folder, "started");
  const serve = join(folder, "serve");
  const command = [llamaServer, "-m", TINY_MODEL, "--host", "127.0.0.1", ...OWN_ARGUMENTS].join(" ");
  writeFileSync(started, "");
  writeFileSync(
    serve,
    `#!/bin/sh\necho started >>'${started}'\nexport LD_LIBRARY_PATH='${libraries}'\nexec ${command} "$@"\n`,
    { mode: 0o755 },
  );
  const port = await freePort();
  const path = join(folder, "config.yaml");
  // Its models' ports: what an earlier one left behind, or another one beside it, must not be taken for them.
  const startPort = `startPort: ${await freePort()}\n`;
  const write = (text: string): void =>
    writeFileSync(path, startPort + text.replaceAll(/\bserve(?= )/g, serve));
  write(config);
  const url = `http://127.0.0.1:${port}`;
  const daemon = await startDaemon({
    name: "llama-swap",
    program,
    args: ["--config", path, "--listen", `127.0.0.1:${port}`, ...args],
    folder,
    cwd,
    env: { ...environment, HOME: folder },
    isUp: () => isHealthy(url),
  });
  return { url, starts: () => readFileSync(started, "utf8").split("\n").length - 1, write, ...daemon };
}
