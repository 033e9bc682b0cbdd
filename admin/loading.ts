/** What a load looks like while it lasts. */
import type { ProbeHooks } from "../host/probe.ts";
import { expectedLoadMs, rememberLoad } from "../provider/load-times.ts";
import type { LoadProgress } from "../server/kinds/load-progress.ts";
import type { ModelServer } from "../server/model-server.ts";
import { stageWords } from "../ui/activity-line.ts";
import type { Call } from "./call.ts";

/** What a load is doing, in a few words; undefined when there is nothing more to wait for. */
export function loadWords(id: string, progress: LoadProgress): string | undefined {
  switch (progress.kind) {
    case "waiting": {
      const { requests = 0, for: other } = progress;
      const until =
        requests === 0 ? "has gone" : `has answered ${requests === 1 ? "a request" : `${requests} requests`}`;
      return `${id} waits until ${other} ${until}`;
    }
    case "stopping":
      return `Stopping ${progress.model}`;
    case "busy":
      return `${id} has as many requests as it may have; asking again`;
    case "loading":
      return `Loading ${id}${stageWords(progress.stage)}`;
    case "ready":
      return undefined;
  }
}

/** Says how loads go on, and remembers how long they took. */
export function loadHooks(call: Call, server: ModelServer): ProbeHooks {
  const expected = new Map<string, number | undefined>();
  return {
    onLoading: (id, progress) => {
      if (!expected.has(id)) {
        expected.set(id, undefined);
        expectedLoadMs(call.aiServer, server, id).then(
          (ms) => expected.set(id, ms),
          () => {},
        );
      }
      const words = loadWords(id, progress);
      if (words === undefined) return;
      if (progress.kind === "loading") call.waiting.say(words, expected.get(id), progress.elapsedMs);
      else call.waiting.say(words);
    },
    // To remember is a convenience: what goes wrong with it is nobody's fault to hear of.
    onLoaded: (id, loadMs) => void rememberLoad(call.aiServer, server, id, loadMs).catch(() => {}),
  };
}
