import { isIP } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";

/**
 * What every test process runs with, whatever the shell that started it had set: an address where nothing
 * listens, this machine in place of the ssh target, and a pi that fetches nothing unasked. Node
 * compiles what each process starts with once: that halves the start of a client that a test kills.
 */
export const TEST_ENVIRONMENT: Readonly<Record<string, string>> = {
  AI_SERVER_URL: "https://127.0.0.1:9",
  AI_SERVER_SSH_HOST: "local",
  HF_ENDPOINT: "http://127.0.0.1:9",
  PI_OFFLINE: "1",
  NODE_COMPILE_CACHE: join(tmpdir(), "node-compile-cache"),
};

type Environment = Readonly<Record<string, string | undefined>>;

/** True for an address or name that can only mean this machine: 127.0.0.0/8, ::1, localhost. */
export function isLoopback(host: string): boolean {
  const bare = host.toLowerCase().replace(/^\[|\]$/g, "");
  const mapped = bare.startsWith("::ffff:") ? bare.slice("::ffff:".length) : bare;
  if (isIP(mapped) === 4) return mapped.startsWith("127.");
  if (isIP(bare) === 6) return bare === "::1";
  return bare === "localhost" || bare.endsWith(".localhost");
}

/**
 * The reason why tests must not run in this environment, or undefined when they may.
 * The defaults of the extension name real machines, so an unset variable is as bad as a wrong one.
 */
export function environmentProblem(env: Environment): string | undefined {
  const url = env.AI_SERVER_URL;
  if (!url)
    return "AI_SERVER_URL is not set: the tests would use the default server, which is a real machine.";
  if (!URL.canParse(url)) return `AI_SERVER_URL is not a URL: ${url}`;
  if (!isLoopback(new URL(url).hostname))
    return `AI_SERVER_URL must be a loopback address in tests, not ${url}`;

  const hub = env.HF_ENDPOINT;
  if (!hub) return "HF_ENDPOINT is not set: the tests would ask Hugging Face itself.";
  if (!URL.canParse(hub) || !isLoopback(new URL(hub).hostname))
    return `HF_ENDPOINT must be a loopback address in tests, not ${hub}`;

  const host = env.AI_SERVER_SSH_HOST;
  if (!host) return "AI_SERVER_SSH_HOST is not set: the tests would reach the default ssh target.";
  const machine = host.slice(host.lastIndexOf("@") + 1);
  if (host !== "local" && !isLoopback(machine)) {
    return `AI_SERVER_SSH_HOST must be "local" or a loopback address in tests, not ${host}`;
  }
  return undefined;
}
