/** The list of devices as lines and as data. Pure. */

import { clientAuthLines } from "../../host/ca/caddyfile.ts";
import type { CaddyFacts, Device, DeviceList } from "../../host/ca/devices.ts";
import { counted } from "../../lib/figures.ts";
import { type Column, table } from "../../ui/layout.ts";
import { type Result, type Style, unpainted } from "../../ui/result.ts";

const DAY_MS = 86_400_000;
/** From then on a certificate is worth a look. */
export const RENEW_DAYS = 30;
const UNKNOWN = "–";

export const COLUMNS: readonly Column[] = [
  { title: "Device", priority: 0 },
  { title: "Issued", priority: 4 },
  { title: "Expires", priority: 1 },
  { title: "Last seen", priority: 2 },
  { title: "Serial", priority: 5 },
];

/** A day in UTC, as certificates have it: `2026-11-20`. */
export function dayOf(date: Date): string {
  return date.toISOString().slice(0, 10);
}

/** In the user's time zone, to the minute. */
export function minuteOf(date: Date): string {
  return date.toLocaleString("sv-SE").slice(0, 16);
}

export function daysLeft({ expires }: Device, now: number): number {
  return Math.floor((expires.getTime() - now) / DAY_MS);
}

/** `laptop (this device)`; a second certificate of the same name takes the place of the first one. */
function nameWords(device: Device, own: string | undefined): string {
  return device.serial === own ? `${device.name} (this device)` : device.name;
}

export function activeDevices({ devices }: Pick<DeviceList, "devices">): Device[] {
  return devices.filter(({ revoked }) => revoked === undefined);
}

/** The last one revoked comes first. */
export function revokedDevices({ devices }: Pick<DeviceList, "devices">): Device[] {
  return devices
    .filter(({ revoked }) => revoked !== undefined)
    .sort((a, b) => Number(b.revoked) - Number(a.revoked));
}

/** The cells of a device in the order of `COLUMNS`. */
export function cellsOf(device: Device, own: string | undefined, now: number): string[] {
  const left = daysLeft(device, now);
  const expires = dayOf(device.expires);
  const expiry =
    left < 0 ? `${expires} (expired)` : left < RENEW_DAYS ? `${expires} (${counted(left, "day")})` : expires;
  const seen = device.seen === undefined ? UNKNOWN : minuteOf(device.seen);
  return [nameWords(device, own), dayOf(device.issued), expiry, seen, device.serial];
}

/** What the user is to know of the CA and its Caddy, as sentences. */
export function remarksOn(list: DeviceList): string[] {
  const { caddy, key, folder } = list;
  return [
    ...(caddy.isPending
      ? [
          "The list has changed since Caddy read it, because a step was interrupted. The next enrol, add or revoke makes Caddy read it again.",
        ]
      : []),
    ...(caddy.list === "none" ? [noListWords(caddy)] : []),
    ...(key === "missing"
      ? [`The CA's key is not in ${folder}: devices can be revoked, but none can be added.`]
      : []),
    ...(key === "unreadable" ? [`The CA's key in ${folder} cannot be read by the user that logs in.`] : []),
  ];
}

export function noListWords({ file }: Pick<CaddyFacts, "file">): string {
  const where = file === undefined ? "Caddy" : `${file}`;
  return `${where} has no list of devices: every certificate of the CA is admitted until it expires, and revoke has no effect.`;
}

/** What to add to a Caddyfile without the list. */
export function listToAdd(folder: string, { version }: Pick<CaddyFacts, "version">): string[] {
  return [
    "Put these lines between the braces of client_auth, in place of what is there, and reload Caddy:",
    ...clientAuthLines(folder, version).map((line) => `    ${line.replaceAll("\t", "    ")}`),
  ];
}

/** The list, as a command without a screen shows it. @param own the serial number of this laptop's certificate */
export function listResult(list: DeviceList, own: string | undefined, where: string, now: number): Result {
  const active = activeDevices(list);
  const revoked = revokedDevices(list);
  const remarks = remarksOn(list);
  const content = (width: number, style: Style): string[] => {
    const rows = active.map((device) => {
      const expiry = daysLeft(device, now) < RENEW_DAYS ? style.busy : unpainted;
      const paints = [unpainted, unpainted, expiry, unpainted, style.dim];
      return cellsOf(device, own, now).map((text, at) => ({ text, paint: paints[at] ?? unpainted }));
    });
    const listed =
      rows.length === 0
        ? ["No device has a certificate of this CA."]
        : table(COLUMNS, rows, width, style.dim);
    const gone = revoked.map(({ name, revoked: date, serial }) => [
      name,
      date === undefined ? UNKNOWN : minuteOf(date),
      serial,
    ]);
    const columns = [
      { title: "Revoked", priority: 0 },
      { title: "When", priority: 1 },
      { title: "Serial", priority: 5 },
    ];
    return [
      ...listed,
      ...(gone.length === 0 ? [] : ["", ...table(columns, gone, width, style.dim)]),
      ...remarks.flatMap((text) => ["", ...style.hanging("", text, width)]),
    ];
  };
  return {
    level: remarks.length > 0 ? "warning" : "info",
    heading: `Devices of the CA ${where}: ${active.length} admitted, ${revoked.length} revoked`,
    content,
    data: { devices: [...active, ...revoked].map((device) => dataOf(device, own)), ca: list.folder },
  };
}

function dataOf(device: Device, own: string | undefined): Record<string, unknown> {
  return {
    name: device.name,
    serial: device.serial,
    issued: device.issued.toISOString(),
    expires: device.expires.toISOString(),
    seen: device.seen?.toISOString() ?? null,
    revoked: device.revoked?.toISOString() ?? null,
    isThisDevice: device.serial === own,
  };
}
