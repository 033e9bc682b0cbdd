/** Has llama-server read a prompt before the turn comes that needs it. */
import type { JsonRecord } from "../lib/json.ts";
import { ANSWER_TIMEOUT_MS, type Limits } from "./http/access.ts";
import { ERROR_BYTES, type HttpResponse, readText } from "./http/http.ts";
import type { ReadPrompt } from "./in-flight.ts";
import type { Backend, OwnUse, ServerAccess, Slot } from "./kinds/backend.ts";
import type { EventHooks } from "./kinds/events.ts";
import type { RunningModel } from "./models/models.ts";
import { canBeParked, isNothing, type ReadingPlace, readingPlace } from "./reading-place.ts";

/** A prompt like no conversation's, of more tokens than ten times those that a model puts before every prompt. */
const PARKING = "a b c d e f g h i j k l m n o p q r s t u v w x";

/** The command line of a llama-server that keeps no prompt but those in its slots. */
const NO_STORE = /(?:--cache-ram|-cram)[= ]0\b/;

/** llama-swap writes its times in whole seconds. */
const ROUNDED_MS = 3000;

/** As many of them as llama-swap is asked for. */
const MOST_ENDS = 10;

/** How soon a turn that ended the reading asks for the slot, in milliseconds. */
const CUT_MS = 2000;

/** As much of the server as this needs. */
interface ReadingServer extends ServerAccess {
  chat(body: string, headers: Record<string, string>, signal: AbortSignal): Promise<HttpResponse>;
  follow(hooks: EventHooks, signal: AbortSignal): Promise<void>;
}

/** What this pi has had a model do. */
interface Own {
  /** Of the last prompt. */
  tokens: number | undefined;
  /** When requests of it ended, the last ones. */
  endedAt: number[];
}

/** Of one server, and one prompt at a time. */
export class ReadAhead {
  readonly #server: ReadingServer;
  readonly #now: () => number;
  #last: (ReadPrompt & { id: string; cutAt: number | undefined }) | undefined;
  /** By model. */
  readonly #own = new Map<string, Own>();

  /** @param now Unix time in milliseconds */
  constructor(server: ReadingServer, now: () => number) {
    this.#server = server;
    this.#now = now;
  }

  /**
   * Has a ready model read the prompt of a request, if that costs no other conversation its place in the server's cache.
   * Ends early when a request of another client comes, where the server reports it.
   *
   * @param model as the server shows it
   * @param body of a chat/completions request that asks for no answer
   * @param isOwn whether so many tokens are those of an earlier request of this pi
   * @param onBegin called when the reading begins
   * @returns whether all of it was read
   * @throws {ServerError}; the signal's reason
   */
  async read(
    { id, commandLine }: Pick<RunningModel, "id" | "commandLine">,
    body: JsonRecord,
    isOwn: (tokens: number) => boolean,
    signal: AbortSignal,
    onBegin: () => void,
  ): Promise<boolean> {
    // The turn's own request could reach another server.
    if (this.#server.several.isKnown) return false;
    const backend = await this.#server.backend(signal);
    const place = await this.#place(backend, id, body, isOwn, signal);
    if (place === undefined || (place.hasOthers && NO_STORE.test(commandLine ?? ""))) return false;
    const { slot, hasOthers } = place;
    onBegin();
    if (slot !== undefined) this.#last = { id, slot, tokens: undefined, cutAt: undefined };
    const asked = slot === undefined ? body : { ...body, id_slot: slot };
    const own: Own = { tokens: undefined, endedAt: this.#own.get(id)?.endedAt.slice(-MOST_ENDS) ?? [] };
    this.#own.set(id, own);
    const isWhole = await this.#send(backend, JSON.stringify(asked), signal).finally(() => this.#ended(own));
    if (!isWhole) return false;
    const read = await this.#slots(backend, id, signal);
    const { tokens } = read.find((one) => one.id === slot) ?? read[0] ?? {};
    own.tokens = tokens;
    if (slot !== undefined) this.#last = { id, slot, tokens, cutAt: undefined };
    const isParked = hasOthers && canBeParked(read, slot) && (await this.#park(id, own, signal));
    const after = isParked ? await this.#slots(backend, id, signal) : read;
    const isThere = after.some((one) => one.id === slot && one.tokens === tokens);
    this.#last = isThere && slot !== undefined ? { id, slot, tokens, cutAt: undefined } : undefined;
    return true;
  }

  /** What was read last of this model and is in a slot by name; the next call returns undefined. */
  takeSlot(id: string): ReadPrompt | undefined {
    const last = this.#last;
    if (last?.id !== id) return undefined;
    this.#last = undefined;
    const isOld = last.cutAt !== undefined && this.#now() - last.cutAt > CUT_MS;
    return isOld ? undefined : { slot: last.slot, tokens: last.tokens };
  }

  /** What this pi has had a model do here. */
  useOf(id: string): OwnUse {
    const { tokens, endedAt = [] } = this.#own.get(id) ?? {};
    const now = this.#now();
    return {
      hasEnded: (agoMs) => endedAt.some((at) => Math.abs(now - at - agoMs) <= ROUNDED_MS),
      isAll: (held) => isNothing(held) || held === tokens,
    };
  }

  #ended({ endedAt }: Own): void {
    const now = this.#now();
    endedAt.push(now);
    if (this.#last?.tokens === undefined && this.#last !== undefined) this.#last.cutAt = now;
  }

  async #place(
    backend: Backend,
    id: string,
    body: JsonRecord,
    isOwn: (tokens: number) => boolean,
    signal: AbortSignal,
  ): Promise<ReadingPlace | undefined> {
    const slots = await this.#slots(backend, id, signal);
    const isOurs = (tokens: number): boolean => tokens === this.#own.get(id)?.tokens || isOwn(tokens);
    const place = readingPlace(slots, isOurs, undefined);
    if (place !== undefined || slots.length !== 1) return place;
    const tokens = await backend.promptTokens?.(id, JSON.stringify(body), limitsOf(signal));
    return readingPlace(slots, isOurs, tokens);
  }

  async #slots(backend: Backend, id: string, signal: AbortSignal): Promise<readonly Slot[]> {
    return (await backend.slots(id, limitsOf(signal))) ?? [];
  }

  /** @returns whether the model has read all of it */
  async #send({ kind }: Backend, body: string, signal: AbortSignal): Promise<boolean> {
    const over = new AbortController();
    const come = new AbortController();
    const either = AbortSignal.any([signal, come.signal]);
    // The other kinds show only the requests that have a slot.
    const watching =
      kind === "llama-swap" && this.#watch(() => come.abort(), AbortSignal.any([either, over.signal]));
    try {
      const { status, body: answer } = await this.#server.chat(body, {}, either);
      if (status === 200) for await (const _ of answer) either.throwIfAborted();
      else await readText(answer, ERROR_BYTES);
      return status === 200;
    } catch (error) {
      if (come.signal.aborted && !signal.aborted) return false;
      throw error;
    } finally {
      over.abort();
      await watching;
    }
  }

  /** @param onOther called when the server has another request than the reading */
  #watch(onOther: () => void, signal: AbortSignal): Promise<void> {
    const own = this.#server.several.session;
    const onRequests: EventHooks["onRequests"] = (requests) => {
      const isOther = requests.some(({ client }) => client.session !== undefined && client.session !== own);
      if (isOther || requests.length > 1) onOther();
    };
    return this.#server.follow({ onRequests }, signal);
  }

  /** Has another prompt take the place of the one that was read, which the server then moves into its store. */
  async #park(id: string, own: Own, signal: AbortSignal): Promise<boolean> {
    const body = JSON.stringify({ model: id, prompt: PARKING, max_tokens: 0 });
    await this.#server.http
      .json("/v1/completions", { ...limitsOf(signal), body })
      .finally(() => this.#ended(own));
    return true;
  }
}

function limitsOf(signal: AbortSignal): Limits {
  return { signal, timeoutMs: ANSWER_TIMEOUT_MS };
}
