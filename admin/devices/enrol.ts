/** `/ai-server-devices enrol`: a certificate for this laptop, the first one or a new one. */
import { X509Certificate } from "node:crypto";
import { hostname } from "node:os";
import type { Config } from "../../config.ts";
import type { StagedPair } from "../../devices/pair.ts";
import { type Device, type DeviceList, serialOf } from "../../host/ca/devices.ts";
import type { CaMachine, Signed } from "../../host/ca/machine.ts";
import { ServerError, sentenceOf } from "../../lib/errors.ts";
import { show } from "../../ui/output.ts";
import { type Call, isConfirmed, requireUser, serverFor } from "../call.ts";
import { refreshModels } from "../models.ts";
import { listOrNewCa } from "./authority.ts";
import { openCa, signedBy, whereIs } from "./ca-access.ts";
import { deviceName, suggestedName } from "./names.ts";
import { type Trial, tried } from "./trial.ts";
import { activeDevices, dayOf } from "./words.ts";

const NOTHING = "Nothing was changed.";
/** Caddy has just been reloaded, or restarted by the user's own command. */
const PATIENCE_MS = 5000;

export async function enrol(call: Call, argument: string): Promise<void> {
  requireUser(call.ctx);
  const name = argument === "" ? undefined : deviceName(argument);
  await call.aiServer.exclusively("/ai-server-devices enrol", () => enrolNow(call, name));
}

async function enrolNow(call: Call, wanted: string | undefined): Promise<void> {
  const { ctx, waiting } = call;
  const { config } = await serverFor(call);
  const ca = await openCa(config);
  try {
    const list = await listOrNewCa(call, ca, config);
    if (list === undefined) return show(ctx, NOTHING);
    const plan = await planned(config, list, wanted);
    if (!(await isConfirmed(call, questionFor(plan, config, ca), actsFor(plan)))) return show(ctx, NOTHING);

    waiting.say("Making a key");
    const [{ keyPem, laptopKey, signingRequest }, { discard, stage }] = await Promise.all([
      import("../../devices/keys.ts"),
      import("../../devices/pair.ts"),
    ]);
    const key = await laptopKey();
    const request = signingRequest(plan.name, key);
    const replaces = plan.present?.serial;
    const signed = await signedBy(call, ca, { name: plan.name, request, replaces }, list.key === "encrypted");
    if (signed === undefined) return show(ctx, NOTHING);
    // From here on to the end: what was signed is either used or taken back.
    const pem = { ...signed, key: keyPem(key, config.passphrase) };
    let staged: StagedPair | undefined;
    try {
      staged = await stage(config, pem);
      await useNow(call, ca, config, plan, signed, staged);
    } catch (error) {
      if (staged !== undefined) await discard(staged);
      await takenBack(ca, signed);
      throw error;
    }
  } finally {
    await ca.close();
  }
}

interface Plan {
  name: string;
  /** This laptop's certificate on the list, which the new one replaces. */
  present: Device | undefined;
  /** Files are in their places, whether or not they work. */
  hasFiles: boolean;
  caddy: DeviceList["caddy"];
}

async function planned(config: Config, list: DeviceList, wanted: string | undefined): Promise<Plan> {
  const { certificateInUse } = await import("../../devices/pair.ts");
  const own = await certificateInUse(config);
  const devices = activeDevices(list);
  const present = own && devices.find(({ serial }) => serial === serialOf(own));
  const taken = new Set(devices.map(({ name }) => name));
  const name = wanted ?? present?.name ?? suggestedName(hostname(), taken);
  if (present !== undefined && name !== present.name) {
    throw new ServerError(
      `This laptop is on the list as ${present.name}. Renew it with /ai-server-devices enrol; for a new name, first revoke ${present.name} from another device.`,
      { link: "certificates" },
    );
  }
  if (present === undefined && taken.has(name)) {
    throw new ServerError(
      `${name} is on the list already, with a certificate that this laptop does not have. Choose another name, or revoke ${name} first.`,
      { link: "certificates" },
    );
  }
  return { name: deviceName(name), present, hasFiles: own !== undefined, caddy: list.caddy };
}

function questionFor({ name, present, hasFiles }: Plan, config: Config, ca: CaMachine) {
  const title =
    present === undefined
      ? `Enrol this laptop as ${name}?`
      : `Renew the certificate of this laptop, ${name}, which expires on ${dayOf(present.expires)}?`;
  return {
    title,
    consequences: [
      `A new key is made here and stays here. The CA ${whereIs(ca)} signs a certificate for it, and Caddy reads its list of devices again.`,
      hasFiles
        ? `The new certificate is tried. If the server admits it, it takes the place of ${config.clientCert} and ${config.clientKey}, which are kept as backups.`
        : `The certificate is put into ${config.clientCert}, and its key into ${config.clientKey}.`,
      ...(present === undefined ? [] : ["Then the old certificate is revoked."]),
    ],
  };
}

function actsFor({ present }: Plan): readonly [string, string] {
  return ["Leave it as it is", present === undefined ? "Enrol" : "Renew"];
}

/** Tries the staged pair and puts it in its place, or throws. */
async function useNow(
  call: Call,
  ca: CaMachine,
  config: Config,
  plan: Plan,
  signed: Signed,
  staged: StagedPair,
): Promise<void> {
  const { waiting, ctx } = call;
  const { takeOver } = await import("../../devices/pair.ts");
  waiting.say("Trying the new certificate");
  const trial = await tried(config, staged.files, waiting.signal, plan.hasFiles ? PATIENCE_MS : 0);
  if (trial.kind !== "admitted" && plan.hasFiles) {
    throw new ServerError(
      `The server was not reached with the new certificate, so the old one stays: nothing was replaced. ${trial.why}`,
      { link: "certificates" },
    );
  }
  const stamp = new Date().toISOString().replace(/[-:]|\.\d+/g, "");
  const { backups } = await takeOver(config, staged, stamp);
  const notes = await oldRevoked(call, ca, config, plan);
  if (trial.kind === "admitted") await refreshModels(call, true).catch(() => undefined);
  const isWarning = trial.kind !== "admitted" || notes.some(({ isFault }) => isFault);
  const text = [
    `This laptop is enrolled as ${plan.name}. Its certificate is valid until ${expiryOf(signed)}.`,
    triedWords(trial),
    ...(backups.length === 0 ? [] : [`The previous files are at ${backups.join(" and ")}.`]),
    ...notes.map((note) => note.text),
  ];
  show(ctx, text.join("\n"), isWarning ? "warning" : "info");
}

function triedWords(trial: Trial): string {
  if (trial.kind === "admitted") return "The server admits it.";
  return `The server was not reached with it yet: ${trial.why}`;
}

function expiryOf({ certificate }: Signed): string {
  return dayOf(new Date(new X509Certificate(certificate).validTo));
}

/** Takes the replaced certificate off the list. Never throws: the new one is in its place. */
async function oldRevoked(
  call: Call,
  ca: CaMachine,
  config: Config,
  { present, caddy }: Plan,
): Promise<{ text: string; isFault: boolean }[]> {
  if (present === undefined) return [];
  try {
    call.waiting.say("Revoking the old certificate");
    const { revokedAndProven } = await import("./revoke.ts");
    return await revokedAndProven(call, ca, config, caddy, [present]);
  } catch (error) {
    return [
      {
        text: `The old certificate is still on the list. ${sentenceOf(error)}`,
        isFault: true,
      },
    ];
  }
}

/** As if it had not been signed; where that fails, the list shows it. */
async function takenBack(ca: CaMachine, { serial }: Signed): Promise<void> {
  await ca.revoke(serial).catch(() => undefined);
}
