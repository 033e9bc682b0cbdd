/** Processes that were ended because memory ran out. */
import type { Kill } from "../../../host/examine/facts.ts";
import { type Finding, ok, unchecked, warning } from "../finding.ts";
import type { Site } from "./site.ts";

const CHECK = "memory";
const SUBJECT = "Memory";

/** An older one says little about the models of today. */
const RECENT_MS = 7 * 86_400_000;

/** The kernel cuts names to 15 characters. */
const SERVERS = /^llama|^vllm|^koboldcpp|^ollama/;

export function* kills({ facts, host }: Site): Iterable<Finding> {
  const { kills: all, unitKill, now } = facts;
  const ours = [
    ...(all ?? []).filter(({ program = "" }) => SERVERS.test(program)),
    ...(unitKill ? [unitKill] : []),
  ];
  const last = latest(ours);
  if (last !== undefined) {
    const seen = `${named(last, host.config.serviceUnit)} was ended on ${when(last)}, because memory ran out`;
    const isRecent = last.date === undefined || now === undefined || +now - +last.date < RECENT_MS;
    const next = "/ai-server-ctx <id> max gives the model the largest context that fits.";
    yield isRecent ? warning(CHECK, SUBJECT, seen, next) : ok(CHECK, SUBJECT, seen);
    return;
  }
  if (all === undefined) {
    yield unchecked(
      CHECK,
      SUBJECT,
      `${facts.user} may not read the kernel's log, so it is unknown whether it ended a process`,
    );
    return;
  }
  const other = latest(all);
  yield ok(
    CHECK,
    SUBJECT,
    other === undefined
      ? "the kernel has ended no process to free memory since the machine started"
      : `the kernel ended ${named(other, "")} on ${when(other)} to free memory; it was no process of the server's`,
  );
}

function latest(all: readonly Kill[]): Kill | undefined {
  return all.toSorted((a, b) => Number(a.date ?? 0) - Number(b.date ?? 0)).at(-1);
}

function named({ program, pid }: Kill, unit: string): string {
  return program === undefined ? `a process of ${unit}` : `${program} (${pid})`;
}

function when({ date }: Kill): string {
  return date === undefined ? "an unknown day" : `${date.toISOString().slice(0, 16).replace("T", " ")} UTC`;
}
