/** What the slots of a ready model show, and which one a new conversation should take. */

import { ANSWER_TIMEOUT_MS } from "./http/access.ts";
import type { ServerAccess, Slot } from "./kinds/backend.ts";
import type { RunningModel } from "./models/models.ts";

/** A busy server reports its slots only between two batches: no turn waits longer than this. */
const SLOT_TIMEOUT_MS = 500;

/** Whether a ready model is working on a request; unknown counts as no. Never throws. */
export async function isWorking(server: ServerAccess, id: string, signal: AbortSignal): Promise<boolean> {
  const backend = await server.backend(signal).catch(() => undefined);
  const slots = await backend?.slots(id, { signal, timeoutMs: ANSWER_TIMEOUT_MS }).catch(() => undefined);
  return slots?.some(({ isBusy }) => isBusy) ?? false;
}

interface RunningServer extends ServerAccess {
  running(signal: AbortSignal): Promise<RunningModel[] | undefined>;
}

/** @see ModelServer.slotForNew */
export async function slotForNew(
  server: RunningServer,
  id: string,
  signal: AbortSignal,
): Promise<number | undefined> {
  try {
    const limit = AbortSignal.any([signal, AbortSignal.timeout(SLOT_TIMEOUT_MS)]);
    const running = await server.running(limit);
    // The request would load a model that is not ready, and wake one that sleeps.
    if (!running?.some((model) => model.id === id && model.state === "ready" && model.isAsleep !== true))
      return undefined;
    const backend = await server.backend(limit);
    const slots = await backend.slots(id, { signal: limit, timeoutMs: SLOT_TIMEOUT_MS });
    return slots && slotWithLeast(slots);
  } catch {
    return undefined;
  }
}

/**
 * The slot that a new conversation should ask for: the idle one that loses least. llama-server itself chooses the slot
 * with the most similar prompt. For a subagent that is the slot of the session that waits for it, whose whole
 * conversation must then be read again. An ongoing conversation needs no choice: its own slot is the most similar one.
 *
 * @returns undefined where the server chooses as well, or where the slots' contents are not known. A server whose slots
 *   share their memory (its default) empties the idle ones into a store of prompts, which it does not search for a
 *   request that names a slot.
 */
export function slotWithLeast(slots: readonly Slot[]): number | undefined {
  if (slots.length < 2 || slots.some(({ tokens }) => tokens === undefined)) return undefined;
  if (slots.some(({ isUsed, isBusy, tokens }) => isUsed && !isBusy && tokens === 0)) return undefined;
  const held = ({ tokens = 0 }: Slot): number => tokens;
  const most = Math.max(...slots.map(held));
  const idle = slots.filter((slot) => !slot.isBusy && held(slot) < most);
  return idle.toSorted((a, b) => held(a) - held(b))[0]?.id;
}
