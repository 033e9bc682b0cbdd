/** `/ai-server-devices add`: a certificate for a phone, tablet or browser, and how it gets there. */
import { homedir } from "node:os";
import { join } from "node:path";
import type { OwnAddress } from "../../devices/link.ts";
import type { CaMachine } from "../../host/ca/machine.ts";
import { codeOf, ServerError } from "../../lib/errors.ts";
import { baseUrlOf } from "../../provider/pi-models.ts";
import { show } from "../../ui/output.ts";
import { type Call, chosenBy, requireUser, serverFor } from "../call.ts";
import { listOf, openCa, remember, signedBy, whereIs } from "./ca-access.ts";
import type { Parcel } from "./hand-over.ts";
import { deviceName } from "./names.ts";
import { activeDevices } from "./words.ts";

/** How long a link works. */
const LINK_MS = 5 * 60_000;

const LOOPBACK = "127.0.0.1";

type Way = { kind: "file" } | { kind: "link"; address: string };

export async function add(call: Call, argument: string): Promise<void> {
  requireUser(call.ctx);
  if (argument === "") {
    throw new ServerError(
      "What is the device called? Use /ai-server-devices add <name>, such as /ai-server-devices add phone.",
      { link: "configuration" },
    );
  }
  const name = deviceName(argument);
  await call.aiServer.exclusively(`/ai-server-devices add`, () => addNow(call, name));
}

async function addNow(call: Call, name: string): Promise<void> {
  const { ctx, waiting } = call;
  const { config } = await serverFor(call);
  const ca = await openCa(config);
  try {
    const list = await listOf(call, ca);
    if (activeDevices(list).some((device) => device.name === name)) {
      throw new ServerError(
        `${name} is on the list already. Choose another name, or revoke it first with /ai-server-devices revoke ${name}.`,
        { link: "certificates" },
      );
    }
    const way = await chosenWay(call, ca, name);
    if (way === undefined) return show(ctx, "Nothing was changed.");

    waiting.say("Making a key");
    const [{ phoneKey, signingRequest }, { filePassword, pkcs12 }] = await Promise.all([
      import("../../devices/keys.ts"),
      import("../../devices/pkcs12.ts"),
    ]);
    const key = await phoneKey();
    const request = signingRequest(name, key);
    const signed = await signedBy(call, ca, { name, request }, list.key === "encrypted");
    if (signed === undefined) return show(ctx, "Nothing was changed.");
    const password = filePassword();
    const parcel = {
      device: name,
      fileName: `${name}.p12`,
      content: pkcs12(name, key, signed, password),
      password,
      serverUrl: baseUrlOf(config),
    };
    const end = await handedOver(call, parcel, way).catch(async (error: unknown) => {
      await ca.revoke(signed.serial).catch(() => undefined);
      throw error;
    });
    if (end === undefined) {
      waiting.say(`Taking ${name} off the list again`);
      await ca.revoke(signed.serial);
      return show(ctx, `${name} was taken off the list again, and its certificate is revoked.`);
    }
    remember(call, await listOf(call, ca));
    show(ctx, end);
  } finally {
    await ca.close();
  }
}

async function chosenWay(call: Call, ca: CaMachine, name: string): Promise<Way | undefined> {
  const { ownAddresses } = await import("../../devices/link.ts");
  const question = {
    title: `Add ${name}: how should the certificate get there?`,
    consequences: [
      `A key and a certificate for ${name} are made and signed by the CA ${whereIs(ca)}. They are handed over in a file (PKCS#12) with a password, which is shown once.`,
      "A link works once, for five minutes, from this laptop: choose the address of the network that the device is in. Without the password the file is useless.",
    ],
  };
  return chosenBy<Way | undefined>(call, question, [
    { words: "Do not add it", means: undefined },
    ...linkWays(ownAddresses()),
    {
      words: `A link on ${LOOPBACK}, for a browser on this laptop`,
      means: { kind: "link", address: LOOPBACK },
    },
    { words: `A file on this laptop, ~/${name}.p12`, means: { kind: "file" } },
  ]);
}

function linkWays(addresses: readonly OwnAddress[]): { words: string; means: Way }[] {
  return addresses.map(({ address, at }) => ({
    words: `A link on ${address} (${at}), as a QR code`,
    means: { kind: "link", address },
  }));
}

function fileIn(name: string): string {
  return join(homedir(), name);
}

/** @returns how it ended, as a sentence; undefined where the device is to be taken off again */
async function handedOver(call: Call, parcel: Parcel, first: Way): Promise<string | undefined> {
  let way: Way | undefined = first;
  while (way !== undefined) {
    if (way.kind === "file") return asFile(call, parcel);
    if (await asLink(call, parcel, way.address)) {
      return `${parcel.device} has fetched its certificate, and is on the list. Import it there with the password that was shown.`;
    }
    way = await chosenAgain(call, parcel.device, way);
  }
  return undefined;
}

async function asFile(call: Call, parcel: Parcel): Promise<string> {
  const path = fileIn(parcel.fileName);
  const { writeNew } = await import("../../devices/pair.ts");
  await writeNew(path, parcel.content).catch((error: unknown) => {
    const why = codeOf(error) === "EEXIST" ? "it exists already" : codeOf(error) || "unknown reason";
    throw new ServerError(`${path} could not be written: ${why}. ${parcel.device} was not added.`, {
      link: "certificates",
      cause: error,
    });
  });
  const { showParcel } = await import("./hand-over.ts");
  await call.waiting.ask(() => showParcel(call, parcel, { kind: "file", path }));
  return `${parcel.device} is on the list. Its certificate is in ${path}: copy the file there, import it with the password that was shown, and delete it here.`;
}

/** @returns whether the device fetched it */
async function asLink(call: Call, parcel: Parcel, address: string): Promise<boolean> {
  const [{ openLink }, { showParcel }] = await Promise.all([
    import("../../devices/link.ts"),
    import("./hand-over.ts"),
  ]);
  const file = { name: parcel.fileName, content: parcel.content };
  const link = await openLink(address, file, LINK_MS);
  const close = (): void => void link.close();
  call.ended.addEventListener("abort", close, { once: true });
  try {
    const delivery = { kind: "link", link, endsAt: Date.now() + LINK_MS } as const;
    call.waiting.say(`Waiting until ${parcel.device} has fetched its certificate`, LINK_MS);
    if (call.ctx.mode === "tui") await call.waiting.ask(() => showParcel(call, parcel, delivery));
    else await showParcel(call, parcel, delivery);
    await link.close();
    return (await link.ended) === "fetched";
  } finally {
    call.ended.removeEventListener("abort", close);
    await link.close();
  }
}

async function chosenAgain(call: Call, name: string, way: Way): Promise<Way | undefined> {
  const question = {
    title: `${name} has not fetched its certificate. What now?`,
    consequences: ["The link no longer works. The certificate and its password are still valid."],
  };
  return chosenBy<Way | undefined>(call, question, [
    { words: `Take ${name} off the list again`, means: undefined },
    { words: "A new link", means: way },
    { words: `A file on this laptop, ~/${name}.p12`, means: { kind: "file" } },
  ]);
}
