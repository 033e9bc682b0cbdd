/** The login over ssh. */
import type { FirstCall } from "../../../host/ssh/shell.ts";
import { HostError } from "../../../host/ssh/ssh-faults.ts";
import { spent } from "../../../lib/figures.ts";
import type { Host } from "../../host-access.ts";
import { type Finding, fault, ok } from "../finding.ts";

const SUBJECT = "Login over ssh";

interface LoginSeen {
  isOpen: boolean;
  findings: readonly Finding[];
}

/** @throws the signal's reason */
export async function login({ examiner, config }: Host, signal: AbortSignal): Promise<LoginSeen> {
  const host = config.sshHost ?? "";
  try {
    const first = await examiner.reach(signal);
    if (host === "local") {
      return { isOpen: true, findings: [ok("ssh", SUBJECT, "not needed: the server is this machine")] };
    }
    return { isOpen: true, findings: [reached(host, first, examiner.isDirect), startupFiles(first)] };
  } catch (error) {
    if (!(error instanceof HostError)) throw error;
    // Its sentence names the cause and what to do; with -v, ssh shows each of its steps.
    const next = `Try it in a terminal until it asks and prints nothing: ssh -o BatchMode=yes ${host} true`;
    return { isOpen: false, findings: [fault("ssh", SUBJECT, error.message, next)] };
  }
}

function reached(host: string, { ms }: FirstCall, isDirect: boolean): Finding {
  const key = isDirect ? "" : "; its key may only run ai-server-admin (AI_SERVER_SSH_MODE=wrapper)";
  return ok("ssh", SUBJECT, `${host} is known and answered within ${spent(ms)}${key}`);
}

/** What they print stands before the answer, and is left out. */
function startupFiles({ noise }: FirstCall): Finding {
  const subject = "Startup files";
  if (noise === "") return ok("startup-files", subject, "print nothing before a command");
  const words = noise.length > 60 ? `${noise.slice(0, 59)}…` : noise;
  return ok(
    "startup-files",
    subject,
    `print “${words}” before each command; that does no harm here, but scp and rsync may fail over it`,
  );
}
