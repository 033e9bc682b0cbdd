/** TLS connections to one server: with the client's certificate, resumed, and accounted for. */
import { isIP, connect as openSocket, type Socket } from "node:net";
import { connect, type SecureContextOptions } from "node:tls";
import { buildConnector } from "undici";
import type { Identity } from "./identity.ts";

/**
 * Idle milliseconds before the system asks whether the other end is still there. Node has it ask ten times, a second
 * apart, so that a connection which a NAT or a suspended machine has lost ends after 25 s. A firewall counts it as use.
 */
const PROBE_AFTER_MS = 15_000;

const PROBED = { keepAlive: true, keepAliveInitialDelay: PROBE_AFTER_MS } as const;

/** How long the alert of a server that ended a connection is awaited, in milliseconds. */
const ALERT_TIMEOUT_MS = 2000;

/** How long a port may take to accept a connection, in milliseconds, once a handshake there has timed out. */
const ACCEPT_TIMEOUT_MS = 1000;

/** What is known of the connections: those being made, the open ones, and by its error each that failed. */
export interface Sockets {
  connecting: number;
  open: Set<Socket>;
  failed: WeakMap<object, Socket>;
}

export function tlsOptions(identity: Identity): SecureContextOptions & { rejectUnauthorized: boolean } {
  return {
    ca: identity.ca,
    cert: identity.cert,
    key: identity.key,
    passphrase: identity.passphrase,
    minVersion: "TLSv1.2",
    // Said although it is the default: NODE_TLS_REJECT_UNAUTHORIZED=0 must not switch the check off.
    rejectUnauthorized: true,
  };
}

/**
 * Opens TLS connections that resume the last session: undici keeps sessions only as long as the garbage collector
 * lets it, so that a turn after a long pause would pay for a whole handshake with two certificates.
 */
function resumingConnector(identity: Identity, timeout: number): buildConnector.connector {
  let session: Buffer | undefined;
  const options: buildConnector.BuildOptions = {
    ...tlsOptions(identity),
    ...PROBED,
    allowH2: false,
    timeout,
    maxCachedSessions: 0,
  };
  return (target, callback) => {
    const connect = buildConnector({ ...options, ...(session === undefined ? {} : { session }) });
    connect(target, (...result) => {
      const [, socket] = result;
      if (socket && "getSession" in socket) {
        // TLS 1.3 sends its tickets after the handshake, TLS 1.2 within it.
        socket.on("session", (ticket: Buffer) => {
          session = ticket;
        });
        if (socket.getProtocol() === "TLSv1.2") session = socket.getSession() ?? session;
      }
      callback(...result);
    });
  };
}

/** Keeps account of the sockets that `connect` opens. */
function tracking(connect: buildConnector.connector, sockets: Sockets): buildConnector.connector {
  return (target, callback) => {
    sockets.connecting++;
    connect(target, (...result) => {
      sockets.connecting--;
      const [, socket] = result;
      if (socket) {
        sockets.open.add(socket);
        socket.on("close", () => sockets.open.delete(socket));
        socket.on("error", (error) => sockets.failed.set(error, socket));
      }
      callback(...result);
    });
  };
}

/**
 * The connector of undici for one identity; without one, for plain HTTP.
 *
 * @param timeout limit for connecting, TLS included, in milliseconds
 * @param sockets is kept up to date
 */
export function connectorFor(
  identity: Identity | undefined,
  timeout: number,
  sockets: Sockets,
): buildConnector.connector {
  const connector = identity
    ? resumingConnector(identity, timeout)
    : buildConnector({ ...PROBED, timeout, allowH2: false });
  return tracking(connector, sockets);
}

/** Host and port of an address, the host as sockets take it. */
export function endOf(origin: string): { host: string; port: number } {
  const { hostname, port, protocol } = new URL(origin);
  const usual = protocol === "https:" ? 443 : 80;
  return { host: hostname.replace(/^\[|\]$/g, ""), port: Number(port || usual) };
}

/** Whether the server's port accepts connections: then it was the handshake that timed out. */
export function isListening(origin: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = openSocket({ ...endOf(origin), timeout: ACCEPT_TIMEOUT_MS });
    const settle = (isOpen: boolean): void => {
      socket.destroy();
      resolve(isOpen);
    };
    socket.once("connect", () => settle(true));
    socket.once("timeout", () => settle(false));
    socket.on("error", () => settle(false));
  });
}

/**
 * Why a server that speaks TLS 1.3 ended a connection: it refuses a client certificate only after the handshake,
 * and the reset that follows can overtake its alert. Without a request on the way the alert arrives.
 *
 * @returns nothing where the server takes the certificate, or does not say
 */
export function alertOf(identity: Identity | undefined, origin: string): Promise<Error | undefined> {
  if (identity === undefined) return Promise.resolve(undefined);
  const { host, port } = endOf(origin);
  return new Promise((resolve) => {
    const socket = connect({
      ...tlsOptions(identity),
      host,
      port,
      ...(isIP(host) ? {} : { servername: host }),
    });
    const settle = (error?: Error): void => {
      clearTimeout(timer);
      socket.destroy();
      resolve(error);
    };
    const timer = setTimeout(settle, ALERT_TIMEOUT_MS);
    // A session ticket means that the certificate was taken.
    socket.once("session", () => settle());
    socket.on("error", settle);
    socket.once("close", () => settle());
  });
}
