/** What is on the server's machine, seen over ssh: the login, the unit, disks, backups, the journal, memory. */
import { ServerError, sentenceOf } from "../../lib/errors.ts";
import type { Host } from "../host-access.ts";
import { type Finding, type Group, unchecked } from "./finding.ts";
import { kills } from "./machine/kills.ts";
import { lingering } from "./machine/lingering.ts";
import { login } from "./machine/login.ts";
import { restricted } from "./machine/restricted.ts";
import { disks, journal, lock, writable } from "./machine/room.ts";
import type { Site } from "./machine/site.ts";
import { unit } from "./machine/unit.ts";
import type { Visit } from "./visit.ts";

const CHECK = "machine";
const SUBJECT = "The machine";

export const machine: Group = {
  name: "machine",
  title: "The server's machine",
  async *examine(visit) {
    let host: Host;
    try {
      host = await visit.host();
    } catch (error) {
      // No ssh target, or a path that does not go with the server.
      if (!(error instanceof ServerError)) throw error;
      yield unchecked(CHECK, SUBJECT, sentenceOf(error));
      return;
    }
    yield* examined(visit, host);
  },
};

async function* examined(visit: Visit, host: Host): AsyncIterable<Finding> {
  const seen = await login(host, visit.signal);
  yield* seen.findings;
  if (!seen.isOpen) {
    yield unchecked(CHECK, SUBJECT, "the login over ssh does not work");
    return;
  }
  if (!host.examiner.isDirect) {
    yield* restricted(host, visit.signal);
    return;
  }
  const { config, examiner } = host;
  const facts = await examiner.look(config.modelsDir, visit.signal);
  const site: Site = { facts, host, kind: visit.server.lastKind, signal: visit.signal };
  yield* unit(site);
  yield* lingering(site);
  yield* disks(site);
  yield* writable(site);
  yield* lock(site);
  yield* journal(site);
  yield* kills(site);
}
