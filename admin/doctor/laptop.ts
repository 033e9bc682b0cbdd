/** What is on this laptop: certificates, settings, pi. */
import { certificates } from "./certificates.ts";
import { compaction } from "./compaction.ts";
import type { Group } from "./finding.ts";
import { settings } from "./settings.ts";

export const laptop: Group = {
  name: "laptop",
  title: "This laptop",
  async *examine(visit) {
    yield* certificates(visit);
    yield* settings(visit);
    yield compaction(visit);
  },
};
