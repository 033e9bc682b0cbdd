/** Whether the user's units run without a login. */
import { asking, type Finding, ok, unchecked, warning } from "../finding.ts";
import { onServer, type Site, withoutUnit } from "./site.ts";

import { onMachine } from "./unit-fixes.ts";

const CHECK = "linger";
const SUBJECT = "Lingering";

export function* lingering(site: Site): Iterable<Finding> {
  const { facts } = site;
  if (withoutUnit(site) !== undefined) return;
  if (facts.isLingering === true) {
    yield ok(CHECK, SUBJECT, `on: the units of ${facts.user} start with the machine`);
    return;
  }
  if (facts.isLingering === undefined) {
    yield unchecked(CHECK, SUBJECT, "the machine does not show it (no logind)");
    return;
  }
  const fix = asking(
    "enable lingering",
    {
      title: `Let the units of ${facts.user} run without a login?`,
      consequences: [
        "It runs loginctl enable-linger on the server. The server then starts with the machine.",
      ],
    },
    ["Leave it as it is", "Enable lingering"],
    (call) => onMachine(call, (examiner) => examiner.enableLingering(call.waiting.signal)),
  );
  const seen = `off: the server stops at the last logout of ${facts.user}, and does not start with the machine`;
  yield warning(CHECK, SUBJECT, seen, `${onServer(site)}: loginctl enable-linger`, fix);
}
