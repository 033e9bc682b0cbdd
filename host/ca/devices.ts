/** The devices of a CA, as plain data read from what `ai-server-ca list` answers. */
import { X509Certificate } from "node:crypto";
import { oneLine } from "../../lib/text.ts";
import { type Answer, type AnswerLine, valueFor } from "../ssh/protocol.ts";

/** One certificate that the CA gave to a device. */
export interface Device {
  /** As its folder is called; that of a file put there by hand may be anything. */
  name: string;
  /** Hex digits, small, without zeros at the beginning. */
  serial: string;
  issued: Date;
  expires: Date;
  /** Undefined for one that Caddy admits. */
  revoked: Date | undefined;
  /** When Caddy's log shows it last. */
  seen: Date | undefined;
}

/** How Caddy reads the list: a folder (2.8 and newer), imported lines (2.6), not at all, or its file was not found. */
type ListForm = "leaf" | "import" | "none" | "unknown";

/** What is known of the Caddy on the machine. */
export interface CaddyFacts {
  list: ListForm;
  /** The Caddyfile that a running Caddy was started with. */
  file: string | undefined;
  /** As `2.6.2`. */
  version: string | undefined;
  hasReloadCommand: boolean;
  /** The list has changed since Caddy read it, because a step was interrupted. */
  isPending: boolean;
  /** A folder on the way to the list that other users, such as Caddy's, cannot enter. */
  closedFolder: string | undefined;
}

export interface DeviceList {
  /** The CA's own certificate as PEM. */
  authority: string;
  /** On the machine, absolute. */
  folder: string;
  /** Whether the CA's key is there, and asks for a passphrase. */
  key: "open" | "encrypted" | "missing" | "unreadable";
  /** Those that Caddy admits and those that were revoked, each in the order of their names. */
  devices: readonly Device[];
  caddy: CaddyFacts;
}

const FORMS: Readonly<Record<string, ListForm>> = { leaf: "leaf", import: "import", none: "none" };
const KEYS: Readonly<Record<string, DeviceList["key"]>> = {
  open: "open",
  encrypted: "encrypted",
  missing: "missing",
};
const MOST_NAME = 60;

/** @returns the list, or the folder in which a CA can be made */
export function listIn(answer: Answer): DeviceList | { missingIn: string } {
  const { lines } = answer;
  const folder = decoded(valueFor(lines, "folder"));
  const authority = contentAfter(lines, "authority");
  if (authority === undefined) return { missingIn: folder };
  const seen = new Map(lines.flatMap(seenIn));
  const devices = lines.flatMap((_, at) => deviceAt(lines, at, seen));
  return {
    authority,
    folder,
    key: KEYS[valueFor(lines, "key") ?? ""] ?? "unreadable",
    devices: devices.sort((a, b) => a.name.localeCompare(b.name) || Number(a.issued) - Number(b.issued)),
    caddy: caddyIn(lines),
  };
}

export function caddyIn(lines: readonly AnswerLine[]): CaddyFacts {
  const version = /^v?(\d+\.\d+\.\d+)/.exec(valueFor(lines, "caddy") ?? "")?.[1];
  return {
    list: FORMS[valueFor(lines, "list") ?? ""] ?? "unknown",
    file: decoded(valueFor(lines, "caddyfile")) || undefined,
    version,
    hasReloadCommand: valueFor(lines, "reload-command") !== undefined,
    isPending: valueFor(lines, "pending") !== undefined,
    closedFolder: decoded(valueFor(lines, "closed")) || undefined,
  };
}

/** A path of the machine, safe to show. */
export function decoded(value: string | undefined): string {
  return oneLine(Buffer.from(value ?? "", "base64").toString("utf8"), 1000);
}

/** The text of the content that follows the line with this key. */
export function contentAfter(lines: readonly AnswerLine[], key: string): string | undefined {
  const at = lines.findIndex((line, index) => line.key === key && lines[index + 1]?.key === "content");
  return at < 0 ? undefined : lines[at + 1]?.body?.toString("latin1");
}

/** A serial number as node shows it, in the spelling of the machine. */
export function serialOf({ serialNumber }: Pick<X509Certificate, "serialNumber">): string {
  return serialNumber.toLowerCase().replace(/^0+(?=.)/, "");
}

function deviceAt(lines: readonly AnswerLine[], at: number, seen: ReadonlyMap<string, Date>): Device[] {
  const line = lines[at];
  const isRevoked = line?.key === "revoked";
  if (line === undefined || (line.key !== "device" && !isRevoked)) return [];
  const certificate = certificateIn(lines[at + 1]?.body);
  if (certificate === undefined) return [];
  const entry = decoded(line.value).replace(/\.pem$/, "");
  const [, stamp, rest = entry] = (isRevoked && /^(\d{8}T\d{6}Z)\.(.*)$/.exec(entry)) || [];
  const serial = serialOf(certificate);
  const name = rest.endsWith(`.${serial}`) ? rest.slice(0, -serial.length - 1) : rest;
  return [
    {
      name: name.slice(0, MOST_NAME),
      serial,
      issued: new Date(certificate.validFrom),
      expires: new Date(certificate.validTo),
      revoked: isRevoked ? stampDate(stamp ?? "") : undefined,
      seen: seen.get(serial),
    },
  ];
}

function certificateIn(body: Buffer | undefined): X509Certificate | undefined {
  try {
    return body && new X509Certificate(body);
  } catch {
    // Another program's file: it admits no device.
    return undefined;
  }
}

function stampDate(stamp: string): Date {
  const parts = /^(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z$/.exec(stamp);
  const [, year, month, day, hour, minute, second] = parts ?? [];
  const date = new Date(`${year}-${month}-${day}T${hour}:${minute}:${second}Z`);
  // A file that was moved there by hand has no stamp; the certificate is revoked all the same.
  return Number.isNaN(date.getTime()) ? new Date(0) : date;
}

/** `seen <serial number, decimal> <Unix seconds or a date>` */
function seenIn({ key, value }: AnswerLine): [string, Date][] {
  const [, serial, when] = (key === "seen" && /^(\d{1,50}) ([\dA-Za-z.:+-]{1,40})$/.exec(value)) || [];
  if (serial === undefined || when === undefined) return [];
  const date = new Date(/^\d+(\.\d+)?$/.test(when) ? Number(when) * 1000 : when);
  return Number.isNaN(date.getTime()) ? [] : [[BigInt(serial).toString(16), date]];
}
