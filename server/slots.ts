/** llama-server's `/slots`. Pure. */
import { flag, number, record } from "../../../lib/json.ts";

/** A place for one request at a time, which keeps what it has read and written for the next one. */
export interface Slot {
  /** What `id_slot` of a request names it by. */
  id: number;
  isBusy: boolean;
  /** Whether it has had a request since the server started. */
  isUsed: boolean;
  /** What it holds; undefined where an earlier llama-server does not tell. */
  tokens: number | undefined;
}

/**
 * @param answer of `/slots`
 * @returns undefined where the server does not tell (`--no-slots`, or not a llama-server)
 */
export function parseSlots(answer: unknown): Slot[] | undefined {
  if (!Array.isArray(answer) || answer.length === 0) return undefined;
  const slots = answer.flatMap((value, at): Slot[] => {
    const entry = record(value);
    const isBusy = flag(entry?.is_processing);
    if (isBusy === undefined) return [];
    // Told only of a slot that had a request; -1 is what earlier ones say of the others.
    const isUsed = (number(entry?.id_task) ?? -1) >= 0;
    return [
      { id: number(entry?.id) ?? at, isBusy, isUsed, tokens: isUsed ? number(entry?.n_prompt_tokens) : 0 },
    ];
  });
  return slots.length === answer.length ? slots : undefined;
}

/**
 * The slot that a conversation which begins should ask for: the idle one that loses least by it. llama-server itself
 * chooses the one whose prompt begins most alike, which for a subagent is that of the session that waits for it, and
 * its whole conversation is read again. A conversation that goes on needs none: its own slot is the one most alike.
 *
 * @returns undefined where the server chooses as well, or where a slot's choice cannot be judged. A server whose slots
 *   share their memory (its default) empties the idle ones into a store of prompts, which it does not look into for a
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
