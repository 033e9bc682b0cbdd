/** The machine of the CA as the commands use it, and what they all ask of it. */
import type { Config } from "../../config.ts";
import type { DeviceList } from "../../host/ca/devices.ts";
import type { CaMachine, Signed } from "../../host/ca/machine.ts";
import { HostError } from "../../host/ssh/ssh-faults.ts";
import { ServerError } from "../../lib/errors.ts";
import { show } from "../../ui/output.ts";
import type { Call } from "../call.ts";

/** In case pi is killed; a user may look at a QR code for minutes between two steps. */
const CONNECTION_KEEP_MS = 60_000;
const MOST_PASSPHRASES = 3;

/**
 * Opens nothing yet: the first use of the machine does.
 *
 * @throws {ServerError} where no machine is set, or the server is reached without certificates
 */
export async function openCa(config: Config): Promise<CaMachine> {
  const { caHost } = config;
  if (config.origin.startsWith("http:")) {
    throw new ServerError(
      "AI_SERVER_URL begins with http:, so no certificate is used. Devices belong to a server that Caddy protects: set AI_SERVER_URL to its https: address.",
      { link: "configuration", variable: "AI_SERVER_URL" },
    );
  }
  if (caHost === undefined) {
    throw new ServerError(
      "AI_SERVER_CA_HOST is not set, and neither is AI_SERVER_SSH_HOST, so this command knows no machine that has the CA. Set AI_SERVER_CA_HOST to its ssh target, such as user@host, or to local if the CA is on this machine.",
      { link: "configuration", variable: "AI_SERVER_CA_HOST" },
    );
  }
  const [{ Shell }, { CaMachine }] = await Promise.all([
    import("../../host/ssh/shell.ts"),
    import("../../host/ca/machine.ts"),
  ]);
  const settings = { host: caHost, folder: config.caDir, reloadCommand: config.caddyReload };
  return new CaMachine(
    settings,
    (mode) =>
      new Shell({
        host: caHost,
        mode,
        connectTimeoutMs: config.sshTimeoutMs,
        keepMs: CONNECTION_KEEP_MS,
        presetPath: config.presetPath,
        serviceUnit: config.serviceUnit,
        restartCommand: undefined,
      }),
  );
}

/** The list of an existing CA. @throws {ServerError} where there is none */
export async function listOf(call: Call, ca: CaMachine): Promise<DeviceList> {
  call.waiting.say("Reading the list of devices");
  const found = await ca.list(call.waiting.signal);
  if (!("missingIn" in found)) {
    remember(call, found);
    return found;
  }
  throw new ServerError(
    `There is no CA in ${found.missingIn} ${whereIs(ca)}. /ai-server-devices enrol offers to make one; if you have one elsewhere, set AI_SERVER_CA_HOST and AI_SERVER_CA_DIR.`,
    { link: "certificates" },
  );
}

/** For Tab, which must not ask the machine. */
export function remember({ aiServer }: Pick<Call, "aiServer">, { devices }: DeviceList): void {
  aiServer.remembered.deviceNames = [
    ...new Set(devices.filter(({ revoked }) => revoked === undefined).map(({ name }) => name)),
  ];
}

/** `on ca.example.org` */
export function whereIs({ settings: { host } }: CaMachine): string {
  return host === "local" ? "on this machine" : `on ${host}`;
}

/**
 * Has a request signed, and asks for the passphrase of the CA's key where it has one.
 *
 * @returns undefined where the user gave none: then nothing was signed
 */
export async function signedBy(
  call: Call,
  ca: CaMachine,
  { name, request, replaces }: { name: string; request: string; replaces?: string | undefined },
  isEncrypted: boolean,
): Promise<Signed | undefined> {
  const { waiting } = call;
  let fault = "";
  for (let tries = 0; ; tries++) {
    const passphrase = isEncrypted ? await askedPassphrase(call, ca, fault) : undefined;
    if (isEncrypted && passphrase === undefined) return undefined;
    waiting.say(`Signing the certificate of ${name}`);
    try {
      return await ca.sign(name, request, { replaces, passphrase }, waiting.signal);
    } catch (error) {
      if (waiting.signal.aborted) {
        show(call.ctx, `Cancelled. ${name} may be on the list already: see /ai-server-devices.`, "warning");
      }
      const isWrong = error instanceof HostError && error.code === "passphrase-wrong";
      if (!isWrong || tries + 1 >= MOST_PASSPHRASES) throw withDoubt(error, name);
      fault = error.message;
    }
  }
}

/** A step whose answer did not come may have been done all the same. */
export function withDoubt(error: unknown, name: string): unknown {
  if (!(error instanceof HostError) || (error.code !== "timeout" && error.code !== "unanswered"))
    return error;
  const sentence = `${error.message} The change may have been made nevertheless: /ai-server-devices shows whether ${name} is on the list.`;
  return new HostError(sentence, error.code, { link: "ssh", cause: error });
}

async function askedPassphrase(call: Call, ca: CaMachine, fault: string): Promise<string | undefined> {
  const { askSecret } = await import("../../ui/secret.ts");
  const title = `Passphrase of the CA's key ${whereIs(ca)}`;
  return call.waiting.ask(() => askSecret(call.ctx, { title, fault }, call.ended));
}
