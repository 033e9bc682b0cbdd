/** What passes between this laptop and the server: streams at once, large requests, quiet connections. */
import { sentenceOf } from "../../../lib/errors.ts";
import { binarySize, spent } from "../../../lib/figures.ts";
import { type BodySizes, tryBodySizes } from "../../../server/http/body-sizes.ts";
import { type StreamStart, WatchedStream } from "../../../server/http/watched-stream.ts";
import { type Finding, ok, unchecked, warning } from "../finding.ts";
import type { Visit } from "../visit.ts";
import { milliseconds } from "./addresses.ts";
import type { Answered } from "./answer.ts";

const FIRST_EVENT_MS = 5000;
/** A plain answer that takes longer says that the line is slow. */
const QUICK_MS = 2000;

const MIB = 1024 * 1024;
/** Of the requests that are tried, in bytes: the larger one is what a long session with pictures needs, and no more. */
export const SIZES: readonly number[] = [1 * MIB, 8 * MIB];
const SIZES_LIMIT_MS = 20_000;

/** The stream that is watched, or why there is none. */
type Events = WatchedStream | string;

/** Only llama-swap has a stream that begins with something. */
export async function watchEvents({ server, signal }: Visit): Promise<Events> {
  const { kind, name } = await server.backend(signal);
  if (kind === "llama-swap") return new WatchedStream(server.http, "/api/events", signal);
  return kind === "router"
    ? `${name} sends nothing on its stream until a model is loaded or unloaded; an answer shows it: /ai-server-doctor --model <id>`
    : `${name} streams nothing but answers; one shows it: /ai-server-doctor --model <id>`;
}

export async function* streams(events: Events, answered: Answered): AsyncGenerator<Finding> {
  if (typeof events === "string") {
    yield unchecked("stream", "Streams", events);
    return;
  }
  const start = await events.start(FIRST_EVENT_MS);
  yield streamFinding(start, answered.receivedAt - answered.sentAt);
  const comments = "Comments in streams";
  if (events.hasComment) yield ok("stream-comments", comments, "a comment line has passed");
  else yield unchecked("stream-comments", comments, "llama-swap sent none meanwhile");
}

/** @param plainMs how long an answer took that is no stream */
export function streamFinding({ status, headersMs, firstEventMs }: StreamStart, plainMs: number): Finding {
  const check = "stream";
  const subject = "Streams";
  if (firstEventMs !== undefined && headersMs !== undefined) {
    const seen = `headers after ${milliseconds(headersMs)}, the first event after ${milliseconds(firstEventMs)}`;
    return ok(check, subject, seen);
  }
  if (status !== undefined && status !== 200)
    return unchecked(check, subject, `this llama-swap has no stream of events (HTTP ${status})`);
  const what = headersMs === undefined ? "not even the headers" : "headers, but no event,";
  const limit = spent(FIRST_EVENT_MS);
  if (plainMs > QUICK_MS)
    return unchecked(check, subject, `${what} within ${limit}, but a plain answer took ${spent(plainMs)}`);
  return warning(
    check,
    subject,
    `${what} within ${limit}, though a plain answer took ${milliseconds(plainMs)}: something on the way holds streams back`,
    "Turn that off: response_buffers, buffer_responses and encode in the Caddyfile, proxy_buffering in an nginx. See Streaming in docs/caddy.md.",
  );
}

export async function bodySize(visit: Visit, sizes: readonly number[]): Promise<Finding> {
  const { server, signal } = visit;
  try {
    const { kind } = await server.backend(signal);
    // Its other requests are answered before a sleeping llama-server wakes; this one is not.
    if (kind === "llama-server" && (await visit.running())?.some(({ isAsleep }) => isAsleep))
      return unchecked("body-size", "Large requests", "the model sleeps, and one would wake it");
    return sizeFinding(await tryBodySizes(server.http, sizes, SIZES_LIMIT_MS, signal));
  } catch (error) {
    signal.throwIfAborted();
    return unchecked("body-size", "Large requests", sentenceOf(error));
  }
}

export function sizeFinding({ small, passed, refused, isSlow }: BodySizes): Finding {
  const check = "body-size";
  const subject = "Large requests";
  if (small === 401 || small === 403 || small === 429 || small >= 500)
    return unchecked(check, subject, `a small request is not read either (HTTP ${small})`);
  const passes = passed === undefined ? undefined : `a request of ${binarySize(passed)} passes`;
  if (refused === undefined) {
    if (passes !== undefined)
      return ok(check, subject, isSlow ? `${passes}; the line is too slow to try more` : passes);
    const limit = spent(SIZES_LIMIT_MS);
    return unchecked(check, subject, `the line is too slow for a large one within ${limit}`);
  }
  const how = refused.status === undefined ? "the connection is closed" : `HTTP ${refused.status}`;
  const size = binarySize(refused.bytes);
  const seen =
    passes === undefined
      ? `a request of ${size} does not pass (${how})`
      : `${passes}, one of ${size} does not (${how})`;
  const next =
    "Pictures and long sessions need more: raise request_body max_size in the Caddyfile, or leave it out (docs/caddy.md); in an nginx, client_max_body_size.";
  return warning(check, subject, seen, next);
}

/** What ends a quiet connection, as far as it shows within seconds. */
export function idleTime(events: Events, { headers }: Answered): Finding {
  const check = "idle";
  const subject = "Quiet connections";
  if (typeof events !== "string" && events.wasCut) {
    return warning(
      check,
      subject,
      `the stream of events was closed after ${spent(events.ageMs)}`,
      "llama-swap closes it only when it ends or reads its config again: look for a time-out in the Caddyfile (Streaming and timeouts in docs/caddy.md), and in other proxies on the way.",
    );
  }
  const kept = /(?:^|[,\s])timeout=(\d{1,6})/.exec(headers["keep-alive"] ?? "")?.[1];
  if (kept !== undefined)
    return ok(
      check,
      subject,
      `the server closes one after ${kept} s without a request, and says so (Keep-Alive)`,
    );
  const open = typeof events === "string" ? "" : `a stream stayed open for ${spent(events.ageMs)}; `;
  const seen = `${open}a longer limit does not show within seconds: see Streaming and timeouts in docs/caddy.md`;
  return unchecked(check, subject, seen);
}
