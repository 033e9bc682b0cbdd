/**
 * Where llama-server may read a prompt ahead of its turn without costing another conversation its place. Pure.
 *
 * llama-server puts a prompt into the slot whose tokens begin most like it. It first saves those tokens in its store of
 * prompts (`--cache-ram`), but only if less than half of them stay. Later it searches the store for a conversation only
 * if the slot that is most like it would not stay half as well: so one that begins in the same way would go on in the slot
 * of the prompt that was read ahead, and be read again. (`get_available_slot` in llama.cpp's server-context.cpp.)
 */
import type { Slot } from "./kinds/backend.ts";

/** Whether so many tokens are of no conversation: what parks a prompt has fewer. */
export function isNothing(tokens: number): boolean {
  return tokens <= 64;
}

export interface ReadingPlace {
  /** Undefined: the only one. */
  slot: number | undefined;
  /** Whether the server holds conversations of others, so that the prompt must not stay in a slot. */
  hasOthers: boolean;
}

/**
 * @param slots all idle
 * @param isOwn whether so many tokens are those of a request of our own
 * @param tokens of the prompt; undefined where they were not counted
 * @returns undefined where there is no such place, or where that is not known
 */
export function readingPlace(
  slots: readonly Slot[],
  isOwn: (tokens: number) => boolean,
  tokens: number | undefined,
): ReadingPlace | undefined {
  if (slots.length === 0 || slots.some((slot) => slot.tokens === undefined)) return undefined;
  const isFree = ({ tokens: held = 0 }: Slot): boolean => isNothing(held) || isOwn(held);
  // What an idle slot has lost, or had before a prompt was parked, may be in the store.
  const hasOthers = slots.some((slot) => slot.isUsed && !isOwn(slot.tokens ?? 0));
  const free = slots.find(isFree);
  if (slots.length > 1) return free && { slot: free.id, hasOthers };
  if (free !== undefined) return { slot: undefined, hasOthers };
  // Of a shorter one, half or more may stay.
  const isSaved = tokens !== undefined && (slots[0]?.tokens ?? 0) > 2 * tokens;
  return isSaved ? { slot: undefined, hasOthers } : undefined;
}

/**
 * Whether a prompt that was read can be parked: another prompt then takes its slot, or one that is empty, and the server
 * moves it into its store, which it searches for the next turn of any conversation. Where every other slot holds a
 * conversation, that stays most like itself, and nothing need be parked.
 *
 * @param slots after the reading
 * @param slot that holds the prompt; undefined: the only one
 */
export function canBeParked(slots: readonly Slot[], slot: number | undefined): boolean {
  return slots.length === 1 || slots.some(({ id, isBusy, tokens }) => id !== slot && !isBusy && tokens === 0);
}
