import type { IncomingHttpHeaders } from "node:http";
import { Agent } from "undici";
import type { ServerAddress } from "../../config.ts";
import { abortable } from "../../lib/clock.ts";
import { codeOf, ServerError } from "../../lib/errors.ts";
import { wholeSeconds } from "../../lib/figures.ts";
import { answerFault } from "./answer-faults.ts";
import { decodedBody } from "./content-encoding.ts";
import { type Body, exchange } from "./exchange.ts";
import { type Identity, loadIdentity, stampOf } from "./identity.ts";
import { type Conversation, NO_CONVERSATION, SESSION_HEADER, sessionHeader } from "./session-header.ts";
import { alertOf, connectorFor, isListening, type Sockets } from "./tls.ts";
import { transportFault } from "./transport-faults.ts";

/** Bytes of a JSON answer that are read at most; a list of thousands of models stays far below. */
const MAX_JSON_BYTES = 8 * 1024 * 1024;

/** Bytes of an error's body that are read at most. */
export const ERROR_BYTES = 64 * 1024;

/**
 * How long an idle connection is kept, in milliseconds: longer than a user reads an answer. A server that closes
 * earlier is noticed when it does.
 */
const KEEP_ALIVE_MS = 600_000;

export interface HttpRequest {
  method: "GET" | "POST" | "DELETE";
  /** Route from the server's root, query included; `AI_SERVER_URL`'s own path is put before it. */
  path: string;
  body?: string;
  headers?: Record<string, string>;
  signal?: AbortSignal | undefined;
  /** Whether the answer is a stream for a terminal: its pieces may come up to 8 ms late, many at once. */
  isPaced?: boolean;
}

export interface HttpResponse {
  status: number;
  headers: Record<string, string>;
  body: Body;
}

interface Connection {
  agent: Agent;
  identity: Identity | undefined;
}

/** Codes of a connection that ended before a byte of the answer came, as when the server closed it while idle. */
const LOST_CONNECTION = new Set(["UND_ERR_SOCKET", "ECONNRESET", "EPIPE"]);

/** Of an open connection, that its other end answered no probe; of a new one, that it was not made. */
const NO_REPLY = "ETIMEDOUT";

/** What Caddy answers in the place of a server that it does not reach. */
const FROM_PROXY = new Set([502, 503, 504]);

/**
 * The one way to the server: HTTP/1.1 over mutual TLS on kept-alive connections, or plain HTTP to this machine.
 * Only the configured CA is trusted, redirects are not followed, proxy variables are not read and no global
 * dispatcher is touched.
 */
export class Http {
  readonly #address: ServerAddress;
  readonly #now: () => number;
  readonly #conversation: () => Conversation;
  #connection: Promise<Connection> | undefined;
  #stamp = "";
  #keepAliveMs = KEEP_ALIVE_MS;
  /** Connections of replaced certificates, which may still carry a stream. */
  readonly #retired = new Set<Agent>();
  readonly #sockets: Sockets = { connecting: 0, open: new Set(), failed: new WeakMap() };
  #hasAnswered = false;

  /** @param conversation to which requests belong that name none themselves */
  constructor(
    address: ServerAddress,
    now: () => number = Date.now,
    conversation: () => Conversation = () => NO_CONVERSATION,
  ) {
    this.#address = address;
    this.#now = now;
    this.#conversation = conversation;
  }

  /** Whether the server itself has answered since this was made. */
  get hasAnswered(): boolean {
    return this.#hasAnswered;
  }

  /** Whether it is TLS, and not plain HTTP to this machine. */
  get isTls(): boolean {
    return this.#address.origin.startsWith("https:");
  }

  /**
   * The checked certificates, read again when a file changed; undefined for plain HTTP.
   *
   * @throws {ServerError} of link `certificates`
   */
  async identity(): Promise<Identity | undefined> {
    return (await this.#connect()).identity;
  }

  async #connect(): Promise<Connection> {
    const stamp = this.isTls ? await stampOf(this.#address) : "plain";
    if (this.#connection === undefined || this.#stamp !== stamp) {
      const previous = this.#connection;
      const opened = this.#open();
      this.#connection = opened;
      this.#stamp = stamp;
      // A failure is not kept: changed rights repair it without changing the stamp.
      opened.catch(() => {
        if (this.#connection === opened) this.#connection = undefined;
      });
      previous?.then(
        ({ agent }) => this.#retire(agent),
        () => undefined,
      );
    }
    return this.#connection;
  }

  async #open(): Promise<Connection> {
    const identity = this.isTls ? await loadIdentity(this.#address, this.#now()) : undefined;
    return this.#connectionFor(identity);
  }

  #connectionFor(identity: Identity | undefined): Connection {
    const agent = new Agent({
      connect: connectorFor(identity, this.#address.connectTimeoutMs, this.#sockets),
      allowH2: false,
      keepAliveTimeout: this.#keepAliveMs,
      keepAliveMaxTimeout: this.#keepAliveMs,
      // A load or a long prompt sends nothing for minutes: the callers time, and know why they do.
      headersTimeout: 0,
      bodyTimeout: 0,
    });
    return { agent, identity };
  }

  #retire(agent: Agent): void {
    this.#retired.add(agent);
    void agent.close().finally(() => this.#retired.delete(agent));
  }

  /**
   * Sends one request and returns as soon as the answer's headers are there. A request that met an idle connection
   * which the server had just closed is sent again once, if no byte came; a POST may then have been received twice.
   *
   * @throws {ServerError} of link `configuration` to `TLS`; the signal's reason when it was aborted
   */
  async request(request: HttpRequest): Promise<HttpResponse> {
    const { open, failed } = this.#sockets;
    for (let isAgain = false; ; isAgain = true) {
      // Read each time: connections may have been renewed, and the agent of the first request would take no more.
      const { agent, identity } = await this.#connect();
      // An answer is whole before the next request goes out: what is read from now on answers this one.
      const read = new Map([...open].map((socket) => [socket, socket.bytesRead]));
      try {
        return await this.#send(agent, request);
      } catch (error) {
        const socket = error instanceof Error ? failed.get(error) : undefined;
        const wasIdle = socket !== undefined && read.get(socket) === socket.bytesRead;
        const isLost = LOST_CONNECTION.has(codeOf(error)) || codeOf(error) === NO_REPLY;
        if (isAgain || request.signal?.aborted || !wasIdle || !isLost)
          throw await this.#fault(error, request, identity);
      }
    }
  }

  async #fault(error: unknown, request: HttpRequest, identity: Identity | undefined): Promise<unknown> {
    if (request.signal?.aborted) return request.signal.reason;
    const isLost = LOST_CONNECTION.has(codeOf(error));
    const refusal = isLost
      ? await abortable(alertOf(identity, this.#address.origin), request.signal)
      : undefined;
    return this.#transportFault(refusal ?? error, this.#address, request.signal);
  }

  /** @param address with the limit that a sentence may name */
  async #transportFault(
    error: unknown,
    address: ServerAddress,
    signal: AbortSignal | undefined,
  ): Promise<ServerError> {
    const isSilent =
      this.isTls &&
      codeOf(error) === "UND_ERR_CONNECT_TIMEOUT" &&
      (await abortable(isListening(address.origin), signal));
    const fault = isSilent
      ? Object.assign(new Error("handshake timeout", { cause: error }), { code: "ERR_TLS_HANDSHAKE_TIMEOUT" })
      : error;
    return transportFault(fault, address);
  }

  async #send(agent: Agent, request: HttpRequest): Promise<HttpResponse> {
    request.signal?.throwIfAborted();
    const { origin, basePath, apiKey } = this.#address;
    const conversation = this.#conversation();
    const asked: Record<string, string> = {
      accept: "application/json, text/event-stream",
      ...sessionHeader(conversation.session),
      ...request.headers,
    };
    if (request.body !== undefined) asked["content-type"] = "application/json";
    if (apiKey !== undefined) asked.authorization = `Bearer ${apiKey}`;
    const {
      statusCode,
      headers: received,
      body,
    } = await exchange(
      agent,
      {
        origin,
        path: basePath + request.path,
        method: request.method,
        headers: asked,
        body: request.body ?? null,
      },
      { signal: request.signal, isPaced: request.isPaced ?? false },
    );
    if (!FROM_PROXY.has(statusCode)) this.#hasAnswered = true;
    const headers = flatten(received);
    if (asked[SESSION_HEADER] === conversation.session) conversation.sawHeaders(headers);
    const plain = decodedBody(body, headers["content-encoding"]);
    return { status: statusCode, headers, body: statusCode === 200 ? plain : this.#blanked(plain) };
  }

  /** What an error says without the user's own secrets, before anything is made of it. */
  #blanked(body: Body): Body {
    const { apiKey, passphrase } = this.#address;
    if (apiKey === undefined && passphrase === undefined) return body;
    async function* blanked(): AsyncGenerator<Uint8Array> {
      const { blankedBody, blankerOf } = await import("../../masking/own-secrets.ts");
      const text = await readText(body, ERROR_BYTES);
      yield Buffer.from(blankedBody(text, blankerOf({ apiKey, passphrase })));
    }
    return Object.assign(blanked(), { destroy: () => body.destroy() });
  }

  /**
   * Reads a JSON answer.
   *
   * @returns the parsed value, of any shape: the caller checks it
   * @throws {ServerError} also for a status other than 200 and for what is not JSON
   */
  async json(
    path: string,
    options: { signal?: AbortSignal | undefined; timeoutMs: number; body?: string },
  ): Promise<unknown> {
    // Read once: what is left of a longer limit gets less with each look.
    const { timeoutMs } = options;
    const limit = AbortSignal.timeout(timeoutMs);
    const signal = options.signal ? AbortSignal.any([options.signal, limit]) : limit;
    try {
      const { body } = options;
      const asked = body === undefined ? ({ method: "GET" } as const) : ({ method: "POST", body } as const);
      const response = await this.request({ ...asked, path, signal });
      const text = await readText(response.body, response.status === 200 ? MAX_JSON_BYTES : ERROR_BYTES);
      if (response.status !== 200) throw answerFault(response.status, text, this.#address.basePath + path);
      try {
        return JSON.parse(text);
      } catch (error) {
        throw new ServerError(
          `The server's answer to ${path} is not JSON. Check that AI_SERVER_URL leads to the model server.`,
          { link: "server", remedy: "none", status: response.status, cause: error },
        );
      }
    } catch (error) {
      if (limit.aborted && !options.signal?.aborted && !(error instanceof ServerError)) {
        if (this.#sockets.connecting > 0) throw await this.#notConnected(timeoutMs, error, options.signal);
        throw new ServerError(
          `The server did not answer ${path} within ${wholeSeconds(timeoutMs)} (timed out). It may be busy or stuck.`,
          { link: "server", remedy: "retry", cause: error },
        );
      }
      if (options.signal?.aborted || error instanceof ServerError) throw error;
      throw transportFault(error, this.#address);
    }
  }

  /** The fault of a connection that was not made within a limit shorter than the one for connecting. */
  #notConnected(timeoutMs: number, cause: unknown, signal: AbortSignal | undefined): Promise<ServerError> {
    const timeout = Object.assign(new Error("connect timeout", { cause }), {
      code: "UND_ERR_CONNECT_TIMEOUT",
    });
    // The sentence names what is left of a limit as the limit.
    const connectTimeoutMs = Math.ceil(timeoutMs / 100) * 100;
    return this.#transportFault(timeout, { ...this.#address, connectTimeoutMs }, signal);
  }

  /**
   * Has every request from now on go over new connections; those of now end with the requests that they carry. For a
   * suspicion that they are dead, which an idle one does not show.
   */
  async renew(): Promise<void> {
    const before = this.#connection;
    const current = await before?.catch(() => undefined);
    if (current === undefined || this.#connection !== before) return;
    this.#connection = Promise.resolve(this.#connectionFor(current.identity));
    this.#retire(current.agent);
  }

  /** Closes every connection as soon as its request has ended; those too that what still runs opens after this. */
  async retire(): Promise<void> {
    this.#keepAliveMs = 1;
    const current = await this.#connection?.catch(() => undefined);
    this.#connection = undefined;
    if (current) this.#retire(current.agent);
  }

  /** Closes every connection at once, running requests too. Idempotent. */
  async close(): Promise<void> {
    const open = this.#connection;
    this.#connection = undefined;
    const current = await open?.catch(() => undefined);
    const agents = [...this.#retired, ...(current ? [current.agent] : [])];
    await Promise.all(agents.map((agent) => agent.destroy()));
  }
}

/** Header names in lower case; repeated headers joined as HTTP joins them. */
function flatten(headers: IncomingHttpHeaders): Record<string, string> {
  const flat: Record<string, string> = {};
  for (const [name, value] of Object.entries(headers)) {
    if (value !== undefined) flat[name] = Array.isArray(value) ? value.join(", ") : value;
  }
  return flat;
}

/** Reads a body as text, at most `limit` bytes; the connection of a longer one is closed. */
export async function readText(body: AsyncIterable<Uint8Array>, limit: number): Promise<string> {
  const pieces: Uint8Array[] = [];
  let size = 0;
  for await (const piece of body) {
    pieces.push(piece);
    size += piece.length;
    if (size >= limit) break;
  }
  return Buffer.concat(pieces).subarray(0, limit).toString("utf8");
}
