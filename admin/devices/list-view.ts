/** The list of devices in the terminal, with the other subcommands on its keys. */
import { type Component, matchesKey, wrapTextWithAnsi } from "@earendil-works/pi-tui";
import type { Device, DeviceList } from "../../host/ca/devices.ts";
import {
  type Colours,
  firstSeen,
  fitted,
  flow,
  keyHint,
  keyNames,
  table,
  type ViewParts,
} from "../../ui/layout.ts";
import {
  activeDevices,
  COLUMNS,
  cellsOf,
  daysLeft,
  minuteOf,
  RENEW_DAYS,
  remarksOn,
  revokedDevices,
} from "./words.ts";

/** What a key asks for. */
export type ListAction =
  | { kind: "leave" }
  | { kind: "enrol" }
  | { kind: "add"; name: string }
  | { kind: "revoke"; name: string }
  | { kind: "reload" };

export interface ListContent {
  list: DeviceList;
  /** The serial number of this laptop's certificate. */
  own: string | undefined;
  /** `on ca.example.org` */
  where: string;
  now: number;
}

/** What stays when the screen is closed for a question. */
export interface ListPlace {
  selected: string | undefined;
  /** What the last action answered. */
  message: { text: string; level: "info" | "warning" | "error" } | undefined;
}

interface ListViewParts extends ViewParts {
  content: ListContent;
  place: ListPlace;
  act: (action: ListAction) => void;
}

const MARK = 2;
/** Of remarks and of the last answer each; the rest is in the transcript. */
const MOST_WORDS = 4;

export class DeviceListView implements Component {
  readonly #parts: ListViewParts;
  /** The name that is being typed for a new device. */
  #typed: string | undefined;

  constructor(parts: ListViewParts) {
    this.#parts = parts;
  }

  invalidate(): void {}

  render(width: number): string[] {
    const { theme, tui, content, place } = this.#parts;
    const height = tui.terminal.rows;
    const head = theme.fg("accent", theme.bold(fitted(`Devices of the CA ${content.where}`, width)));
    const foot = this.#foot(width);
    const words = [
      ...remarksOn(content.list).flatMap((text) => paragraph(text, width, theme, "warning")),
      ...(place.message === undefined
        ? []
        : paragraph(
            place.message.text,
            width,
            theme,
            { info: "muted", warning: "warning", error: "error" } as const,
            place.message.level,
          )),
    ];
    const body = this.#body(width, Math.max(1, height - 1 - words.length - foot.length));
    const lines = [head, ...body];
    while (lines.length + words.length + foot.length < height) lines.push("");
    return [...lines, ...words, ...foot].slice(0, height);
  }

  handleInput(data: string): void {
    const { keys, act, tui } = this.#parts;
    if (this.#typed !== undefined) this.#type(data);
    else if (keys.matches(data, "tui.select.cancel") || matchesKey(data, "q")) act({ kind: "leave" });
    else if (keys.matches(data, "tui.select.up")) this.#move(-1);
    else if (keys.matches(data, "tui.select.down")) this.#move(1);
    else if (matchesKey(data, "e")) act({ kind: "enrol" });
    else if (matchesKey(data, "a")) this.#typed = "";
    else if (matchesKey(data, "shift+r") && this.#parts.content.list.caddy.isPending) act({ kind: "reload" });
    else if (matchesKey(data, "r") || matchesKey(data, "delete")) this.#revoke();
    tui.requestRender();
  }

  get #devices(): Device[] {
    return activeDevices(this.#parts.content.list);
  }

  get #at(): number {
    const at = this.#devices.findIndex(({ serial }) => serial === this.#parts.place.selected);
    return Math.max(0, at);
  }

  #move(by: number): void {
    const devices = this.#devices;
    const at = Math.min(devices.length - 1, Math.max(0, this.#at + by));
    this.#parts.place.selected = devices[at]?.serial;
  }

  #revoke(): void {
    const device = this.#devices[this.#at];
    if (device !== undefined) this.#parts.act({ kind: "revoke", name: device.name });
  }

  /** Letters, digits and hyphens alone: nothing else is part of a name. */
  #type(data: string): void {
    const { keys, act } = this.#parts;
    const typed = this.#typed ?? "";
    if (keys.matches(data, "tui.select.cancel")) this.#typed = undefined;
    else if (keys.matches(data, "tui.select.confirm")) {
      if (typed === "") return;
      this.#typed = undefined;
      act({ kind: "add", name: typed });
    } else if (matchesKey(data, "backspace")) this.#typed = typed.slice(0, -1);
    else if (/^[a-z0-9-]+$/i.test(data)) this.#typed = (typed + data.toLowerCase()).slice(0, 40);
  }

  #body(width: number, height: number): string[] {
    const { theme, content } = this.#parts;
    const devices = this.#devices;
    const gone = revokedDevices(content.list);
    const selected = devices[this.#at];
    const details =
      selected === undefined || height < 8
        ? []
        : ["", theme.fg("dim", fitted(`  serial ${selected.serial}`, width))];
    if (devices.length === 0)
      return ["", "  No device has a certificate of this CA yet.", ...this.#gone(gone, width, height - 2)];
    const cells = devices.map((device) => cellsOf(device, content.own, content.now).slice(0, 4));
    const [titles = "", ...rows] = table(COLUMNS.slice(0, 4), cells, width - MARK);
    const room = Math.max(1, height - 1 - details.length - (gone.length > 0 ? 3 : 0));
    const first = firstSeen(rows.length, this.#at, Math.min(room, rows.length));
    const shown = rows.slice(first, first + room).map((line, offset) => {
      const at = first + offset;
      if (at === this.#at) return theme.fg("accent", theme.bold(`→ ${line}`));
      const device = devices[at];
      const isDue = device !== undefined && daysLeft(device, content.now) < RENEW_DAYS;
      return theme.fg(isDue ? "warning" : "muted", `  ${line}`);
    });
    const used = 1 + shown.length + details.length;
    return [
      theme.fg("dim", fitted(`  ${titles}`, width)),
      ...shown,
      ...details,
      ...this.#gone(gone, width, height - used),
    ];
  }

  #gone(gone: readonly Device[], width: number, height: number): string[] {
    if (gone.length === 0 || height < 2) return [];
    const { theme } = this.#parts;
    const names = gone.map(({ name, revoked }) =>
      `${name} ${revoked === undefined ? "" : minuteOf(revoked)}`.trim(),
    );
    const lines = flow(names, width - MARK).map((line) => `  ${line}`);
    return ["", theme.fg("dim", "  Revoked:"), ...lines]
      .slice(0, height)
      .map((line) => theme.fg("dim", line));
  }

  #foot(width: number): string[] {
    const { theme, keys, content } = this.#parts;
    if (this.#typed !== undefined) {
      return [
        theme.fg("accent", fitted("Name of the new device, such as phone:", width)),
        fitted(`> ${this.#typed}▏`, width),
        theme.fg(
          "dim",
          fitted(
            [
              ...keyHint(keyNames(keys, "tui.select.confirm"), "continue"),
              ...keyHint(keyNames(keys, "tui.select.cancel"), "cancel"),
            ].join(" · "),
            width,
          ),
        ),
      ];
    }
    const isOn = content.list.devices.some(
      ({ serial, revoked }) => serial === content.own && revoked === undefined,
    );
    const pieces = [
      ...keyHint(keyNames(keys, "tui.select.cancel") || "q", "leave"),
      "a add a phone or browser",
      `e ${isOn ? "renew" : "enrol"} this laptop`,
      "r revoke",
      ...(content.list.caddy.isPending ? ["R reload Caddy"] : []),
    ];
    return flow(pieces, width).map((line) => theme.fg("dim", line));
  }
}

type Tone = "warning" | "error" | "muted";

function paragraph(
  text: string,
  width: number,
  theme: Colours,
  tones: Tone | Readonly<Record<"info" | "warning" | "error", Tone>>,
  level: "info" | "warning" | "error" = "info",
): string[] {
  const tone = typeof tones === "string" ? tones : tones[level];
  const rows = text.split("\n").flatMap((line) => wrapTextWithAnsi(line, width));
  const shown =
    rows.length > MOST_WORDS
      ? [...rows.slice(0, MOST_WORDS - 1), `${rows[MOST_WORDS - 1]?.slice(0, -1)}…`]
      : rows;
  return shown.map((line) => theme.fg(tone, fitted(line, width)));
}
