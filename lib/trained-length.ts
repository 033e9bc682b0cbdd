/** What of a model's free metadata its file says, rather than the user. */

import { wordSet } from "./text.ts";

/** Keys that only the header of a model's file has; spelled without their signs. */
const OF_FILE = wordSet(
  "embeddinglength blockcount feedforwardlength headcount headcountkv attentionheadcount attentionheadcountkv vocabsize filetype quantizationversion parametercount nparams nembd nlayer nvocab expertcount ropefreqbase tokenizermodel",
);

function plainKey(key: string): string {
  return key
    .toLowerCase()
    .replace(/^general\./, "")
    .replace(/[-_. ]/g, "");
}

/** Whether an entry can only have been copied from a model's file: its architecture's name, its exact parameters. */
function isOfFile(key: string, value: unknown): boolean {
  const plain = plainKey(key);
  if (plain === "architecture") return typeof value === "string";
  if (plain === "parameters") return typeof value === "number" || /^\d+$/.test(String(value));
  return OF_FILE.has(plain);
}

/**
 * Whether a key of metadata is the length that a model was trained for: GGUF's own `context_length` among other facts of
 * that file. Alone it is the window that the user declares.
 *
 * @param entries all of the mapping in which it stands
 */
export function isTrainedLength(key: string, entries: Iterable<readonly [string, unknown]>): boolean {
  return plainKey(key) === "contextlength" && [...entries].some(([other, value]) => isOfFile(other, value));
}
