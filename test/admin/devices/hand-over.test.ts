import { visibleWidth } from "@earendil-works/pi-tui";
import { describe, expect, test } from "vitest";
import { type Delivery, type ParcelState, parcelLines } from "../../../admin/devices/hand-over.ts";
import { qrCode } from "../../../ui/qr.ts";

const PASSWORD = "abcdefghijkmnpqrstuvwxyz";
const PARCEL = {
  device: "annas-tablet",
  fileName: "annas-tablet.p12",
  content: Buffer.alloc(0),
  password: PASSWORD,
  serverUrl: "https://ai.example.org",
};
const theme = { fg: (_colour: string, text: string) => text, bold: (text: string) => text };

function link(url: string): Delivery {
  return { kind: "link", link: { url, ended: new Promise(() => {}) }, endsAt: 0 };
}

const LONGEST_IPV4 = link("HTTP://192.168.178.123:54321/ABCDEFGHIJKLMNOP");
const IPV6 = link("HTTP://[2001:db8:1234:5678:9abc:def0:1234:5678]:54321/ABCDEFGHIJKLMNOP");
const FILE: Delivery = { kind: "file", path: "/home/anna/annas-tablet.p12" };

function shown(delivery: Delivery, phase: ParcelState["phase"], width: number, height: number): string[] {
  const view = { width, height, theme, leave: "escape done" } as const;
  return parcelLines(PARCEL, delivery, { phase, leftMs: 299_000 }, view);
}

describe("the screen that hands a certificate over", () => {
  test.each([
    ["a link", LONGEST_IPV4, "fetch"],
    ["the server's address", LONGEST_IPV4, "open"],
    ["a file", FILE, "open"],
  ] as const)(
    "of %s fits 80×24 and 60×20, with its code, the password in one piece and the way out",
    (_, delivery, phase) => {
      for (const [width, height] of [
        [80, 24],
        [60, 20],
      ] as const) {
        const lines = shown(delivery, phase, width, height);
        expect(lines.length).toBeLessThanOrEqual(height);
        for (const line of lines) expect(visibleWidth(line)).toBeLessThanOrEqual(width);
        const text = lines.join("\n");
        expect(text).toContain("▀");
        expect(text).toContain(PASSWORD);
        expect(text).toContain("escape done");
        expect(text).not.toContain("larger terminal");
      }
    },
  );

  test("of the longest IPv6 link says how large a terminal it needs, and shows it there", () => {
    const small = shown(IPV6, "fetch", 60, 20).join("\n");
    const [, columns, rows] =
      /needs a larger terminal: (\d+)\s+columns\s+and\s+(\d+)\s+rows/.exec(small) ?? [];
    expect(small).toContain(PASSWORD);
    expect(small).not.toContain("▀");
    const large = shown(IPV6, "fetch", Number(columns), Number(rows)).join("\n");
    expect(large).toContain("▀");
    expect(shown(IPV6, "fetch", Number(columns) - 1, Number(rows)).join("\n")).not.toContain("▀");
  });

  test("fits any terminal, however small", () => {
    for (let width = 10; width <= 100; width += 7)
      for (let height = 1; height <= 30; height += 3)
        for (const line of shown(LONGEST_IPV4, "fetch", width, height))
          expect(visibleWidth(line)).toBeLessThanOrEqual(width);
  });
});

test("a code has a quiet zone of four light modules, and colours of its own", () => {
  const { lines, width } = qrCode("HTTP://192.168.178.123:54321/ABCDEFGHIJKLMNOP");
  // Version 2: 25 modules.
  expect(width).toBe(33);
  expect(lines).toHaveLength(17);
  for (const line of lines) {
    expect(line).toMatch(/^\p{Cc}\[38;5;16;48;5;231m.{33}\p{Cc}\[39;49m$/u);
    expect(line).toMatch(/m {4}[\s\S]* {4}\p{Cc}/u);
  }
  expect(lines.slice(0, 2).join("")).not.toMatch(/[▀▄█]/);
});
