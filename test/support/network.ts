import { randomInt } from "node:crypto";
import { connect, createServer, type Server, type Socket } from "node:net";

/**
 * A TCP port of 127.0.0.1 that was free a moment ago. It lies below those that the system gives to connections and to
 * servers on port 0: beside a busy test one of them would take it before the program that it is for.
 */
export async function freePort(): Promise<number> {
  for (;;) {
    const port = randomInt(10_000, 32_000);
    const server = createServer();
    const isFree = await listen(server, port).then(
      () => true,
      () => false,
    );
    if (!isFree) continue;
    await new Promise((resolve) => server.close(resolve));
    return port;
  }
}

/** Listens on 127.0.0.1 and gives the port; 0 asks for any free one. */
export function listen(server: Server, port = 0): Promise<number> {
  return new Promise((resolve, reject) => {
    server.once("error", reject);
    server.listen(port, "127.0.0.1", () => {
      const address = server.address();
      if (typeof address === "object" && address !== null) resolve(address.port);
      else reject(new Error("The server listens on no port"));
    });
  });
}

export interface TcpServer {
  port: number;
  /** How many connections have been taken so far; over TLS each is one handshake. */
  connections(): number;
  /** How many of them neither end has closed. */
  open(): number;
  stop(): Promise<void>;
}

async function serve(onConnection: (socket: Socket) => void, port?: number): Promise<TcpServer> {
  const sockets = new Set<Socket>();
  let count = 0;
  const server = createServer((socket) => {
    count += 1;
    sockets.add(socket);
    socket.on("error", () => {}); // the other end may go at any time
    socket.on("close", () => sockets.delete(socket));
    onConnection(socket);
  });
  const listening = await listen(server, port);
  const stop = () =>
    new Promise<void>((resolve) => {
      server.close(() => resolve());
      for (const socket of sockets) socket.destroy();
    });
  return { port: listening, connections: () => count, open: () => sockets.size, stop };
}

/** Passes every connection on to another port of this machine, byte for byte, and counts them. */
export function countingProxy(target: number): Promise<TcpServer> {
  return serve((socket) => {
    const onward = connect({ host: "127.0.0.1", port: target });
    onward.on("error", () => socket.destroy());
    socket.on("close", () => onward.destroy());
    onward.on("close", () => socket.destroy());
    socket.pipe(onward).pipe(socket);
  });
}

/** Takes connections and never says a word, as a machine behind a broken tunnel does. */
export function silentServer(port?: number): Promise<TcpServer> {
  return serve((socket) => socket.resume(), port);
}

/** Whether something takes connections on a port of 127.0.0.1. */
export function listens(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ host: "127.0.0.1", port });
    socket.once("connect", () => {
      socket.destroy();
      resolve(true);
    });
    socket.once("error", () => resolve(false));
  });
}
