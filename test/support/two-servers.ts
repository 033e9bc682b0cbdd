import { type Balanced, type BalancedOptions, startBalanced } from "./balanced.ts";
import { type LlamaServer, startLlamaServer } from "./llama-server.ts";

export interface TwoServers {
  caddy: Balanced;
  servers: readonly [LlamaServer, LlamaServer];
  /** Ends all three; a server may have been stopped before. */
  stop(): Promise<void>;
}

/**
 * Starts two real llama-servers and a real Caddy before them.
 *
 * @param args of both llama-servers
 */
export async function startTwoServers({
  args,
  ...how
}: { args: readonly string[] } & Omit<BalancedOptions, "upstreams">): Promise<TwoServers> {
  const [one, two] = await Promise.all([startLlamaServer({ args }), startLlamaServer({ args })]);
  const upstreams = [new URL(one.url).host, new URL(two.url).host] as const;
  const caddy = await startBalanced({ upstreams, ...how });
  const stop = async (): Promise<void> => {
    await caddy.stop();
    await Promise.all([one.stop(), two.stop()]);
  };
  return { caddy, servers: [one, two], stop };
}
