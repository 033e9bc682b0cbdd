import { KeybindingsManager, TUI_KEYBINDINGS } from "@earendil-works/pi-tui";
import type { PanelAction, PanelContent, PanelPlace, PanelRow } from "../../admin/panel/lines.ts";
import { PanelView } from "../../admin/panel/view.ts";
import { plainLine } from "./plain-line.ts";

export const row = (id: string, more: Partial<PanelRow> = {}): PanelRow => ({
  id,
  mark: "",
  contextTokens: 65_536,
  cells: [id, "unloaded", "64k", "declared", "38", ""],
  tone: "still",
  toggles: "load",
  offers: ["use", "context", "log"],
  ...more,
});

const COLUMNS = ["Model", "State", "Context", "From", "tok/s", "Unloads"].map((title, at) => ({
  title,
  priority: [0, 0, 1, 4, 2, 3][at] ?? 0,
  isFigure: title === "Context" || title === "tok/s",
}));

const CONTENT: PanelContent = {
  heading: ["AI server", "live", "llama-swap v250", "https://ai.example", "certificate until 2027-01-02"],
  columns: COLUMNS,
  rows: [row("alpha"), row("beta", { toggles: "unload", tone: "ready" }), row("gamma")],
  trouble: undefined,
  isDown: false,
  hasSsh: true,
  hasDownloads: false,
  bars: [],
  message: undefined,
  details: [["State", "unloaded"]],
  inFlight: ["In flight: nothing"],
  plots: [{ name: "Host memory", figure: "4", words: "of 64 GB", values: [0.1, 0.9], most: 1 }],
};

/** The panel on a screen of its own, with what it was asked to do. */
export class Shown {
  readonly terminal = { rows: 24 };
  columns = 80;
  renders = 0;
  content: PanelContent;
  readonly asked: (string | undefined)[] = [];
  readonly actions: PanelAction[] = [];
  readonly place: PanelPlace = { selected: undefined, filter: "" };
  readonly colours = new Set<string>();
  readonly view: PanelView;

  constructor(content: Partial<PanelContent> = {}, bindings: Record<string, string | string[]> = {}) {
    this.content = { ...CONTENT, ...content };
    this.view = new PanelView({
      tui: { terminal: this.terminal, requestRender: () => this.renders++ },
      theme: {
        fg: (colour: string, text: string) => {
          this.colours.add(colour);
          return `\u001b[36m${text}\u001b[39m`;
        },
        bold: (text: string) => `\u001b[1m${text}\u001b[22m`,
      },
      keys: new KeybindingsManager(TUI_KEYBINDINGS, bindings as Bindings),
      content: (selected) => {
        this.asked.push(selected);
        return this.content;
      },
      place: this.place,
      act: (action) => this.actions.push(action),
    });
  }

  press(...keys: string[]): this {
    this.lines();
    for (const key of keys) {
      this.view.handleInput(key);
      this.lines();
    }
    return this;
  }

  lines(): string[] {
    return this.view.render(this.columns).map(plainLine);
  }

  get screen(): string {
    return this.lines().join("\n");
  }
}

type Bindings = ConstructorParameters<typeof KeybindingsManager>[1];
