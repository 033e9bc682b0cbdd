/** Which model of Hugging Face is to be added: searched for and chosen, or named by the user. */

import { shown } from "../../host/config/refusals.ts";
import type { DownloadState } from "../../host/download/download.ts";
import type { HubClient, Repository } from "../../huggingface/hub.ts";
import { findQuantisation, type HubFile, type Quantisation } from "../../huggingface/quantisations.ts";
import { ServerError } from "../../lib/errors.ts";
import { binarySize, shortTokens } from "../../lib/figures.ts";
import { table } from "../../ui/layout.ts";
import { show } from "../../ui/output.ts";
import type { PickItem, TypedItem } from "../../ui/pick.ts";
import type { Result } from "../../ui/result.ts";
import { type Call, canAsk, pickedBy, requireUser } from "../call.ts";
import type { Host } from "../host-access.ts";
import { stageWords } from "./download-words.ts";
import { labelOf, type Named, nameIn } from "./name.ts";
import { type Memory, memoryOf, memoryWords, type Room, roomFor } from "./room.ts";

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
 * The quantisation of a repository that is named, or that the user chooses. Without a user it only shows what there is.
 *
 * @param host undefined where its memory cannot be asked for
 * @param download of that name, which is shown too
 * @returns undefined where the user leaves
 * @throws {ServerError} where there is no user, or the repository does not have the named one
 */
export async function chosenModel(
  call: Call,
  hub: HubClient,
  host: Host | undefined,
  wanted: Named,
  download?: DownloadState,
): Promise<{ chosen: Chosen; memory: Memory | undefined } | undefined> {
  const { ctx, waiting } = call;
  const { quantisation: named } = wanted;
  waiting.say(`Reading ${wanted.repository}`);
  const [repository, memory] = await Promise.all([
    hub.repository(wanted.repository, waiting.signal),
    host && memoryOf(host, waiting.signal),
  ]);
  if (!canAsk(ctx)) {
    show(ctx, describeModel(repository, named, memory, download));
    requireUser(ctx);
  }
  const quantisation =
    named === undefined
      ? await pickedQuantisation(call, repository, memory)
      : findQuantisation(repository.quantisations, named);
  if (quantisation !== undefined) {
    const label = labelOf({ repository: repository.id, quantisation: quantisation.name });
    return { chosen: { label, repository, quantisation }, memory };
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
function describeModel(
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
