import type { ExtensionCommandContext } from "@earendil-works/pi-coding-agent";
import { KeybindingsManager, TUI_KEYBINDINGS } from "@earendil-works/pi-tui";
import type { Place } from "./command-place.ts";
import { User } from "./command-user.ts";
import { plainLine } from "./plain-line.ts";
import type { Screen } from "./question-screen.ts";
import { answer, readQuestion } from "./question-screen.ts";
import { eventually } from "./sim-client.ts";

type Made = Screen & { dispose?(): void };

/** A user at a terminal, with pi's own keys on the open screen. */
export class Sitter {
  readonly user = new User("tui");
  /** The answer to a question of this title. */
  answers: (title: string, offered: readonly string[]) => string | undefined = () => undefined;
  /** The titles of the questions, in order. */
  readonly asked: string[] = [];
  /** The models that were selected in pi. */
  readonly selected: string[] = [];
  mayUse = true;
  rows = 40;
  columns = 100;
  /** How often a redraw was requested. */
  renders = 0;
  readonly #open: Made[] = [];
  readonly #place: Place;
  readonly ctx: ExtensionCommandContext;

  constructor(place: Place) {
    this.#place = place;
    const base = place.contextOf(this.user);
    const ui = {
      ...this.user.ui,
      custom: (make: (...parts: unknown[]) => Made) => this.#custom(make),
    };
    const find = (_: string, id: string): unknown => place.aiServer.models.find((model) => model.id === id);
    const modelRegistry = Object.assign({}, base.modelRegistry, { find });
    this.ctx = Object.create(base, {
      ui: { value: ui },
      modelRegistry: { value: modelRegistry },
      model: { get: () => ({ provider: "ai-server", id: this.selected.at(-1) }) },
    }) as ExtensionCommandContext;
  }

  /** Opens the panel. Resolves when the user leaves it. */
  open(argument = ""): Promise<void> {
    const select = async ({ id }: { id: string }): Promise<boolean> => {
      if (this.mayUse) this.selected.push(id);
      return this.mayUse;
    };
    return this.#place.run("ai-server", argument, this.ctx, select);
  }

  get isOpen(): boolean {
    return this.#open.length > 0;
  }

  get screen(): string {
    const lines = this.#open.at(-1)?.render(this.columns) ?? [];
    return lines.map(plainLine).join("\n");
  }

  press(...keys: string[]): void {
    for (const key of keys) this.#open.at(-1)?.handleInput(key);
  }

  /** Waits until the screen shows `wanted`. */
  async sees(wanted: RegExp): Promise<void> {
    await eventually(() => {
      if (!wanted.test(this.screen)) throw new Error(`The screen does not show ${wanted}:\n${this.screen}`);
    });
  }

  async #asks(title: string, offered: readonly string[]): Promise<string | undefined> {
    this.asked.push(title);
    return this.answers(title, offered);
  }

  #custom(make: (...parts: unknown[]) => Made): Promise<unknown> {
    return new Promise((resolve, reject) => {
      let made: Made | undefined;
      const done = (result: unknown): void => {
        if (made === undefined || !this.#open.includes(made)) return;
        this.#open.splice(this.#open.indexOf(made), 1);
        made.dispose?.();
        resolve(result);
      };
      const sitter = this;
      const terminal = {
        get rows(): number {
          return sitter.rows;
        },
        set rows(rows: number) {
          sitter.rows = rows;
        },
        get columns(): number {
          return sitter.columns;
        },
      };
      const tui = { terminal, requestRender: () => this.renders++ };
      const screen = make(tui, this.user.ui.theme, new KeybindingsManager(TUI_KEYBINDINGS), done);
      made = screen;
      this.#open.push(screen);
      const asked = readQuestion(screen, terminal);
      if (asked)
        this.#asks(asked.title, asked.offered).then((chosen) => answer(screen, asked, chosen), reject);
    });
  }
}
