/** From this laptop to the server: names, connections, TLS, Caddy, and what passes through it. */
import { sentenceOf } from "../../lib/errors.ts";
import { NETWORK, type Network } from "../../server/http/reach.ts";
import { type Finding, type Group, unchecked } from "./finding.ts";
import type { Visit } from "./visit.ts";
import { addresses } from "./way/addresses.ts";
import { type Answered, answer, clock } from "./way/answer.ts";
import { bodySize, idleTime, SIZES, streams, watchEvents } from "./way/passage.ts";
import { secured } from "./way/tls.ts";

export const way: Group = wayThrough(NETWORK, SIZES);

/**
 * @param network how names are looked up and ports tried
 * @param sizes of the requests that are tried, in bytes, the smallest first
 */
export function wayThrough(network: Network, sizes: readonly number[]): Group {
  return {
    name: "way",
    title: "The way to the server",
    async *examine(visit) {
      yield* addresses(visit, network);
      if (visit.outOfReach === undefined) yield* secured(visit);
      const answered = visit.outOfReach === undefined ? yield* answer(visit) : undefined;
      if (answered !== undefined) yield* passage(visit, answered, sizes);
      else yield unchecked("way", "The rest of the way", "not tried, since the link before it fails");
    },
  };
}

/** What passes between this laptop and a server that answers. */
async function* passage(visit: Visit, answered: Answered, sizes: readonly number[]): AsyncGenerator<Finding> {
  yield clock(visit, answered);
  const events = await watchEvents(visit).catch((error: unknown) => {
    visit.signal.throwIfAborted();
    return sentenceOf(error);
  });
  try {
    visit.doing = "the first event of a stream";
    yield* streams(events, answered);
    visit.doing = "requests of many megabytes";
    yield await bodySize(visit, sizes);
    yield idleTime(events, answered);
  } finally {
    if (typeof events !== "string") events.close();
  }
}
