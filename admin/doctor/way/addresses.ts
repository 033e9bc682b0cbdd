/** DNS, and TCP over each family of addresses. */
import { isIP } from "node:net";
import { codeOf, sentenceOf } from "../../../lib/errors.ts";
import { wholeSeconds } from "../../../lib/figures.ts";
import {
  type Address,
  addressesOf,
  connectToEach,
  type Network,
  type Tried,
} from "../../../server/http/reach.ts";
import { endOf } from "../../../server/http/tls.ts";
import { transportFault } from "../../../server/http/transport-faults.ts";
import { type Finding, fault, ok, unchecked, warning } from "../finding.ts";
import type { Visit } from "../visit.ts";

/** Codes with which this machine's own network has no way to an address, as where it has no IPv6. */
const NO_ROUTE = /^(?:ENETUNREACH|EADDRNOTAVAIL|EAFNOSUPPORT)$/;

export async function* addresses(visit: Visit, network: Network): AsyncGenerator<Finding> {
  const { config, signal } = visit;
  const { host, port } = endOf(config.origin);
  let found: Address[];
  try {
    found = await addressesOf(config, signal, network);
  } catch (error) {
    signal.throwIfAborted();
    visit.outOfReach = sentenceOf(error);
    const next = `Compare with: getent hosts ${host}. A name of your home network exists only there, or over its VPN.`;
    yield fault("dns", "DNS", visit.outOfReach, next);
    return;
  }
  yield ok("dns", "DNS", isIP(host) ? `not needed: ${host} is an address` : namesWords(host, found));
  const tried = await connectToEach(config, found, signal, network);
  const [first] = tried;
  if (first !== undefined && "error" in first && tried.every((one) => "error" in one)) {
    const all = tried.map((one) => `${one.address}: ${refusalWords(one, config.connectTimeoutMs)}`);
    visit.outOfReach = sentenceOf(transportFault(first.error, config));
    const seen = tried.length === 1 ? visit.outOfReach : `${visit.outOfReach} (${all.join("; ")})`;
    const next = `On the Caddy host, see whether something listens at port ${port}: ss -ltn 'sport = :${port}'. If it does, look at the firewall and the router's port forwarding.`;
    yield fault("tcp", "TCP", seen, next);
    return;
  }
  for (const family of [4, 6] as const) {
    const own = tried.filter((one) => one.family === family);
    if (own.length > 0) yield familyFinding(own, { host, port, limitMs: config.connectTimeoutMs });
  }
}

function namesWords(host: string, found: readonly Address[]): string {
  const of = (family: 4 | 6): string => {
    const own = found.filter((one) => one.family === family).map(({ address }) => address);
    return own.length === 0 ? `no IPv${family} address` : `${own.join(", ")} (IPv${family})`;
  };
  return `${host} has ${of(4)} and ${of(6)}`;
}

/** The addresses of one family, where some address accepts connections. */
function familyFinding(
  tried: readonly Tried[],
  { host, port, limitMs }: { host: string; port: number; limitMs: number },
): Finding {
  const check = "tcp";
  const family = tried[0]?.family ?? 4;
  const subject = `TCP over IPv${family}`;
  const [refused] = tried.filter((one) => "error" in one);
  if (refused === undefined) {
    const times = tried.map((one) => `${one.address} after ${"ms" in one ? milliseconds(one.ms) : ""}`);
    return ok(check, subject, `port ${port} accepts connections: ${times.join(", ")}`);
  }
  const words = refusalWords(refused, limitMs);
  if (isLoopback(refused.address))
    return ok(check, subject, `${refused.address} ${words}; not needed on this machine`);
  if (NO_ROUTE.test(codeOf(refused.error)))
    return unchecked(check, subject, `this network has no way to ${refused.address}, and needs none`);
  const record = family === 6 ? "AAAA" : "A";
  return warning(
    check,
    subject,
    `${refused.address} is in DNS, but ${words}; each new connection may try it first`,
    `Let Caddy listen there and open the firewall, or remove the ${record} record of ${host}.`,
  );
}

function refusalWords(tried: Tried, limitMs: number): string {
  const code = "error" in tried ? codeOf(tried.error) : "";
  if (code === "ECONNREFUSED") return "refuses connections";
  if (code === "UND_ERR_CONNECT_TIMEOUT") return `does not answer within ${wholeSeconds(limitMs)}`;
  return `cannot be connected to (${code || "unknown reason"})`;
}

function isLoopback(address: string): boolean {
  return address === "::1" || address.startsWith("127.");
}

/** `12 ms`; what took less than one is one. */
export function milliseconds(ms: number): string {
  return `${Math.max(1, Math.round(ms))} ms`;
}
