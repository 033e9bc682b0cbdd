/** A first answer: whether this laptop is admitted, whether the server answers, and what its clock says. */
import { ServerError, sentenceOf } from "../../../lib/errors.ts";
import { duration } from "../../../lib/figures.ts";
import { parsed, record } from "../../../lib/json.ts";
import { ANSWER_TIMEOUT_MS } from "../../../server/http/access.ts";
import { answerFault } from "../../../server/http/answer-faults.ts";
import { ERROR_BYTES, readText } from "../../../server/http/http.ts";
import { type Finding, fault, ok, unchecked, warning } from "../finding.ts";
import type { Visit } from "../visit.ts";
import { milliseconds } from "./addresses.ts";

const WARN_MS = 30_000;
const FAULT_MS = 300_000;

/** What guards the server answers so to a client whose certificate it does not take: 400 is nginx's. */
const NOT_ADMITTED = new Set([400, 403, 495, 496]);

export interface Answered {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  /** Unix times in milliseconds. */
  readonly sentAt: number;
  readonly receivedAt: number;
}

/** @returns undefined where the model server does not answer, which `outOfReach` then says */
export async function* answer(visit: Visit): AsyncGenerator<Finding, Answered | undefined> {
  const { config, server, signal } = visit;
  const path = config.modelsPath;
  let answered: Answered & { text: string };
  try {
    answered = await ask(visit, path);
  } catch (error) {
    signal.throwIfAborted();
    visit.outOfReach = sentenceOf(error);
    const isTls = error instanceof ServerError && error.link === "TLS";
    const next = isTls
      ? "Compare the CA in client_auth of the Caddyfile with the one that signed this laptop's certificate; /ai-server-devices enrol makes a new pair."
      : "Look at Caddy's log on its host: journalctl -u caddy -n 50";
    yield isTls
      ? fault("client-certificate", "Client certificate", visit.outOfReach, next)
      : fault("answer", "Answer", visit.outOfReach, next);
    return undefined;
  }
  const { status, text, sentAt, receivedAt } = answered;
  const refusal = (): string => sentenceOf(answerFault(status, text, config.basePath + path));
  if (NOT_ADMITTED.has(status)) {
    visit.outOfReach = refusal();
    const next = "Look at client_auth and at the other rules of this site in the Caddyfile (docs/caddy.md).";
    yield fault("client-certificate", "Client certificate", visit.outOfReach, next);
    return undefined;
  }
  const how = server.http.isTls ? "this laptop's is admitted" : "not needed: plain HTTP to this machine";
  yield ok("client-certificate", "Client certificate", how);
  if (isFromProxy(status, text)) {
    visit.outOfReach = refusal();
    const next =
      "On the AI server, see whether the unit runs (systemctl --user status), and compare its port with reverse_proxy in the Caddyfile.";
    yield fault("answer", "Answer", visit.outOfReach, next);
    return undefined;
  }
  yield ok("answer", "Answer", `${path} after ${milliseconds(receivedAt - sentAt)} (HTTP ${status})`);
  return answered;
}

async function ask({ server, signal }: Visit, path: string): Promise<Answered & { text: string }> {
  const limit = AbortSignal.timeout(ANSWER_TIMEOUT_MS);
  try {
    const stop = AbortSignal.any([signal, limit]);
    const sentAt = Date.now();
    const { status, headers, body } = await server.http.request({ method: "GET", path, signal: stop });
    const receivedAt = Date.now();
    return { status, headers, sentAt, receivedAt, text: await readText(body, ERROR_BYTES) };
  } catch (error) {
    if (signal.aborted || !limit.aborted) throw error;
    throw new ServerError(
      `The server did not answer ${path} within ${duration(ANSWER_TIMEOUT_MS)} (timed out). It may be busy or stuck.`,
      { link: "server", remedy: "retry", cause: error },
    );
  }
}

/** Whether it is what stands before the model server that answers: a llama-server that loads answers 503 in JSON. */
function isFromProxy(status: number, text: string): boolean {
  if ((status >= 300 && status < 400) || status === 421) return true;
  return [502, 503, 504].includes(status) && record(parsed(text)) === undefined;
}

/** This laptop's clock beside the server's. */
export function clock({ server }: Visit, answered: Answered): Finding {
  const check = "clock";
  const subject = "Clock";
  if (!server.http.isTls) return ok(check, subject, "the server is on this machine");
  const { headers, sentAt, receivedAt } = answered;
  const date = Date.parse(headers.date ?? "");
  if (Number.isNaN(date)) return unchecked(check, subject, "the server's answer has no date");
  return clockFinding(aheadMs(date, sentAt, receivedAt));
}

/**
 * By how much the server's clock is ahead of this one at least, in milliseconds; negative where it is behind.
 *
 * @param date of the answer, in whole seconds; the server wrote it between `sentAt` and `receivedAt`
 */
export function aheadMs(date: number, sentAt: number, receivedAt: number): number {
  const least = date - receivedAt;
  const most = date + 999 - sentAt;
  if (least > 0) return least;
  return Math.min(most, 0);
}

export function clockFinding(ahead: number): Finding {
  const check = "clock";
  const subject = "Clock";
  const off = Math.abs(ahead);
  if (off < 1000) return ok(check, subject, "it agrees with the server's to the second");
  const seen = `it is ${duration(off)} ${ahead > 0 ? "behind" : "ahead of"} the server's`;
  if (off <= WARN_MS) return ok(check, subject, seen);
  const next =
    "Compare both machines with: date -u. Turn on time synchronisation where it is wrong: timedatectl set-ntp true";
  const why = "certificates are checked by the clock";
  return (off > FAULT_MS ? fault : warning)(check, subject, `${seen}; ${why}`, next);
}
