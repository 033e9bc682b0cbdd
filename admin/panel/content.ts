/** What the panel shows, as plain data. */
import type { Level } from "../../ui/output.ts";
import type { Column } from "../../ui/table.ts";

/** What a letter does with a model. */
export type PanelLetter = "use" | "context" | "log";

export interface PanelRow {
  readonly id: string;
  /** One text for each column. */
  readonly cells: readonly string[];
  readonly tone: "ready" | "changing" | "still";
  /** What Enter does with it; undefined where it can do nothing. */
  readonly toggles: "load" | "unload" | "stop" | undefined;
  readonly offers: readonly PanelLetter[];
}

/** Something that lasts. */
export interface PanelBar {
  readonly title: string;
  readonly words: string;
  /** Of 1; undefined where nobody can say. */
  readonly fraction: number | undefined;
  /** Counted up while it lasts. */
  readonly step: number;
}

export interface PanelPlot {
  readonly name: string;
  readonly words: string;
  readonly values: readonly number[];
  /** The value at the upper edge. */
  readonly most: number;
}

export interface PanelContent {
  /** Pieces of the first line, the most important first. */
  readonly heading: readonly string[];
  readonly columns: readonly Column[];
  readonly rows: readonly PanelRow[];
  /** Stands in the place of the rows where there are none, or above them. */
  readonly trouble: string | undefined;
  readonly bars: readonly PanelBar[];
  readonly message: { readonly level: Level; readonly text: string } | undefined;
  /** Of the selected model: what, and what of it. */
  readonly details: readonly (readonly [string, string])[];
  readonly inFlight: readonly string[];
  readonly plots: readonly PanelPlot[];
}

export type PanelAction =
  | { readonly kind: "leave" | "refresh" }
  | { readonly kind: "toggle" | PanelLetter; readonly id: string };

/** Where somebody is in the list; outlives the screen, which is closed for each question. */
export interface PanelPlace {
  selected: string | undefined;
  filter: string;
}
