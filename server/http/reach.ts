/** Whether the server's name has addresses, and which of them accept connections. */
import { lookup } from "node:dns/promises";
import { connect, isIP } from "node:net";
import type { ServerAddress } from "../../config.ts";
import { abortable } from "../../lib/clock.ts";
import { endOf } from "./tls.ts";
import { transportFault } from "./transport-faults.ts";

export interface Address {
  readonly address: string;
  readonly family: 4 | 6;
}

/** How names are looked up and connections made. */
export interface Network {
  /** All addresses that this machine finds for a name, as every connection of it does. */
  lookup(name: string): Promise<Address[]>;
  /** Connects, closes at once, and returns after how many milliseconds it was connected. */
  connect(address: string, port: number, signal: AbortSignal): Promise<number>;
}

export const NETWORK: Network = {
  lookup: async (name) =>
    (await lookup(name, { all: true })).map(({ address, family }) => ({
      address,
      family: family === 6 ? 6 : 4,
    })),
  connect: (host, port, signal) =>
    new Promise((resolve, reject) => {
      const began = performance.now();
      const socket = connect({ host, port, signal });
      socket.once("connect", () => {
        resolve(performance.now() - began);
        socket.destroy();
      });
      socket.on("error", reject);
    }),
};

/**
 * The addresses of the server's name; an address in the place of a name is its own.
 *
 * @throws {ServerError} where there are none; the signal's reason
 */
export async function addressesOf(
  address: ServerAddress,
  signal: AbortSignal,
  network: Pick<Network, "lookup"> = NETWORK,
): Promise<Address[]> {
  const { host } = endOf(address.origin);
  const family = isIP(host);
  if (family === 4 || family === 6) return [{ address: host, family }];
  const limit = AbortSignal.timeout(address.connectTimeoutMs);
  try {
    return await abortable(network.lookup(host), AbortSignal.any([signal, limit]));
  } catch (error) {
    signal.throwIfAborted();
    throw transportFault(limit.aborted ? coded("EAI_AGAIN", error) : error, address);
  }
}

/** How a connection to one address went. */
export type Tried = Address & ({ readonly ms: number } | { readonly error: unknown });

/** Connects to each address, all at once, each within the limit for connecting. @throws the signal's reason */
export async function connectToEach(
  { origin, connectTimeoutMs }: ServerAddress,
  addresses: readonly Address[],
  signal: AbortSignal,
  network: Pick<Network, "connect"> = NETWORK,
): Promise<Tried[]> {
  const { port } = endOf(origin);
  const limit = AbortSignal.timeout(connectTimeoutMs);
  const stop = AbortSignal.any([signal, limit]);
  return Promise.all(
    addresses.map(async (address) => {
      try {
        return { ...address, ms: await abortable(network.connect(address.address, port, stop), stop) };
      } catch (error) {
        signal.throwIfAborted();
        return { ...address, error: limit.aborted ? coded("UND_ERR_CONNECT_TIMEOUT", error) : error };
      }
    }),
  );
}

/** An error with the code by which the faults of the way are known. */
export function coded(code: string, cause: unknown): Error {
  return Object.assign(new Error(code, { cause }), { code });
}
