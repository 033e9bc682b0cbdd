/** Whether the user can have a thinking model answer now. */

/** A thought that is over sooner needs no key: the hint would only flicker. */
const THINKING_MS = 3000;

/** The thinking of a model whose server can end it. */
export interface EndableThinking {
  isOn(): boolean;
  /** @returns whether the server has ended it; never rejects */
  end(): Promise<boolean>;
}

/** The thinking of one turn. */
export class ThinkingActivity {
  #thinking: { control: EndableThinking; since: number } | undefined;
  #isEnding = false;

  begins(control: EndableThinking, now: number): void {
    this.#thinking = { control, since: now };
    this.#isEnding = false;
  }

  /** Whether the model has thought for a while, and can be made to answer. */
  canAnswerNow(now: number): boolean {
    const { control, since = now } = this.#thinking ?? {};
    return control?.isOn() === true && !this.#isEnding && now - since >= THINKING_MS;
  }

  /** @returns whether the server has ended the thinking; undefined where there is none to end */
  async end(): Promise<boolean | undefined> {
    const control = this.#thinking?.control;
    if (control?.isOn() !== true || this.#isEnding) return undefined;
    this.#isEnding = true;
    this.#isEnding = await control.end();
    return this.#isEnding;
  }
}
