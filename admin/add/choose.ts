/** Which model of Hugging Face is to be added: searched for and chosen, or named by the user. */

import { shown } from "../../host/config/refusals.ts";
import type { DownloadState } from "../../host/download/download.ts";
import type { HubClient, Repository } from "../../huggingface/hub.ts";
import { findQuantisation, type HubFile, type Quantisation } from "../../huggingface/quantisations.ts";
import { ServerError } from "../../lib/errors.ts";
import { binarySize, shortTokens } from "../../lib/figures.ts";
import { table } from "../../ui/layout.ts";
import type { PickItem, TypedItem } from "../../ui/pick.ts";
import type { Result } from "../../ui/result.ts";
import { type Call, pickedBy } from "../call.ts";
import { stageWords } from "./download-words.ts";
import { labelOf, type Named, nameIn } from "./name.ts";
import { type Memory, memoryWords, type Room, roomFor } from "./room.ts";

/** A model of a repository. */
export interface Chosen {
  /** `owner/repository:quantisation`. */
  readonly label: string;
  readonly repository: Repository;
  readonly quantisation: Quantisation;
}

/** Said where the user leaves before anything is downloaded. */
export const NOT_ADDED = "Nothing was added.";

const TONES = { fits: "good", tight: "doubtful", "too large": "bad" } as const;

/**
 * The search.
 *
 * @param known shown while nothing is typed
 * @returns undefined where the user leaves
 */
export function searched(
  call: Call,
  hub: HubClient,
  known: readonly PickItem<Named>[],
): Promise<Named | undefined> {
  const found = async (words: string, signal: AbortSignal): Promise<PickItem<Named>[]> => {
    const repositories = await hub.search(words.replace(/:.*$/, "").replaceAll("/", " "), signal);
    const isTyped = (id: string): boolean => id.toLowerCase() === words.replace(/:.*$/, "").toLowerCase();
    return repositories
      .sort((a, b) => Number(isTyped(b.id)) - Number(isTyped(a.id)))
      .map(({ id, downloads: count }) => ({
        words: id,
        detail: `${shortTokens(count)} downloads`,
        means: { repository: id, quantisation: undefined },
      }));
  };
  return pickedBy(call, {
    title: "Add a model from Hugging Face",
    noun: "model",
    typing: "part of its name, or owner/repository:quantisation",
    items: known,
    search: found,
    typed: typedName,
  });
}

/** A name with a quantisation is meant as it is; a name without may be the beginning of a longer one. */
function typedName(text: string): TypedItem<Named> | undefined {
  const means = nameIn(text);
  if (means === undefined) return undefined;
  const place = means.quantisation === undefined ? "last" : "first";
  return { words: labelOf(means), detail: "as typed", means, place };
}

/**
 * The quantisation that is named, or that the user chooses.
 *
 * @returns undefined where the user leaves
 * @throws {ServerError} where the repository does not have the named one
 */
export async function chosenQuantisation(
  call: Call,
  repository: Repository,
  named: string | undefined,
  memory: Memory | undefined,
): Promise<Chosen | undefined> {
  const quantisation =
    named === undefined
      ? await pickedQuantisation(call, repository, memory)
      : findQuantisation(repository.quantisations, named);
  if (quantisation !== undefined) {
    const label = labelOf({ repository: repository.id, quantisation: quantisation.name });
    return { label, repository, quantisation };
  }
  if (named === undefined) return undefined;
  throw unknownQuantisation(repository, named);
}

function unknownQuantisation({ id, quantisations }: Repository, named: string): ServerError {
  const names = quantisations.map(({ name }) => name).join(", ");
  return new ServerError(`${id} has no ${shown(named)}. It has ${names}.`, { link: "Hugging Face" });
}

async function pickedQuantisation(
  call: Call,
  repository: Repository,
  memory: Memory | undefined,
): Promise<Quantisation | undefined> {
  const [first, ...others] = repository.quantisations;
  if (others.length === 0) return first;
  return pickedBy(call, {
    title: `Which quantisation of ${repository.id}?`,
    notes: [...gatedWords(repository), ...memoryWords(memory)],
    noun: "quantisation",
    typing: "part of its name",
    items: repository.quantisations.map((quantisation) => {
      const room = roomFor(quantisation.bytes, memory);
      return {
        words: quantisation.name,
        detail: sizeWords(quantisation, room),
        tone: room && TONES[room],
        means: quantisation,
      };
    }),
  });
}

/** `18.6 GiB · fits` */
function sizeWords({ bytes }: Pick<Quantisation, "bytes">, room: Room | undefined): string {
  return room === undefined ? binarySize(bytes) : `${binarySize(bytes)} · ${room}`;
}

export function gatedWords({ isGated, page }: Repository): string[] {
  return isGated ? [`It is gated: ask for access on its page, ${page}`] : [];
}

/**
 * The projector, where the repository has one and the user wants it.
 *
 * @returns undefined where the user leaves; null for none
 */
export async function chosenProjector(
  call: Call,
  { label, repository }: Chosen,
): Promise<HubFile | null | undefined> {
  if (repository.projectors.length === 0) return null;
  const items: PickItem<HubFile | null>[] = repository.projectors.map((file) => ({
    words: file.path,
    detail: binarySize(file.bytes),
    means: file,
  }));
  return pickedBy(call, {
    title: `Which projector for ${label}?`,
    notes: ["A projector (mmproj) lets the model see images, and needs memory of its own."],
    noun: "choice",
    typing: "part of a name",
    items: [...items, { words: "None", detail: "text alone", means: null }],
  });
}

/** What can be said of a repository without asking anything. @throws {ServerError} where it does not have the named one */
export function describeModel(
  repository: Repository,
  named: string | undefined,
  memory: Memory | undefined,
  download: DownloadState | undefined,
): Result {
  const all = repository.quantisations;
  const found = named === undefined ? undefined : findQuantisation(all, named);
  if (named !== undefined && found === undefined) throw unknownQuantisation(repository, named);
  const listed = (found === undefined ? all : [found]).map((one) => ({
    ...one,
    room: roomFor(one.bytes, memory),
  }));
  const state = download === undefined ? [] : [`${download.label}: ${stageWords(download)}.`];
  return {
    level: "info",
    heading: repository.id,
    content: (width) => [
      ...table(
        [
          { title: "quantisation", priority: 0 },
          { title: "size", priority: 1 },
        ],
        listed.map((one) => [one.name, sizeWords(one, one.room)]),
        width,
      ),
      ...gatedWords(repository),
      ...memoryWords(memory),
      ...state,
    ],
    data: {
      repository: repository.id,
      revision: repository.revision,
      gated: repository.isGated,
      quantisations: listed.map(({ name, bytes, room }) => ({ name, bytes, ...(room ? { room } : {}) })),
    },
  };
}
