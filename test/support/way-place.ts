/** What the doctor finds on the way to a server, and a proxy on that way with a fault. */
import {
  type ClientRequestArgs,
  request as httpRequest,
  type IncomingMessage,
  type ServerResponse,
} from "node:http";
import type { ServerOptions } from "node:https";
import { vi } from "vitest";
import type { Call } from "../../admin/call.ts";
import type { Finding } from "../../admin/doctor/finding.ts";
import { Visit } from "../../admin/doctor/visit.ts";
import { wayThrough } from "../../admin/doctor/way.ts";
import { readConfig, type Variables } from "../../config.ts";
import { NETWORK, type Network } from "../../server/http/reach.ts";
import { ModelServer } from "../../server/model-server.ts";
import { httpsServer, kept, type WireServer } from "./wire.ts";

export interface Way {
  readonly list: readonly Finding[];
  /** By check; of several the last. */
  readonly found: Readonly<Record<string, Finding>>;
  readonly outOfReach: string | undefined;
}

interface WayOptions {
  network?: Partial<Network>;
  /** Of the requests that are tried: the real ones take a busy machine seconds. */
  sizes?: readonly number[];
  signal?: AbortSignal;
}

const SMALL = [1024];
const NEVER = new AbortController().signal;

/** @param env the variables that lead to the server */
export async function wayOf(
  env: Variables,
  { network = {}, sizes = SMALL, signal = NEVER }: WayOptions = {},
): Promise<Way> {
  const server = await kept(new ModelServer(readConfig(env, {}, "/nowhere")));
  // The way needs nothing of the command.
  const call = {} as Call;
  const visit = new Visit({ call, server, stored: {}, trial: undefined, signal });
  const list: Finding[] = [];
  for await (const finding of wayThrough({ ...NETWORK, ...network }, sizes).examine(visit))
    list.push(finding);
  const found = Object.fromEntries(list.map((finding) => [finding.check, finding]));
  return { list, found, outOfReach: visit.outOfReach };
}

/** The findings that are neither in order nor unchecked. */
export function problems({ list }: Pick<Way, "list">): Finding[] {
  return list.filter(({ verdict }) => verdict === "warning" || verdict === "fault");
}

export interface ProxyFaults {
  /** What becomes of the date of an answer. */
  date?: (date: Date) => Date;
  /** Hands over an answer when it is whole. */
  buffers?: boolean;
  /** Bytes of the largest request that passes, and what becomes of a larger one. */
  most?: { bytes: number; larger: "413" | "cut" };
  /** Closes a stream of events after its first piece. */
  cutsEvents?: boolean;
  /** Sends a comment before every event. */
  comments?: boolean;
}

/** A proxy with TLS in front of a server of plain HTTP; closed with the test. */
export function faultyProxy(
  tls: ServerOptions,
  target: { port: number },
  faults: ProxyFaults,
): Promise<WireServer> {
  return kept(
    httpsServer({ ...tls, requestCert: true, rejectUnauthorized: true }, (request, response) => {
      const { most } = faults;
      if (most && Number(request.headers["content-length"] ?? 0) > most.bytes) refuse(response, most.larger);
      else pass(request, response, { host: "127.0.0.1", port: target.port }, faults);
    }),
  );
}

function refuse(response: ServerResponse, how: "413" | "cut"): void {
  if (how === "cut") response.socket?.destroy();
  else response.writeHead(413, { connection: "close" }).end();
}

function pass(
  request: IncomingMessage,
  response: ServerResponse,
  target: ClientRequestArgs,
  { date, buffers = false, cutsEvents = false, comments = false }: ProxyFaults,
): void {
  const { method, url, headers } = request;
  const onward = httpRequest({ ...target, method, path: url, headers }, (answer) => {
    const given = date === undefined ? {} : { date: date(new Date()).toUTCString() };
    const isStream = /event-stream/.test(answer.headers["content-type"] ?? "");
    const begin = (): void => {
      response.writeHead(answer.statusCode ?? 500, { ...answer.headers, ...given });
      if (isStream && comments) response.write(": ping\n\n");
    };
    const pieces: Buffer[] = [];
    if (!buffers) begin();
    answer.on("data", (piece: Buffer) => {
      if (buffers) pieces.push(piece);
      else response.write(piece);
      if (isStream && cutsEvents) answer.destroy();
    });
    answer.on("close", () => {
      if (buffers && !response.destroyed) begin();
      response.end(Buffer.concat(pieces));
    });
    answer.on("error", () => {});
  });
  onward.on("error", () => response.destroy());
  response.on("close", () => onward.destroy());
  request.pipe(onward);
}

/** Waits until the server's models answer: one that loads when it starts refuses until then. */
export async function isAnswering(env: Variables): Promise<void> {
  const server = await kept(new ModelServer(readConfig(env, {}, "/nowhere")));
  await vi.waitFor(() => server.discover(new Map()), { timeout: 15_000 });
}
