/** What Tab offers after `/ai-server-add`: repositories of Hugging Face by the typed words, then their quantisations. */
import type { AutocompleteItem } from "@earendil-works/pi-tui";
import type { HubClient } from "../../huggingface/hub.ts";
import type { Clock } from "../../lib/clock.ts";
import { binarySize, shortTokens } from "../../lib/figures.ts";
import { nameIn } from "./name.ts";

/** How long the text must rest: each question is a request, and rates are limited. */
const REST_MS = 350;
const LEAST_CHARACTERS = 3;
/** Answers that are kept: who corrects a word asks for the one before again. */
const MOST_ANSWERS = 100;

export class HubCompletion {
  readonly #hub: () => Promise<Pick<HubClient, "search" | "repository">>;
  readonly #clock: Pick<Clock, "sleep">;
  readonly #answers = new Map<string, AutocompleteItem[]>();

  constructor(hub: () => Promise<Pick<HubClient, "search" | "repository">>, clock: Pick<Clock, "sleep">) {
    this.#hub = hub;
    this.#clock = clock;
  }

  /** @param argument as typed @returns values that replace it; none where the hub does not answer */
  async suggestions(argument: string, signal: AbortSignal): Promise<AutocompleteItem[]> {
    const typed = argument.trim();
    const at = typed.indexOf(":");
    const asked = at < 0 ? typed : typed.slice(0, at);
    if (asked.length < LEAST_CHARACTERS) return [];
    const items = await this.#ask(asked, at >= 0, signal);
    const wanted = typed.slice(at + 1).toLowerCase();
    return at < 0 ? items : items.filter(({ label }) => label.toLowerCase().startsWith(wanted));
  }

  async #ask(asked: string, isRepository: boolean, signal: AbortSignal): Promise<AutocompleteItem[]> {
    const key = `${isRepository} ${asked.toLowerCase()}`;
    const known = this.#answers.get(key);
    if (known !== undefined) return known;
    await this.#clock.sleep(REST_MS, signal);
    const hub = await this.#hub();
    const items = isRepository
      ? await quantisations(hub, asked, signal)
      : await repositories(hub, asked, signal);
    if (this.#answers.size >= MOST_ANSWERS) this.#answers.clear();
    this.#answers.set(key, items);
    return items;
  }
}

async function repositories(
  hub: Pick<HubClient, "search">,
  words: string,
  signal: AbortSignal,
): Promise<AutocompleteItem[]> {
  const found = await hub.search(words.replaceAll("/", " "), signal);
  return found.map(({ id, downloads }) => ({
    value: id,
    label: id,
    description: `${shortTokens(downloads)} downloads`,
  }));
}

async function quantisations(
  hub: Pick<HubClient, "repository">,
  id: string,
  signal: AbortSignal,
): Promise<AutocompleteItem[]> {
  if (nameIn(id) === undefined) return [];
  const repository = await hub.repository(id, signal);
  return repository.quantisations.map(({ name, bytes }) => ({
    value: `${id}:${name}`,
    label: name,
    description: binarySize(bytes),
  }));
}
