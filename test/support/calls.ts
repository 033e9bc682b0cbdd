import type { Call } from "../../admin/call.ts";
import type { Waiting } from "../../ui/wait.ts";
import type { Place } from "./command-place.ts";
import type { User } from "./command-user.ts";

/** A use of a command without the screen around it, whose dialogs come at once. */
export function callOf(place: Place, user: User, argument = "", said: string[] = []): Call {
  const waiting: Waiting = {
    signal: place.ended.signal,
    say: (text, expectedMs, elapsedMs) =>
      said.push([text, expectedMs, elapsedMs].filter((part) => part !== undefined).join(" | ")),
    ask: (dialog) => dialog(),
  };
  return {
    aiServer: place.aiServer,
    ctx: place.contextOf(user),
    argument,
    ended: place.ended.signal,
    waiting,
  };
}
