import { type Place, startPlace } from "./command-place.ts";
import { configFindings } from "./doctor-client.ts";
import type { ShownFinding } from "./doctor-findings.ts";

/** One model `a` with this command, and more lines of its own. */
export const oneModel = (command: string, more = "", top = ""): string =>
  `${top}models:\n  a:\n    cmd: ${JSON.stringify(command)}\n${more}`;

export const RUN = "llama-server --port ${PORT} -m /m/a.gguf";

/** What the config group finds in a file that the server has not read. */
export async function foundIn(
  text: string,
  prepare: (place: Place) => unknown = () => {},
): Promise<ShownFinding[]> {
  const place = await startPlace();
  place.text = text;
  await prepare(place);
  return configFindings(place);
}

export function bad(found: readonly ShownFinding[]): ShownFinding[] {
  return found.filter(({ verdict }) => verdict === "warning" || verdict === "fault");
}

export const of = (found: readonly ShownFinding[], check: string): ShownFinding[] =>
  found.filter((finding) => finding.check === check);
