/** The load of one model, as plain data: what the server does for it now, and which other model blocks it. */

/** `unknown`: the server does not report it. llama-swap before v218 shows a starting model as unloaded. */
export type ModelState = "ready" | "starting" | "stopping" | "unloaded" | "unknown";

/** By the id under which the server runs each model; one that is missing is not loaded. */
export type ModelStates = ReadonlyMap<string, ModelState>;

/** The part of a model that is being loaded, which only llama.cpp's router reports. */
export interface LoadStage {
  /** In the server's words: `text_model`, `mmproj`. */
  name: string;
  /** Of this stage, from 0 to 1. */
  share: number;
}

export type LoadState =
  /**
   * Another model must unload first, and llama-swap lets it finish its requests.
   * `requests`: how many it has; undefined where the server does not report them.
   */
  | { kind: "waiting"; blockedBy: string; requests: number | undefined }
  /** That model is being stopped: another one, or an earlier process of this one. */
  | { kind: "stopping"; model: string }
  /** The model has as many requests as it may have; asked again in a moment. */
  | { kind: "busy" }
  /** `elapsedMs`: of the load alone, as far as it was seen. */
  | { kind: "loading"; elapsedMs: number; stage?: LoadStage | undefined }
  | { kind: "ready" };

/** Since when a model loads, in Unix milliseconds. `isWhole`: its beginning was seen, so its length is known. */
export interface LoadSince {
  readonly since: number;
  readonly isWhole: boolean;
}

type RequestsOf = (id: string) => number | undefined;

/**
 * What the server does for a model that was asked for.
 *
 * @param loading what a load shows: since when, and which stage
 * @param requestsOf how many requests a model has, where the server reports them
 */
export function loadStateOf(
  id: string,
  states: ModelStates,
  loading: { elapsedMs: number; stage?: LoadStage | undefined },
  requestsOf: RequestsOf = () => undefined,
): LoadState {
  const own = states.get(id);
  if (own === "ready") return { kind: "ready" };
  if (own === "stopping") return { kind: "stopping", model: id };
  const other = own === "starting" ? undefined : blockerOf(id, states, requestsOf);
  // Up to v217 a starting model is not shown.
  if (other === undefined) return { kind: "loading", ...loading };
  if (states.get(other) === "stopping") return { kind: "stopping", model: other };
  return { kind: "waiting", blockedBy: other, requests: requestsOf(other) };
}

/** The other model that must unload first: one that is stopping already, else the busiest. */
export function blockerOf(
  id: string,
  states: ModelStates,
  requestsOf: RequestsOf = () => undefined,
): string | undefined {
  const others = [...states].filter(([other]) => other !== id);
  const stopping = others.find(([, state]) => state === "stopping");
  if (stopping !== undefined) return stopping[0];
  const loaded = others
    .filter(([, state]) => state === "ready" || state === "starting")
    .map(([other]) => other);
  return loaded.reduce<string | undefined>(
    (most, other) =>
      most === undefined || (requestsOf(other) ?? 0) > (requestsOf(most) ?? 0) ? other : most,
    undefined,
  );
}
