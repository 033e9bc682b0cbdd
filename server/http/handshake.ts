/** One TLS handshake for its own sake: what the server shows and speaks. */
import { isIP } from "node:net";
import { connect, type TLSSocket } from "node:tls";
import type { ServerAddress } from "../../config.ts";
import type { Identity } from "./identity.ts";
import { coded } from "./reach.ts";
import { endOf, tlsOptions } from "./tls.ts";
import { transportFault } from "./transport-faults.ts";

export interface Handshake {
  /** `TLSv1.3` */
  readonly protocol: string;
  /** What the server chooses of HTTP/2 (`h2`) and `http/1.1`; undefined where it chooses none. */
  readonly alpn: string | undefined;
  /** Of the server's certificate. */
  readonly validFrom: Date;
  readonly validTo: Date;
  /** From the first packet to the end of the handshake. */
  readonly ms: number;
}

/**
 * Makes a connection with the client's certificate, and closes it. With TLS 1.3 a server refuses the client's certificate
 * only after this.
 *
 * @throws {ServerError} of the certificate or the handshake; the signal's reason
 */
export async function handshake(
  address: ServerAddress,
  identity: Identity,
  signal: AbortSignal,
): Promise<Handshake> {
  const { host, port } = endOf(address.origin);
  const began = performance.now();
  const limit = AbortSignal.timeout(address.connectTimeoutMs);
  const socket = connect({
    ...tlsOptions(identity),
    host,
    port,
    ALPNProtocols: ["h2", "http/1.1"],
    ...(isIP(host) ? {} : { servername: host }),
  });
  try {
    await secured(socket, AbortSignal.any([signal, limit]));
    const certificate = socket.getPeerX509Certificate();
    return {
      protocol: socket.getProtocol() ?? "TLS",
      alpn: socket.alpnProtocol || undefined,
      validFrom: new Date(certificate?.validFrom ?? Number.NaN),
      validTo: new Date(certificate?.validTo ?? Number.NaN),
      ms: performance.now() - began,
    };
  } catch (error) {
    signal.throwIfAborted();
    throw transportFault(limit.aborted ? coded("ERR_TLS_HANDSHAKE_TIMEOUT", error) : error, address);
  } finally {
    socket.destroy();
  }
}

function secured(socket: TLSSocket, stop: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    socket.once("secureConnect", resolve);
    // An alert after the handshake finds no other listener.
    socket.on("error", reject);
    stop.addEventListener("abort", () => reject(stop.reason), { once: true });
  });
}
