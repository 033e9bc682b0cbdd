/**
 * What ready models have said of themselves, so that none is asked for it again: every request to a model, `/props`
 * too, starts its idle time again.
 */

import { abortable } from "../../lib/clock.ts";
import { isNoSuchRoute, type Limits } from "../http/access.ts";
import type { Backend } from "../kinds/backend.ts";
import { commandDigest } from "./command-line.ts";
import type { LiveFacts, RememberedFacts, RunningModel } from "./models.ts";

/** Of models that are to be asked, all at once: nothing but the server says how many there are. */
const MOST_ASKED = 50;

interface Answer {
  /** Of the command line that it ran with; undefined where the server shows none. */
  command: string | undefined;
  /** Undefined for a model that has no such facts. */
  facts: LiveFacts | undefined;
}

export class KnownFacts {
  readonly #answers = new Map<string, Answer>();
  /** The models that were ready at the last look, with their command lines. */
  #ready = new Map<string, string | undefined>();
  readonly #outdated = new Set<string>();
  readonly #asking = new Map<string, Promise<void>>();
  readonly #timesAsked = new Map<string, number>();

  /** How often each model has answered a question, which it takes for a use. */
  get timesAsked(): ReadonlyMap<string, number> {
    return this.#timesAsked;
  }

  /** Takes in what runs: what is not ready any more, or runs with another command line, is another process. */
  saw(running: readonly RunningModel[]): void {
    const ready = running.filter(({ state }) => state === "ready");
    this.#ready = new Map(
      ready.map(({ id, commandLine }) => [id, commandLine && commandDigest(commandLine)]),
    );
    for (const [id, { command }] of this.#answers)
      if (!this.#ready.has(id) || this.#ready.get(id) !== command) this.#answers.delete(id);
  }

  /** Whether `read` would ask one of these models. */
  asks(
    backend: Pick<Backend, "kind">,
    ids: readonly string[],
    before: ReadonlyMap<string, RememberedFacts>,
  ): boolean {
    return ids.some((id) => this.#isUnknown(backend, id, before.get(id)));
  }

  /**
   * The facts of these models. A model is asked only where nothing is known of it: neither from this process, nor from
   * a remembered one with the same command line. A model that does not answer, or is one of hundreds, loses only its
   * live facts.
   *
   * @param ids of models that were ready at the last look
   */
  async read(
    backend: Pick<Backend, "kind" | "live">,
    ids: readonly string[],
    before: ReadonlyMap<string, RememberedFacts>,
    limits: Limits,
  ): Promise<ReadonlyMap<string, LiveFacts>> {
    const unknown = ids.filter((id) => this.#isUnknown(backend, id, before.get(id))).slice(0, MOST_ASKED);
    const { signal, timeoutMs } = limits;
    await Promise.all(unknown.map((id) => abortable(this.#ask(backend, id, { timeoutMs }), signal)));
    return new Map(
      ids.flatMap((id) => {
        const facts = this.#answers.get(id)?.facts;
        return facts === undefined ? [] : [[id, facts] as const];
      }),
    );
  }

  #isUnknown({ kind }: Pick<Backend, "kind">, id: string, before: RememberedFacts | undefined): boolean {
    const command = this.#ready.get(id);
    // Without a command line it may have been started again unseen; only llama-swap counts the question as a use.
    if (this.#outdated.has(id) || (command === undefined && kind !== "llama-swap")) return true;
    return !this.#answers.has(id) && !isRemembered(before, command);
  }

  /** Shared by all who want to know: one caller's signal must not end it for the others. */
  #ask(backend: Pick<Backend, "live">, id: string, limits: Limits): Promise<void> {
    const asking =
      this.#asking.get(id) ?? this.#askOnce(backend, id, limits).finally(() => this.#asking.delete(id));
    this.#asking.set(id, asking);
    return asking;
  }

  async #askOnce(backend: Pick<Backend, "live">, id: string, limits: Limits): Promise<void> {
    try {
      this.keep(id, await backend.live(id, limits));
    } catch (error) {
      if (isNoSuchRoute(error)) this.keep(id, undefined);
    }
  }

  /** Takes in what a model has just answered. @param facts undefined where it has none */
  keep(id: string, facts: LiveFacts | undefined): void {
    this.#outdated.delete(id);
    this.#timesAsked.set(id, (this.#timesAsked.get(id) ?? 0) + 1);
    if (this.#ready.has(id)) this.#answers.set(id, { command: this.#ready.get(id), facts });
  }

  /** A model was loaded by this pi: with the same command line it may still have got another window. */
  outdate(id: string): void {
    this.#outdated.add(id);
  }

  /** @param tokens the window that an overflow reported */
  correctContext(id: string, tokens: number): void {
    const answer = this.#answers.get(id);
    if (answer?.facts !== undefined) answer.facts = { ...answer.facts, context: tokens };
  }
}

/** Whether a model itself has said all that is asked of it, when it ran with this command line. */
function isRemembered(before: RememberedFacts | undefined, command: string | undefined): boolean {
  if (command === undefined || before?.command !== command) return false;
  return [before.context, before.thinking].every(
    (fact) => fact?.source === "live" || fact?.source === "last seen",
  );
}
