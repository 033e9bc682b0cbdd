/** A link from this laptop that hands over one file, once, within a few minutes. */
import { randomBytes, timingSafeEqual } from "node:crypto";
import { once } from "node:events";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { type AddressInfo, isIPv6 } from "node:net";
import { networkInterfaces } from "node:os";
import { ServerError } from "../lib/errors.ts";

/** 80 bits: a guess has five minutes, and each costs a request. */
const TOKEN_BYTES = 10;
/** Of base32: capital letters make a smaller QR code. */
const ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

/** Requests that are answered at most; a device needs one. */
const MOST_REQUESTS = 1000;
const REQUEST_MS = 10_000;

/** An address of this laptop that another device may reach. */
export interface OwnAddress {
  address: string;
  /** The interface's name, as `wlan0`. */
  at: string;
}

/** Addresses of this machine, those that a phone most likely reaches first. */
export function ownAddresses(interfaces = networkInterfaces()): OwnAddress[] {
  return Object.entries(interfaces)
    .flatMap(([at, infos]) => (infos ?? []).map((info) => ({ ...info, at })))
    .filter(({ internal, address }) => !internal && !address.startsWith("fe80:"))
    .sort((a, b) => rank(a) - rank(b))
    .map(({ address, at }) => ({ address, at }));
}

/** Wi-Fi and Ethernet before bridges of containers and tunnels, IPv4 before IPv6, whose QR codes are larger. */
function rank({ at, family }: { at: string; family: string }): number {
  const isVirtual = /^(?:docker|br-|veth|virbr|vmnet|tun|tap|wg|utun|tailscale|lo)/.test(at);
  return (isVirtual ? 2 : 0) + (family === "IPv6" ? 1 : 0);
}

export interface LinkFile {
  /** As it is saved on the device. */
  name: string;
  content: Buffer;
}

/** How a link ended: fetched whole, its time over, or closed before. */
type LinkEnd = "fetched" | "expired" | "closed";

export interface Link {
  /** In capital letters where the address allows it. */
  readonly url: string;
  /** Never rejects. */
  readonly ended: Promise<LinkEnd>;
  /** Idempotent. */
  close(): Promise<void>;
}

function token(): string {
  const bits = BigInt(`0x${randomBytes(TOKEN_BYTES).toString("hex")}`);
  const digits = Math.ceil((TOKEN_BYTES * 8) / 5);
  return Array.from({ length: digits }, (_, at) => ALPHABET[Number((bits >> BigInt(5 * at)) & 31n)]).join("");
}

function isSame(a: string, b: string): boolean {
  const [left, right] = [Buffer.from(a), Buffer.from(b)];
  return left.length === right.length && timingSafeEqual(left, right);
}

/**
 * Opens a port on one address of this machine, and closes it once the file was fetched.
 *
 * @param limitMs after which the link no longer works
 * @throws {ServerError} where the address cannot be listened on
 */
export async function openLink(address: string, file: LinkFile, limitMs: number): Promise<Link> {
  const path = `/${token()}`;
  const server = createServer({ requestTimeout: REQUEST_MS, headersTimeout: REQUEST_MS });
  // No more than a few connections at a time: this port is for one device.
  server.maxConnections = 20;
  await listen(server, address);
  const { port } = server.address() as AddressInfo;
  const end = Promise.withResolvers<LinkEnd>();
  const limit = setTimeout(() => end.resolve("expired"), limitMs);
  let requests = 0;
  let isBusy = false;

  server.on("request", (request: IncomingMessage, response: ServerResponse) => {
    requests += 1;
    response.setHeader("Connection", "close");
    response.setHeader("Cache-Control", "no-store");
    response.setHeader("X-Content-Type-Options", "nosniff");
    const isMeant = isSame((request.url ?? "").toUpperCase(), path);
    if (requests > MOST_REQUESTS || !isMeant || isBusy || request.method !== "GET") {
      response.writeHead(404).end();
      return;
    }
    isBusy = true;
    response.writeHead(200, {
      "Content-Type": "application/x-pkcs12",
      "Content-Length": file.content.length,
      "Content-Disposition": `attachment; filename="${file.name}"`,
    });
    response.end(file.content);
    // A device that lost the connection has no file, and may ask again.
    response.once("close", () => {
      if (response.writableFinished) end.resolve("fetched");
      else isBusy = false;
    });
  });

  const ended = end.promise.then(async (how) => {
    clearTimeout(limit);
    const closed = once(server, "close");
    server.close();
    if (how === "fetched") server.closeIdleConnections();
    else server.closeAllConnections();
    // What was sent last may still be on its way to the device.
    const late = setTimeout(() => server.closeAllConnections(), 2000);
    await closed;
    clearTimeout(late);
    return how;
  });
  const host = isIPv6(address) ? `[${address}]` : address;
  return {
    url: `HTTP://${host}:${port}${path}`,
    ended,
    close: async () => {
      end.resolve("closed");
      await ended;
    },
  };
}

async function listen(server: Server, address: string): Promise<void> {
  try {
    server.listen(0, address);
    await once(server, "listening");
  } catch (error) {
    throw new ServerError(
      `This laptop cannot offer a link on ${address}: the address is not its own any more, or a firewall of the system forbids it. Choose another address, or a file.`,
      { link: "configuration", cause: error },
    );
  }
}
