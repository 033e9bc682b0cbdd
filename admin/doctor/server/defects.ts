/**
 * What is known to go wrong with a version of the server, where this extension or its user meets it. The first release
 * without it is in llama-swap's release notes, or was found by trying the releases around it.
 */
import { type BackendKind, releaseOf } from "../../../server/kinds/backend.ts";

export interface Defect {
  /** In a few words, unlike all others. */
  readonly name: string;
  /** Releases that have it: from the first, before the last. */
  readonly from?: number;
  readonly before: number;
  /** A clause: what the user meets. */
  readonly means: string;
  /** What to do as long as it is there. */
  readonly until?: string;
  /** Whether it concerns these models; absent where it concerns all. */
  readonly concerns?: (ids: readonly string[]) => boolean;
}

const LLAMA_SWAP: readonly Defect[] = [
  {
    // `POST /api/models/unload/<id>` is 404 there.
    name: "unloading one model",
    before: 161,
    means: "it cannot unload one model and leave the others loaded",
    until: "/ai-server-unload without an id unloads all.",
  },
  {
    // `/logs/stream/<id>` answers 400 there.
    name: "log of one model",
    before: 178,
    means: "it shows no log of a single model, so a failed load gives no reason",
    until: "/ai-server-logs without an id shows the unit's journal.",
  },
  {
    // `/running` has `model` and `state` alone.
    name: "command line of a loaded model",
    before: 186,
    means: "it does not show how a model was started, so a change of the context size cannot be confirmed",
  },
  {
    // https://github.com/mostlygeek/llama-swap/pull/677
    name: "unloading while loading",
    before: 204,
    means: "it says that it has unloaded a model that is loading, and loads it all the same",
    until: "Wait until the model is loaded, then unload it.",
  },
  {
    // Seen on v150 and v190: exit status 129, and llama-server runs on.
    name: "reload by SIGHUP",
    before: 205,
    means: "a SIGHUP (kill -HUP, or a unit's ExecReload) ends it and leaves its models running without it",
    until: "Use /ai-server-restart and no reload.",
  },
  {
    // Seen on v217: `/running` lists ready models alone, and other requests of the model wait.
    name: "models that are loading",
    before: 218,
    means:
      "it does not show that a model is loading, and answers nothing else about it until the load has ended",
  },
  {
    // The message is put between quotes as it is.
    name: "errors that are no JSON",
    from: 218,
    before: 225,
    means: "an error that quotes a name is no valid JSON, so that clients show it raw or not at all",
  },
  {
    // Seen on v225: with `org` and `org/model`, `/upstream/org/model/…` loaded `org`.
    name: "ids that begin like another one",
    before: 228,
    means: "a load of such a model loads the one with the shorter id",
    until: "Rename one of them.",
    concerns: (ids) => ids.some((id) => ids.some((other) => id.startsWith(`${other}/`))),
  },
];

/** The release to update to: what the manual recommends. */
export const NEWEST_TRIED = 250;

const DEFECTS: Partial<Record<BackendKind, readonly Defect[]>> = { "llama-swap": LLAMA_SWAP };

/**
 * The defects of a version that concern these models.
 *
 * @returns undefined where the version is not a numbered release, or nothing is known of this kind of server
 */
export function defectsOf(
  kind: BackendKind,
  version: string | undefined,
  ids: readonly string[],
): readonly Defect[] | undefined {
  const release = releaseOf(version);
  if (release === undefined) return undefined;
  return DEFECTS[kind]?.filter(
    ({ from = 0, before, concerns }) => release >= from && release < before && (concerns?.(ids) ?? true),
  );
}
