/** Says things to the user, as long as the session lasts. */
import type { ExtensionContext } from "@earendil-works/pi-coding-agent";
import type { Level } from "../ui/result.ts";

export class Notifier {
  readonly #ctx: ExtensionContext;
  readonly #ended: AbortSignal;
  readonly #given = new Set<string>();

  constructor(ctx: ExtensionContext, ended: AbortSignal) {
    this.#ctx = ctx;
    this.#ended = ended;
  }

  /** Gives a notice, each once in a session. */
  async notify(text: string, level: Level = "warning"): Promise<void> {
    if (this.#given.has(text)) return;
    this.#given.add(text);
    const { maskText } = await import("../masking/masking.ts");
    await this.show(maskText(text, "log"), level);
  }

  async showInteractive(text: string): Promise<void> {
    const { mode } = this.#ctx;
    if (mode === "tui" || mode === "rpc") await this.show(text, "info");
  }

  async show(text: string, level: Level): Promise<void> {
    const { notify } = await import("../ui/output.ts");
    if (!this.#ended.aborted) notify(this.#ctx, text, level);
  }
}
