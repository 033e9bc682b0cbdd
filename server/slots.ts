/** llama-server's `/slots`. Pure. */
import { flag, record } from "./json.ts";

/**
 * How many slots work.
 *
 * @param answer of `/slots`
 * @returns undefined where the server does not tell (`--no-slots`, or not a llama-server)
 */
export function busySlotsIn(answer: unknown): number | undefined {
  if (!Array.isArray(answer) || answer.length === 0) return undefined;
  const states = answer.map((slot) => flag(record(slot)?.is_processing));
  return states.includes(undefined) ? undefined : states.filter(Boolean).length;
}
