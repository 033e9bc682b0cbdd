/** `/ai-server-devices revoke`: takes a device off the list, and proves it. */
import leven from "leven";
import type { Config } from "../../config.ts";
import { type CaddyFacts, type Device, type DeviceList, serialOf } from "../../host/ca/devices.ts";
import type { CaMachine } from "../../host/ca/machine.ts";
import { shown } from "../../host/config/refusals.ts";
import { ServerError, sentenceOf } from "../../lib/errors.ts";
import { show } from "../../ui/output.ts";
import { type Call, isConfirmed, requireUser, serverFor } from "../call.ts";
import { listOf, openCa, remember, whereIs, withDoubt } from "./ca-access.ts";
import { type Trial, tried } from "./trial.ts";
import { activeDevices, dayOf, listToAdd, minuteOf, noListWords } from "./words.ts";

/** A Caddy that the user's own command restarts is away for a moment. */
const PATIENCE_MS = 15_000;
/** For all steps after the first one: each has a limit of its own, and none may be left out. */
const LIMIT_MS = 300_000;

export interface Note {
  text: string;
  isFault: boolean;
}

export async function revoke(call: Call, argument: string): Promise<void> {
  requireUser(call.ctx);
  if (argument === "") {
    throw new ServerError("Which device? Use /ai-server-devices revoke <name>; Tab completes the name.", {
      link: "configuration",
    });
  }
  await call.aiServer.exclusively("/ai-server-devices revoke", () => revokeNow(call, argument));
}

async function revokeNow(call: Call, name: string): Promise<void> {
  const { ctx } = call;
  const { config } = await serverFor(call);
  const ca = await openCa(config);
  try {
    const list = await listOf(call, ca);
    const meant = named(list, name);
    await refuseThis(config, list, meant);
    refuseWithoutList(list, ca);
    const question = {
      title: `Revoke ${name}?`,
      consequences: [
        ...meant.map((device) => deviceWords(device)),
        `It is taken off the list ${whereIs(ca)}, and Caddy reads the list again. If this laptop then no longer gets in, ${name} is put back at once.`,
        `This cannot be undone later: ${name} would need a new certificate.`,
      ],
    };
    if (!(await isConfirmed(call, question, ["Leave it as it is", "Revoke"]))) {
      return show(ctx, "Nothing was changed.");
    }
    const notes = await revokedAndProven(call, ca, config, list.caddy, meant);
    const text = [
      `${name} was revoked.`,
      ...notes.map((note) => note.text),
      "Its idle connections are closed. A request that it has in flight goes on until the answer ends; a restart of Caddy, or /ai-server-restart, ends it at once.",
    ];
    remember(call, { ...list, devices: list.devices.filter(({ serial }) => !isOneOf(serial, meant)) });
    show(ctx, text.join("\n"), notes.some(({ isFault }) => isFault) ? "warning" : "info");
  } finally {
    await ca.close();
  }
}

function isOneOf(serial: string, devices: readonly Device[]): boolean {
  return devices.some((device) => device.serial === serial);
}

function deviceWords({ issued, expires, seen }: Device): string {
  const last = seen === undefined ? "" : `, last seen ${minuteOf(seen)}`;
  return `Its certificate was issued on ${dayOf(issued)} and is valid until ${dayOf(expires)}${last}.`;
}

/** All certificates of a name: a renewal that was cut off leaves two. @throws {ServerError} */
function named(list: DeviceList, name: string): Device[] {
  const active = activeDevices(list);
  const meant = active.filter((device) => device.name === name || device.serial === name);
  if (meant.length > 0) return meant;
  const gone = list.devices.find((device) => device.name === name);
  if (gone?.revoked !== undefined) {
    throw new ServerError(`${name} was revoked already, on ${dayOf(gone.revoked)}.`, {
      link: "certificates",
    });
  }
  const near = active
    .map((device) => ({ name: device.name, away: leven(device.name, name) }))
    .sort((a, b) => a.away - b.away)[0];
  const next = near === undefined ? "The list is empty." : `Did you mean ${near.name}?`;
  throw new ServerError(`No device ${shown(name)} is on the list. ${next}`, { link: "certificates" });
}

async function refuseThis(config: Config, list: DeviceList, meant: readonly Device[]): Promise<void> {
  const { certificateInUse } = await import("../../devices/pair.ts");
  const own = await certificateInUse(config);
  const serial = own && serialOf(own);
  if (serial !== undefined && isOneOf(serial, meant)) {
    throw new ServerError(
      "That is this laptop: it would lock itself out. Revoke it from another device, or renew its certificate with /ai-server-devices enrol, which revokes the old one.",
      { link: "certificates" },
    );
  }
  const left = activeDevices(list).filter((device) => !isOneOf(device.serial, meant));
  if (left.length === 0 && list.caddy.list === "import") {
    throw new ServerError(
      "That is the last device on the list, and this laptop is not on it: with an empty list Caddy 2.6 may admit every certificate of the CA. Enrol this laptop first, with /ai-server-devices enrol.",
      { link: "certificates" },
    );
  }
}

/** @throws {ServerError} with what to do */
function refuseWithoutList({ caddy, folder }: DeviceList, ca: CaMachine): void {
  if (caddy.list === "none") {
    throw new ServerError(
      `${noListWords(caddy)} Nothing was changed.\n${listToAdd(folder, caddy).join("\n")}`,
      { link: "Caddy" },
    );
  }
  if (caddy.list === "unknown" && !caddy.hasReloadCommand) {
    throw new ServerError(
      `No running Caddy with a readable Caddyfile was found ${whereIs(ca)}, so nothing could make it read the list. Set AI_SERVER_CADDY_RELOAD to the command that reloads it. Nothing was changed.`,
      { link: "Caddy", variable: "AI_SERVER_CADDY_RELOAD" },
    );
  }
}

/**
 * Revokes devices and tries the result. If this laptop is locked out by it, all of them are put back.
 *
 * @throws {ServerError} where nothing was revoked in the end
 */
export async function revokedAndProven(
  call: Call,
  ca: CaMachine,
  config: Config,
  caddy: Pick<CaddyFacts, "list">,
  devices: readonly Device[],
): Promise<Note[]> {
  const { waiting } = call;
  waiting.say("Trying this laptop's certificate");
  const before = await tried(config, {}, waiting.signal);
  waiting.say("Revoking, and making Caddy read the list");
  // Not with the user's signal: a list that was changed must be tried, and put back if need be.
  const signal = AbortSignal.timeout(LIMIT_MS);
  const gone: Device[] = [];
  let isRead = true;
  try {
    for (const device of devices) {
      const isReadNow = await ca.revoke(device.serial, signal);
      gone.push(device);
      isRead &&= isReadNow;
    }
  } catch (error) {
    await allBack(ca, gone, signal);
    throw withDoubt(error, devices[gone.length]?.name ?? "the device");
  }
  if (before.kind === "admitted") await refuseLockout(call, ca, config, gone, signal);
  const proofs: Note[] = [];
  const read = isRead ? (caddy.list === "unknown" ? "perhaps" : "yes") : "no";
  for (const device of gone)
    proofs.push(await proofOf(config, device, { read, isOwnIn: before.kind === "admitted" }, signal));
  return [...ownNotes(before), ...proofs];
}

function ownNotes(before: Trial): Note[] {
  if (before.kind === "admitted") return [{ text: "This laptop still gets in.", isFault: false }];
  return [
    {
      text: `Whether this laptop still gets in could not be checked, since it did not get in before: ${before.why}`,
      isFault: true,
    },
  ];
}

async function refuseLockout(
  call: Call,
  ca: CaMachine,
  config: Config,
  gone: readonly Device[],
  signal: AbortSignal,
): Promise<void> {
  call.waiting.say("Checking that this laptop still gets in");
  const after = await tried(config, {}, signal, PATIENCE_MS);
  if (after.kind === "admitted") return;
  call.waiting.say("This laptop is locked out: putting everything back");
  const problem = await allBack(ca, gone, signal);
  const again = problem === undefined ? await tried(config, {}, signal, PATIENCE_MS) : after;
  const now =
    problem !== undefined
      ? `It could not be put back: ${problem} On that machine, move it from revoked/ to devices/ and reload Caddy.`
      : again.kind === "admitted"
        ? "It was put back, and this laptop gets in again. Nothing was revoked."
        : "It was put back, but this laptop still does not get in: Caddy's configuration itself may have changed. Nothing was revoked.";
  throw new ServerError(`With the device off the list, this laptop did not get in: ${after.why} ${now}`, {
    link: "Caddy",
  });
}

/** @returns why it did not work */
async function allBack(
  ca: CaMachine,
  gone: readonly Device[],
  signal: AbortSignal,
): Promise<string | undefined> {
  try {
    for (const { serial } of gone) await ca.putBack(serial, signal);
    return undefined;
  } catch (error) {
    return sentenceOf(error);
  }
}

/** Whether Caddy has read the list: a Caddyfile that is not seen may have none. */
const BY_LIST: Readonly<
  Record<"yes" | "perhaps" | "no", Omit<Note, "text"> & { says: (name: string) => string }>
> = {
  yes: {
    says: (name) => `${name} is off the list, and Caddy has read it.`,
    isFault: false,
  },
  perhaps: {
    says: (name) =>
      `${name} is off the list, and Caddy was reloaded. Its Caddyfile was not found, so check that it has the list (docs/devices.md).`,
    isFault: false,
  },
  no: {
    says: (name) =>
      `${name} is off the list, but no Caddy reads it: the old certificate is valid until it expires.`,
    isFault: true,
  },
};

/** With its key where that is at hand, else by the list. */
async function proofOf(
  config: Config,
  { name, serial }: Device,
  { read, isOwnIn }: { read: keyof typeof BY_LIST; isOwnIn: boolean },
  signal: AbortSignal,
): Promise<Note> {
  const { backedUpPair } = await import("../../devices/pair.ts");
  const pair = await backedUpPair(config, serial, serialOf);
  const trial = pair && (await tried(config, pair, signal));
  // Not every program that checks certificates says why it closes a connection; this laptop's own gets in.
  if (trial?.kind === "refused" || (trial?.kind === "unknown" && isOwnIn)) {
    return { text: `Tried: the server refuses the old certificate of ${name}.`, isFault: false };
  }
  if (trial?.kind === "admitted") {
    return {
      text: `Tried: the server still admits the old certificate of ${name}. Caddy has no list of devices, or reads another one. See docs/devices.md.`,
      isFault: true,
    };
  }
  const { says, isFault } = BY_LIST[read];
  const untried =
    trial === undefined
      ? "Its certificate could not be tried: its key is not on this laptop."
      : `Its certificate could not be tried: ${trial.why}`;
  return { text: `${says(name)} ${untried}`, isFault };
}
