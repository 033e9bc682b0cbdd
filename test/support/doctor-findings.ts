import type { Place } from "./command-place.ts";
import { User } from "./command-user.ts";

export interface ShownFinding {
  group: string;
  check: string;
  subject: string;
  verdict: string;
  seen: string;
  next: string | null;
  fixable: boolean;
}

/** What a visit of the doctor finds, by check; of several findings of one check the worst. */
export async function findings(
  place: Pick<Place, "type">,
  argument = "",
): Promise<Record<string, ShownFinding>> {
  const list = await allFindings(place, argument);
  const order = ["fault", "warning", "ok", "unchecked"];
  const best = list.toSorted((a, b) => order.indexOf(b.verdict) - order.indexOf(a.verdict));
  return Object.fromEntries(best.map((finding) => [finding.check, finding]));
}

/** The same as a list, in the order in which they are shown. */
export async function allFindings(place: Pick<Place, "type">, argument = ""): Promise<ShownFinding[]> {
  const user = await place.type(`/ai-server-doctor ${argument}`, new User("json").readsOutput());
  const [answer] = user.objects;
  if (!Array.isArray(answer?.findings)) throw new Error(`No findings: ${user.everything}`);
  return answer.findings;
}
