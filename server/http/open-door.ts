/** Whether a server lets in a client that shows no certificate. */
import type { ServerAddress } from "../../config.ts";
import { codeOf } from "../../lib/errors.ts";
import type { Http } from "./http.ts";
import type { Identity } from "./identity.ts";

/** For all of the look, in milliseconds. */
const LOOK_MS = 3000;

/** Statuses of a server that has let the request in; others may come from what guards it in another way. */
const LET_IN = new Set([200, 204, 401, 404, 405]);

/** Statuses with which a client without a certificate is sent away: 400 is nginx's. */
const SENT_AWAY = new Set([400, 403, 421, 495, 496]);

/** How a connection ends that a server closes for want of a certificate; with TLS 1.3 its alert may be overtaken. */
const CLOSED = /^(?:ERR_SSL_|EPROTO$|ECONNRESET$|EPIPE$|UND_ERR_SOCKET$)/;

/** What came of a request without a certificate. */
export type DoorState =
  | { readonly is: "open" /** Whether an API key keeps others out. */; readonly hasKey: boolean }
  | { readonly is: "shut" }
  | { readonly is: "unseen"; readonly why: string };

/** The door of one server, looked at once. */
export class OpenDoor {
  readonly #address: ServerAddress;
  readonly #http: Pick<Http, "identity">;
  #look: Promise<string[]> | undefined;

  constructor(address: ServerAddress, http: Pick<Http, "identity">) {
    this.#address = address;
    this.#http = http;
  }

  /**
   * What the user is to know of a server that asks for no client certificate, as a sentence; none where it asks for one,
   * where that cannot be seen, and for plain HTTP. Never throws.
   */
  warnings(signal: AbortSignal): Promise<string[]> {
    this.#look ??= this.#http
      .identity()
      .then((identity) => (identity === undefined ? [] : this.#sentences(identity, signal)))
      .catch(() => {
        // The session that asked has ended before the answer came.
        if (signal.aborted) this.#look = undefined;
        return [];
      });
    return this.#look;
  }

  async #sentences(identity: Identity, signal: AbortSignal): Promise<string[]> {
    const door = await lookAtDoor(this.#address, identity, signal);
    return door.is === "open" ? [`${openWords(this.#address, door)} ${HOW_TO_SHUT}`] : [];
  }
}

export const HOW_TO_SHUT =
  "Demand one with client_auth in the tls block of the Caddyfile, as docs/caddy.md shows.";

/** The sentence for a door that is open. */
export function openWords({ origin }: Pick<ServerAddress, "origin">, door: { hasKey: boolean }): string {
  const open = door.hasKey ? "only its API key keeps others out" : "anyone who can reach it can use it";
  return `${origin} asks for no client certificate: ${open}.`;
}

/**
 * A client that has a certificate does not see whether it was asked for. TLS 1.3 refuses only after the handshake, so that one
 * request is sent as well, without certificate and key, for what loads nothing and needs no model.
 *
 * @throws the signal's reason, and nothing else
 */
export async function lookAtDoor(
  address: ServerAddress,
  identity: Identity,
  signal: AbortSignal,
): Promise<DoorState> {
  const { origin, basePath, apiKey } = address;
  const { Client } = await import("undici");
  const client = new Client(origin, {
    connect: { ca: identity.ca, minVersion: "TLSv1.2", rejectUnauthorized: true, timeout: LOOK_MS },
    allowH2: false,
    headersTimeout: LOOK_MS,
  });
  try {
    const limit = AbortSignal.any([signal, AbortSignal.timeout(LOOK_MS)]);
    const { statusCode, body } = await client.request({
      path: `${basePath}/health`,
      method: "GET",
      signal: limit,
    });
    body.on("error", () => {});
    if (LET_IN.has(statusCode)) return { is: "open", hasKey: statusCode === 401 || apiKey !== undefined };
    if (SENT_AWAY.has(statusCode)) return { is: "shut" };
    return { is: "unseen", why: `a request without a certificate is answered with HTTP ${statusCode}` };
  } catch (error) {
    signal.throwIfAborted();
    if (CLOSED.test(codeOf(error))) return { is: "shut" };
    return { is: "unseen", why: "a request without a certificate gets no answer" };
  } finally {
    await client.destroy();
  }
}
