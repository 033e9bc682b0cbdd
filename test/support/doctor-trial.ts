import type { ExtensionCommandContext } from "@earendil-works/pi-coding-agent";
import type { Finding } from "../../admin/doctor/finding.ts";
import { permittedTrial, type Trial } from "../../admin/doctor/model/permission.ts";
import { model } from "../../admin/doctor/model.ts";
import { openVisit } from "../../admin/doctor/visit.ts";
import type { AiServer } from "../../provider/ai-server.ts";
import { User } from "./command-user.ts";

interface Pi {
  readonly aiServer: AiServer;
  contextOf(user: User): ExtensionCommandContext;
}

/**
 * What the doctor's trial of a model finds, by check; the groups before it are left out.
 *
 * @param user who is asked; by default there is none
 * @param given a trial that was permitted before
 */
export async function tried(
  pi: Pi,
  id: string,
  user = new User("json"),
  given?: Trial,
): Promise<Record<string, Finding>> {
  const { signal } = new AbortController();
  const waiting = { signal, say: () => {}, ask: <T>(dialog: () => Promise<T>) => dialog() };
  const call = { aiServer: pi.aiServer, ctx: pi.contextOf(user), argument: "", ended: signal, waiting };
  const visit = await openVisit(call, given ?? (await permittedTrial(call, id)), signal);
  const found: Record<string, Finding> = {};
  for await (const finding of model.examine(visit)) found[finding.check] = finding;
  await visit.close();
  return found;
}

/** What it blames the model, its server or the way for. */
export function blamed(found: Record<string, Finding>): Finding[] {
  return Object.values(found).filter(({ verdict }) => verdict === "warning" || verdict === "fault");
}

/** The lines of the trial in what the whole command has shown. */
export function trialPart(shown: string): string {
  return /^The model\n(.*?)\n\n/ms.exec(shown)?.[1] ?? "";
}
