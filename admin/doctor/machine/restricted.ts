/** What a key that may only run ai-server-admin shows of the machine. */
import { ServerError, sentenceOf } from "../../../lib/errors.ts";
import type { Host } from "../../host-access.ts";
import { type Finding, fault, ok, unchecked } from "../finding.ts";

/** @throws the signal's reason */
export async function* restricted(host: Host, signal: AbortSignal): AsyncIterable<Finding> {
  yield await restrictedUnit(host, signal);
  yield await restrictedJournal(host, signal);
  const why = "the restricted key does not show enabling, lingering, disks, backups and memory";
  yield unchecked("machine", "The rest of the machine", why);
}

async function restrictedUnit({ machine }: Host, signal: AbortSignal): Promise<Finding> {
  const subject = "Unit";
  const { problem, activeState, subState, hasRestartCommand } = await machine.status(signal);
  if (hasRestartCommand)
    return unchecked("unit", subject, "restart_command in ai-server-admin takes its place");
  if (problem !== undefined) return fault("unit", subject, problem, "Correct it on the server.");
  const seen = `${activeState} (${subState})`;
  if (activeState === "active") return ok("unit-running", subject, seen);
  return fault(
    "unit-running",
    subject,
    seen,
    "/ai-server-restart starts it; /ai-server-logs shows why it ended.",
  );
}

async function restrictedJournal({ machine }: Host, signal: AbortSignal): Promise<Finding> {
  const subject = "Journal";
  try {
    await machine.logs(1, signal);
    return ok("journal", subject, "can be read");
  } catch (error) {
    if (!(error instanceof ServerError)) throw error;
    return fault("journal", subject, sentenceOf(error), "See docs/troubleshooting.md.");
  }
}
