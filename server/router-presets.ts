/** What llama.cpp's router has read from its preset. */
import { list, record, text } from "./json.ts";
import { idOf } from "./names.ts";

/**
 * The preset of each model as the router holds it, by id: a section with the values of its own, of `[*]` and of the
 * router's command line together (`status.preset` in its list of models).
 *
 * @param models the parsed answer of `/v1/models`
 */
export function heldPresets(models: unknown): Map<string, string> {
  return new Map(
    list(record(models)?.data).flatMap((value) => {
      const entry = record(value);
      const id = idOf(entry?.id);
      const preset = text(record(entry?.status)?.preset);
      return id === undefined || preset === undefined ? [] : [[id, preset] as const];
    }),
  );
}
