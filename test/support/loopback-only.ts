import type { LookupAddress, LookupOptions } from "node:dns";
import { type LookupFunction, Socket } from "node:net";
import { delimiter, join } from "node:path";
import { isLoopback } from "./environment.ts";

type Options = { host?: string | undefined; path?: string | undefined; lookup?: LookupFunction | undefined };
type LookupCallback = (
  error: NodeJS.ErrnoException | null,
  address: string | LookupAddress[],
  family?: number,
) => void;

/**
 * Makes every TCP connection of this process to anything but this machine throw, before a packet is sent.
 *
 * Names are never sent to a resolver: `*.invalid` fails as an unknown name does, a name that comes with its
 * own `lookup` may resolve to loopback, every other name is refused.
 */
export function installLoopbackGuard(): void {
  const connect = Socket.prototype.connect as (this: Socket, ...args: unknown[]) => Socket;
  if (guarded in connect) return;
  const replacement = function (this: Socket, ...args: unknown[]): Socket {
    return connect.apply(this, checkedArguments(args));
  };
  Socket.prototype.connect = Object.assign(replacement, {
    [guarded]: true,
  }) as typeof Socket.prototype.connect;
}

/** The same for the programs that a test starts: an `ssh` that would leave this machine refuses. */
export function guardSsh(): void {
  const folder = join(import.meta.dirname, "guarded");
  const { PATH = "" } = process.env;
  if (!PATH.startsWith(folder)) process.env.PATH = `${folder}${delimiter}${PATH}`;
}

const guarded = Symbol.for("loopback guard");

/** `connect` takes (options), (port, host), (path), and from node's own code one already normalised array. */
function checkedArguments(args: unknown[]): unknown[] {
  const [first, second] = args;
  if (Array.isArray(first)) {
    first[0] = checkedOptions(first[0] as Options);
    return args;
  }
  if (typeof first === "object" && first !== null)
    return [checkedOptions(first as Options), ...args.slice(1)];
  if (isPort(first) && typeof second === "string") {
    const rest = args.slice(2);
    return [checkedOptions({ host: second, port: Number(first) } as Options), ...rest];
  }
  return args;
}

function isPort(value: unknown): boolean {
  return typeof value === "number" || (typeof value === "string" && /^\d+$/.test(value));
}

function checkedOptions(options: Options): Options {
  const { host, path, lookup } = options;
  // A TLS socket over an existing one has no host of its own; a path is a Unix socket.
  if (path !== undefined || host === undefined || isLoopback(host)) return options;
  if (host.endsWith(".invalid")) return Object.assign(options, { lookup: unknownName });
  if (lookup && !/^[\d.]+$|:/.test(host)) return Object.assign(options, { lookup: loopbackLookup(lookup) });
  throw new Error(`A test tried to connect to ${host}; tests may connect to this machine only.`);
}

function unknownName(hostname: string, _options: LookupOptions, callback: LookupCallback): void {
  const error = Object.assign(new Error(`getaddrinfo ENOTFOUND ${hostname}`), {
    code: "ENOTFOUND",
    errno: -3008,
    syscall: "getaddrinfo",
    hostname,
  });
  process.nextTick(callback, error, "", 0);
}

function loopbackLookup(lookup: LookupFunction): LookupFunction {
  return (hostname, options, callback) => {
    lookup(hostname, options, (error, address, family) => {
      const found = typeof address === "string" ? [address] : (address ?? []).map((entry) => entry.address);
      const outside = found.find((entry) => !isLoopback(entry));
      if (error || outside === undefined) callback(error, address, family);
      else
        callback(new Error(`A test resolved ${hostname} to ${outside}, which is not this machine.`), "", 0);
    });
  };
}
