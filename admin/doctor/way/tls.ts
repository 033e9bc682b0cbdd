/** TLS as the server speaks it, and whether it asks for a client certificate. */
import { sentenceOf } from "../../../lib/errors.ts";
import { counted } from "../../../lib/figures.ts";
import { type Handshake, handshake } from "../../../server/http/handshake.ts";
import type { Identity } from "../../../server/http/identity.ts";
import { HOW_TO_SHUT, lookAtDoor, openWords } from "../../../server/http/open-door.ts";
import { type Finding, fault, ok, unchecked, warning } from "../finding.ts";
import type { Visit } from "../visit.ts";
import { milliseconds } from "./addresses.ts";

const WARN_DAYS = 14;
const DAY_MS = 86_400_000;
/** Of its life, what a certificate has left that is renewed in time: Caddy does it with a third left. */
const LEAST_SHARE = 0.25;

export async function* secured(visit: Visit): AsyncGenerator<Finding> {
  const { config, server, signal } = visit;
  if (!server.http.isTls) {
    const seen = `not needed: ${config.origin} is plain HTTP to this machine`;
    yield ok("tls", "TLS", seen);
    yield ok("client-certificate-demanded", "Client certificate demanded", seen);
    return;
  }
  let identity: Identity | undefined;
  try {
    identity = await server.http.identity();
  } catch (error) {
    visit.outOfReach = sentenceOf(error);
  }
  if (identity === undefined) {
    yield unchecked("tls", "TLS", "the certificates of this laptop cannot be used");
    return;
  }
  try {
    const made = await handshake(config, identity, signal);
    yield ok("tls", "TLS", `${made.protocol} after ${milliseconds(made.ms)}; ${trustWords(config.ca)}`);
    yield expiry(made, Date.now());
    yield ok("http-version", "HTTP version", `HTTP/1.1 is used; the server ${offerWords(made.alpn)}`);
  } catch (error) {
    signal.throwIfAborted();
    visit.outOfReach = sentenceOf(error);
    yield fault(
      "tls",
      "TLS",
      visit.outOfReach,
      "docs/certificates.md shows how to make and check the certificates.",
    );
    return;
  }
  yield await demand(visit, identity);
}

function trustWords(ca: string): string {
  return `the server's certificate fits its name and is signed by ${ca === "system" ? "a public CA" : `the CA in ${ca}`}`;
}

function offerWords(alpn: string | undefined): string {
  if (alpn === undefined) return "names no version (ALPN)";
  return alpn === "h2" ? "offers HTTP/2 as well" : `offers ${alpn.toUpperCase()}`;
}

/** Of the server's certificate. @param now Unix time in milliseconds */
function expiry({ validFrom, validTo }: Pick<Handshake, "validFrom" | "validTo">, now: number): Finding {
  const check = "server-certificate-expiry";
  const subject = "Server certificate";
  const leftMs = validTo.getTime() - now;
  const lifeMs = validTo.getTime() - validFrom.getTime();
  const seen = `it is valid until ${validTo.toISOString().slice(0, 10)}`;
  // One that lives for days or hours is renewed that often.
  if (leftMs >= WARN_DAYS * DAY_MS || leftMs >= LEAST_SHARE * lifeMs) return ok(check, subject, seen);
  return warning(
    check,
    subject,
    `${seen}, ${counted(Math.floor(leftMs / DAY_MS), "day")} more`,
    "Issue it again on the Caddy host, as docs/certificates.md shows, and reload Caddy. If Caddy renews it itself, its log says why it did not.",
  );
}

async function demand({ config, signal }: Visit, identity: Identity): Promise<Finding> {
  const check = "client-certificate-demanded";
  const subject = "Client certificate demanded";
  const door = await lookAtDoor(config, identity, signal);
  if (door.is === "shut") return ok(check, subject, "a request without one is refused");
  if (door.is === "unseen") return unchecked(check, subject, door.why);
  const make = door.hasKey ? warning : fault;
  return make(check, subject, openWords(config, door), HOW_TO_SHUT);
}
