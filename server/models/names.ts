/** Ids and names of models, as the server spells them and as they may be shown. */

import { text } from "../../lib/json.ts";
import { cleanText } from "../../lib/text.ts";

/**
 * Models of one server that are kept, the first ones: pi stores and reads its whole list at each start, and each takes
 * about a kilobyte there.
 */
export const MAX_MODELS = 1000;

const MAX_ID_LENGTH = 256;
const MAX_NAME_LENGTH = 100;

/**
 * An id as the server spells it. It is sent and shown as it stands, so that one which would steer a terminal is none.
 */
export function idOf(value: unknown): string | undefined {
  const id = text(value);
  // Half of a letter of two units cannot be sent.
  return id === undefined ||
    !id.isWellFormed() ||
    id.length > MAX_ID_LENGTH ||
    /[\p{Cc}\p{Zl}\p{Zp}\p{Bidi_Control}]/u.test(id)
    ? undefined
    : id;
}

/** A name on one line, without terminal control. */
export function nameOf(value: unknown): string | undefined {
  return text(cleanText(text(value) ?? "", MAX_NAME_LENGTH).replace(/\s+/g, " "));
}

/** A quantisation in llama-server's words, without its mark for one that only the tensors show. */
export function fileTypeOf(value: unknown): string | undefined {
  return nameOf(value)?.replace(/^\(guessed\) /, "");
}
