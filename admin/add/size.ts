/** The context size that a new model gets. */
import type { Unknown } from "../../host/fit/fit.ts";
import { shortTokens } from "../../lib/figures.ts";
import { maskText } from "../../masking/masking.ts";
import type { PickItem, TypedItem } from "../../ui/pick.ts";
import { parseSize } from "../arguments.ts";
import { type Call, pickedBy } from "../call.ts";
import { largestIn } from "../context-fit.ts";
import type { Fitting } from "../fit.ts";
import { largestWords } from "../fit-words.ts";

/** What is known of a model's window before it is loaded, in tokens. */
export interface Windows {
  /** As the pattern has it, or the server would set it. */
  readonly present: number | undefined;
  readonly trained: number | undefined;
  /** The largest that fits into the server's memory. */
  readonly largest: number | undefined;
}

/** In tokens; `as it is` leaves it to the pattern, or to llama-server. */
export type Size = number | "as it is";

/** Sizes that are offered beside the present and the largest one. */
const USUAL = [8, 16, 32, 64, 128, 256].map((thousands) => thousands * 1024);

/**
 * The context size that the user chooses or types.
 *
 * @param known without what llama.cpp says of it
 * @returns undefined where the user leaves
 */
export async function chosenSize(
  call: Call,
  id: string,
  fitting: Fitting | Unknown,
  known: Omit<Windows, "largest">,
): Promise<Size | undefined> {
  const found = await largestIn(call, fitting);
  const trained = found.kind === "unknown" ? known.trained : (found.need.trained ?? known.trained);
  const largest = found.kind === "largest" ? found.need.tokens : undefined;
  return pickedBy(call, {
    title: `Which context size for ${id}?`,
    notes: [maskText(largestWords(found), "log")],
    noun: "size",
    typing: "another size, such as 48k or 100000",
    items: sizeItems({ ...known, trained, largest }),
    typed: typedSize,
  });
}

/** The most that is of use first: what fits, or what the model was trained for. The present size stands where it belongs. */
export function sizeItems({ present, trained, largest }: Windows): PickItem<Size>[] {
  const most = largest ?? trained ?? Number.POSITIVE_INFINITY;
  const beyond = largest === undefined || largest === trained ? "it was trained for" : "fits";
  const known = [largest, trained].filter((size) => size !== undefined && size <= most);
  const sizes = new Set([...known, present, ...USUAL.filter((size) => size < most)]);
  sizes.delete(undefined);
  const items = [...sizes]
    .flatMap((size) => size ?? [])
    .sort((a, b) => Number(a > most) - Number(b > most) || b - a)
    .map((size): PickItem<Size> => {
      const marks = [
        ...(size === largest ? ["max: the largest that fits"] : []),
        ...(size === trained ? ["what it was trained for"] : []),
        ...(size === present ? ["copied"] : []),
        ...(size > most ? [`more than ${beyond}`] : []),
      ];
      const means = size === present ? "as it is" : size;
      return { words: shortTokens(size), detail: [`${size} tokens`, ...marks].join(" · "), means };
    });
  if (present !== undefined) return items;
  const free = { words: "As llama-server decides", detail: "what it was trained for, or what fits" } as const;
  const asItIs: PickItem<Size> = { ...free, means: "as it is" };
  return known.length === 0 ? [asItIs, ...items] : [...items.slice(0, 1), asItIs, ...items.slice(1)];
}

function typedSize(text: string): TypedItem<Size> | undefined {
  const tokens = parseSize(text);
  if (tokens === undefined) return undefined;
  return { words: shortTokens(tokens), detail: `${tokens} tokens · as typed`, means: tokens, place: "first" };
}
