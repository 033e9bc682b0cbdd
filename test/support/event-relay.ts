import { connect, createServer, type Server, type Socket } from "node:net";
import { listen } from "./network.ts";

/** No power of two, so that the ends of pieces fall anywhere in a frame. */
const PIECE_BYTES = 777;

/** A way to a server of plain HTTP that breaks `/api/events` into pieces, and cuts it in the midst of a frame. */
export class EventRelay {
  readonly url: string;
  /** Of `/api/events`, over all connections. */
  bytes = 0;
  /** How often it was asked for. */
  asked = 0;
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  #isCutting = false;

  static async to(port: number): Promise<EventRelay> {
    const server = createServer();
    const relay = new EventRelay(server, await listen(server));
    server.on("connection", (client) => relay.#join(client, connect(port, "127.0.0.1")));
    return relay;
  }

  private constructor(server: Server, port: number) {
    this.#server = server;
    this.url = `http://127.0.0.1:${port}`;
  }

  /** The next that comes of the events is broken off in its middle, and the connection with it. */
  cutNext(): void {
    this.#isCutting = true;
  }

  /** Connections of clients that are open. */
  get connections(): number {
    return this.#sockets.size;
  }

  async close(): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  #join(client: Socket, upstream: Socket): void {
    this.#sockets.add(client);
    let hasEvents = false;
    let sent = Promise.resolve();
    client.on("data", (data) => {
      if (data.includes("GET /api/events ")) {
        hasEvents = true;
        this.asked += 1;
      }
      upstream.write(data);
    });
    upstream.on("data", (data) => {
      if (!hasEvents) client.write(data);
      else sent = sent.then(() => this.#pass(client, data));
    });
    for (const socket of [client, upstream]) {
      // Either end may go at any time.
      socket.on("error", () => {});
      socket.on("close", () => {
        this.#sockets.delete(client);
        client.destroy();
        upstream.destroy();
      });
    }
  }

  async #pass(client: Socket, data: Buffer): Promise<void> {
    const isCut = this.#isCutting;
    this.#isCutting = false;
    const whole = isCut ? data.subarray(0, Math.floor(data.length / 2)) : data;
    for (let at = 0; at < whole.length; at += PIECE_BYTES) {
      client.write(whole.subarray(at, at + PIECE_BYTES));
      await new Promise(setImmediate);
    }
    this.bytes += whole.length;
    if (isCut) client.end();
  }
}
