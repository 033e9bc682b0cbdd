/** The screen that hands a certificate over: a QR code, the password beside it, and what to do with both. */
import {
  type Component,
  type KeybindingsManager,
  matchesKey,
  wrapTextWithAnsi,
} from "@earendil-works/pi-tui";
import type { Link } from "../../devices/link.ts";
import { REAL_CLOCK } from "../../lib/clock.ts";
import { duration } from "../../lib/figures.ts";
import { type Colours, fitted, keyHint, keyNames } from "../../ui/layout.ts";
import { show } from "../../ui/output.ts";
import { type QrCode, qrCode } from "../../ui/qr.ts";
import { inWholeTerminal } from "../../ui/whole-terminal.ts";
import type { Call } from "../call.ts";

/** What is handed over, and how it is opened. */
export interface Parcel {
  readonly device: string;
  /** `phone.p12` */
  readonly fileName: string;
  readonly content: Buffer;
  readonly password: string;
  /** The server's own address, for after the import. */
  readonly serverUrl: string;
}

export type Delivery =
  | { kind: "file"; path: string }
  | { kind: "link"; link: Pick<Link, "url" | "ended">; endsAt: number };

const TICK_MS = 1000;
const GAP = 2;
/** Columns for text beside the code: the password in one piece. */
const LEAST_BESIDE = 24;

/** What the screen shows at this moment. */
export interface ParcelState {
  /** `fetch`: the file is on its way; `open`: it is on the device, or on the disk. */
  phase: "fetch" | "open";
  leftMs: number;
}

interface Piece {
  text: string;
  /** With an empty row before it, where there is room. */
  begins?: boolean;
  colour?: "accent" | "warning" | "dim";
}

/**
 * The screen's lines: the code on the left with the text beside it, or above it where the terminal is narrow.
 *
 * @param leave what the key does that leaves the screen, as `escape done`
 */
export function parcelLines(
  parcel: Parcel,
  delivery: Delivery,
  state: ParcelState,
  { width, height, theme, leave }: { width: number; height: number; theme: Colours; leave: string },
): string[] {
  const target = delivery.kind === "link" && state.phase === "fetch" ? delivery.link.url : parcel.serverUrl;
  const code = qrCode(target);
  const pieces = piecesOf(parcel, delivery, state, leave);
  const beside = width - code.width - GAP;
  const wrapped = (columns: number, isRoomy = false): string[] =>
    pieces.flatMap(({ text, colour, begins = false }) => [
      ...(isRoomy && begins ? [""] : []),
      ...wrapTextWithAnsi(text, columns).map((line) =>
        colour === undefined ? line : theme.fg(colour, line),
      ),
    ]);
  const texts = beside < LEAST_BESIDE ? [] : [wrapped(beside, true), wrapped(beside)];
  const fitting = texts.find((lines) => lines.length <= height);
  if (code.lines.length <= height && fitting !== undefined) return sideBySide(code, fitting, width);
  const above = wrapped(width);
  if (code.width <= width && above.length + code.lines.length <= height) return [...above, ...code.lines];
  const need = `${code.width + GAP + LEAST_BESIDE} columns and ${Math.max(code.lines.length, above.length)} rows`;
  return [
    ...above,
    ...wrapTextWithAnsi(
      `The QR code needs a larger terminal: ${need}. This one has ${width} and ${height}.`,
      width,
    ).map((line) => theme.fg("warning", line)),
  ].map((line) => fitted(line, width));
}

function sideBySide(code: QrCode, text: readonly string[], width: number): string[] {
  const rows = Math.max(code.lines.length, text.length);
  return Array.from({ length: rows }, (_, row) => {
    const left = code.lines[row] ?? " ".repeat(code.width);
    return fitted(`${left}${" ".repeat(GAP)}${text[row] ?? ""}`.trimEnd(), width);
  });
}

function piecesOf(
  { device, fileName, password, serverUrl }: Parcel,
  delivery: Delivery,
  { phase, leftMs }: ParcelState,
  leave: string,
): Piece[] {
  const title: Piece = { text: device, colour: "accent" };
  const secret: Piece[] = [{ text: "Its password, shown once:" }, { text: password, colour: "warning" }];
  const end: Piece = { text: leave, colour: "dim", begins: true };
  if (delivery.kind === "link" && phase === "fetch") {
    return [
      title,
      { text: "1 Scan this, or open:", begins: true },
      { text: delivery.link.url, colour: "dim" },
      { text: `Once, within ${duration(leftMs)}.` },
      { text: `2 Import ${fileName}.`, begins: true },
      ...secret,
      end,
    ];
  }
  const where = delivery.kind === "file" ? [{ text: delivery.path, colour: "dim" } as const] : [];
  const has = delivery.kind === "file" ? `1 Copy this file to ${device}:` : `1 ${device} has ${fileName}.`;
  return [
    title,
    { text: has, begins: true },
    ...where,
    { text: "2 Import it.", begins: true },
    ...secret,
    { text: "3 Scan for the server:", begins: true },
    { text: serverUrl, colour: "dim" },
    end,
  ];
}

interface ViewParts {
  tui: { terminal: { rows: number }; requestRender(): void };
  theme: Colours;
  keys: Pick<KeybindingsManager, "matches" | "getKeys">;
  parcel: Parcel;
  delivery: Delivery;
  close: () => void;
}

class HandOverView implements Component {
  readonly #parts: ViewParts;
  #phase: ParcelState["phase"];

  constructor(parts: ViewParts) {
    this.#parts = parts;
    this.#phase = parts.delivery.kind === "link" ? "fetch" : "open";
  }

  /** The file has arrived. */
  arrive(): void {
    this.#phase = "open";
    this.#parts.tui.requestRender();
  }

  invalidate(): void {}

  render(width: number): string[] {
    const { tui, theme, keys, parcel, delivery } = this.#parts;
    const height = tui.terminal.rows;
    const leftMs = delivery.kind === "link" ? Math.max(0, delivery.endsAt - REAL_CLOCK.now()) : 0;
    const key = keyNames(keys, "tui.select.cancel") || "q";
    const leave = keyHint(key, this.#phase === "fetch" ? "end the link" : "done")[0] ?? "";
    const lines = parcelLines(
      parcel,
      delivery,
      { phase: this.#phase, leftMs },
      { width, height, theme, leave },
    );
    while (lines.length < height) lines.push("");
    return lines.slice(0, height);
  }

  handleInput(data: string): void {
    const { keys, close } = this.#parts;
    if (keys.matches(data, "tui.select.cancel") || matchesKey(data, "q")) close();
    // The password is gone with the screen: while it is needed, Enter does not close it.
    else if (this.#phase === "open" && keys.matches(data, "tui.select.confirm")) close();
  }
}

/** Shows what is handed over until the user leaves it, or the link is over without a fetch. */
export async function showParcel(
  { ctx, ended, waiting }: Call,
  parcel: Parcel,
  delivery: Delivery,
): Promise<void> {
  if (ctx.mode !== "tui") return tellParcel({ ctx, waiting }, parcel, delivery);
  await inWholeTerminal<void>(
    ctx,
    ended,
    (terminal, done, closed) => {
      const { tui } = terminal;
      const view = new HandOverView({ ...terminal, parcel, delivery, close: () => done(undefined) });
      if (delivery.kind === "link") {
        const stop = REAL_CLOCK.every(TICK_MS, () => tui.requestRender());
        closed.addEventListener("abort", stop, { once: true });
        void delivery.link.ended.then((end) => {
          if (closed.aborted) return;
          if (end === "fetched") view.arrive();
          else done(undefined);
        });
      }
      return view;
    },
    `Hand the certificate over to ${parcel.device}`,
  );
}

/** An RPC client shows the link as it likes. */
async function tellParcel(
  { ctx, waiting }: Pick<Call, "ctx" | "waiting">,
  parcel: Parcel,
  delivery: Delivery,
): Promise<void> {
  const how =
    delivery.kind === "file"
      ? `The file is ${delivery.path}.`
      : `Open this on ${parcel.device}; it works once, for five minutes: ${delivery.link.url}`;
  show(
    ctx,
    `${how}\nThe file's password, shown once: ${parcel.password}\nAfter the import, open ${parcel.serverUrl}`,
  );
  if (delivery.kind === "file") return;
  const left = new Promise((resolve) => waiting.signal.addEventListener("abort", resolve, { once: true }));
  await Promise.race([delivery.link.ended, left]);
}
