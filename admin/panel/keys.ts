/** What the panel's keys do, in words. Pure. */
import type { KeybindingsManager } from "@earendil-works/pi-tui";
import { visibleWidth } from "@earendil-works/pi-tui";
import { keyHint, keyNames, SEPARATOR } from "../../ui/layout.ts";
import type { PanelContent, PanelRow } from "./lines.ts";

const LETTERS = { use: "m use in pi", context: "c context", log: "l log" } as const;

const HELP = "? help";

type Keys = Pick<KeybindingsManager, "getKeys">;

/**
 * The most important keys that fit on one line, and the one for help. A key that is bound to nothing is left out.
 *
 * @param row the selected one
 */
export function keyLine(
  { isDown, hasSsh, hasDownloads }: PanelContent,
  row: PanelRow | undefined,
  filter: string,
  keys: Keys,
  width: number,
): string {
  const way = keyNames(keys, "tui.select.cancel");
  // The short key where the others have to be seen.
  const leave = filter !== "" && way !== "" ? [`${way} all models`] : [`${isDown ? "q" : way || "q"} leave`];
  const overSsh = (words: string): string[] => (hasSsh ? [words] : []);
  const enter = row?.toggles;
  const pieces = isDown
    ? [...leave, "r retry", ...overSsh("R restart"), ...overSsh("l logs")]
    : [
        ...leave,
        ...(enter === undefined ? [] : keyHint(keyNames(keys, "tui.select.confirm"), enter)),
        ...(hasDownloads ? ["d download"] : []),
        "/ filter",
        ...(row?.offers ?? []).map((letter) => LETTERS[letter]),
        "r refresh",
        ...overSsh("R restart"),
        "U unload all",
        "a add",
        ...keyHint(keyNames(keys, "tui.select.up", "tui.select.down"), "move"),
      ];
  const shown: string[] = [];
  for (const piece of pieces) {
    if (visibleWidth([...shown, piece, HELP].join(SEPARATOR)) > width) break;
    shown.push(piece);
  }
  return [...shown, HELP].join(SEPARATOR);
}

/** What can be done about a server that does not answer. */
export function offersWhenDown(hasSsh: boolean): string[] {
  const overSsh = hasSsh
    ? ["R  restart over ssh; asks first", "l  the unit's journal, over ssh"]
    : ["   AI_SERVER_SSH_HOST is not set: no", "   restart and no journal from here"];
  return ["r  try again now", ...overSsh, "q  leave"];
}

/** All keys, a line each, and the words of the list that explain themselves least. */
export function helpLines(keys: Keys): string[] {
  const bound = (does: string, ...bindings: Parameters<Keys["getKeys"]>[0][]): [string, string] => [
    keyNames(keys, ...bindings),
    does,
  ];
  const leave = [keyNames(keys, "tui.select.cancel"), "q"].filter((key) => key !== "").join(" or ");
  // Short enough for 40 columns; what they need besides is said below them.
  const rows: [string, string][] = [
    bound("select a model", "tui.select.up", "tui.select.down"),
    ["left/right", "a page of the list"],
    ["home/end", "first or last model"],
    bound("scroll the details", "tui.select.pageUp", "tui.select.pageDown"),
    ["/", "filter the list"],
    bound("load, unload or stop it", "tui.select.confirm"),
    ["m", "use it in pi"],
    ["c", "change its context"],
    ["l", "its log"],
    ["a", "add a model"],
    ["d", "downloads on the server"],
    ["r", "read everything again"],
    ["R", "restart the server"],
    ["U", "unload every model"],
    ["?", "this help"],
    [leave, "leave"],
  ];
  const shown = rows.filter(([key]) => key !== "");
  const widest = Math.max(...shown.map(([key]) => key.length));
  return [
    ...shown.map(([key, does]) => `${key.padEnd(widest)}  ${does}`),
    "",
    "a, c, R and U ask before they change anything; a, c, d and R work over ssh.",
    "If the server is down, l shows the journal of its unit.",
    "Escape drops a filter before it leaves.",
    "",
    "Loaded models come first. (in pi) marks the model that pi uses.",
    "From: where the context size was read.",
    "tok/s: the speed of the last answer.",
    "Unloads: when an idle model is unloaded; ~ is an estimate.",
  ];
}
