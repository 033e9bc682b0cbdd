import { connect, createServer, type Server, type Socket } from "node:net";
import { listen } from "./network.ts";

/** One connection and its other half. */
interface Way {
  client: Socket;
  server: Socket;
  isFrozen: boolean;
}

/**
 * Passes TCP connections on, byte for byte, until it freezes them: from then on nothing goes through them in
 * either direction, and neither end is closed, as when a NAT has forgotten them. New connections work.
 */
export class FreezingProxy {
  readonly port: number;
  readonly #listener: Server;
  readonly #ways = new Set<Way>();
  #count = 0;

  /** @param target port of this machine */
  static async to(target: number): Promise<FreezingProxy> {
    const listener = createServer();
    const proxy = new FreezingProxy(listener, await listen(listener));
    listener.on("connection", (client) => proxy.#join(client, connect(target, "127.0.0.1")));
    return proxy;
  }

  private constructor(listener: Server, port: number) {
    this.#listener = listener;
    this.port = port;
  }

  /** How many connections have been taken so far. */
  get connections(): number {
    return this.#count;
  }

  /** Freezes all connections of now. @returns how many that are */
  freeze(): number {
    for (const way of this.#ways) way.isFrozen = true;
    return this.#ways.size;
  }

  async close(): Promise<void> {
    const closed = new Promise((resolve) => this.#listener.close(resolve));
    for (const { client, server } of this.#ways) {
      client.destroy();
      server.destroy();
    }
    await closed;
  }

  #join(client: Socket, server: Socket): void {
    this.#count += 1;
    const way: Way = { client, server, isFrozen: false };
    this.#ways.add(way);
    const pass = (from: Socket, to: Socket): void => {
      // Read on, so that the system of each end believes that all is well.
      from.on("data", (data) => {
        if (!way.isFrozen) to.write(data);
      });
      // Either end may go at any time; the other one of a frozen connection does not learn it.
      from.on("error", () => {});
      from.on("close", () => {
        if (!way.isFrozen) to.destroy();
        if (client.destroyed && server.destroyed) this.#ways.delete(way);
      });
    };
    pass(client, server);
    pass(server, client);
  }
}
