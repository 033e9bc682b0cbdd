/** The panel's list of models: what a filter leaves of it, and which part of that is seen. Pure. */
import type { PanelPlace, PanelRow } from "./content.ts";

/** The rows that have every word of the filter in their id or in what is shown of them. */
export function filtered(rows: readonly PanelRow[], filter: string): PanelRow[] {
  const words = filter
    .toLowerCase()
    .split(/\s+/)
    .filter((word) => word !== "");
  return rows.filter(({ id, cells }) => {
    const text = [id, ...cells].join(" ").toLowerCase();
    return words.every((word) => text.includes(word));
  });
}

/** The place of the selected row; the first one's where it is not among them, -1 where there is none. */
export function selectedAt(rows: readonly PanelRow[], { selected }: PanelPlace): number {
  const at = rows.findIndex(({ id }) => id === selected);
  return at < 0 ? Math.min(0, rows.length - 1) : at;
}
