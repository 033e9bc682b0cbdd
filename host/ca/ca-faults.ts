/** The codes of `ai-server-ca` as sentences. */
import { cleanText, oneLine } from "../../lib/text.ts";
import { HostError } from "../ssh/ssh-faults.ts";

/** What the sentences name. */
export interface CaPlace {
  /** `on ca.example.org`, or `on this machine`. */
  where: string;
  /** The folder of the CA, as the user knows it. */
  folder: string;
  /** Where the folder and the reload command are set. */
  folderSetting: string;
  reloadSetting: string;
}

type Sentence = (at: CaPlace, said: string) => string;

const SIGNED = "Nothing was signed.";
const CHANGED = "Nothing was changed.";

const FAULTS: Readonly<Record<string, Sentence>> = {
  "no-authority": (at) => `There is no CA in ${at.folder} ${at.where}: root-ca.pem is missing there.`,
  "not-a-ca": (at) =>
    `${at.folder} ${at.where} has files, but no root-ca.pem, so it is not the folder of a CA. Set ${at.folderSetting} to the folder that is, or to one that does not exist yet.`,
  exists: (at) => `There is a CA in ${at.folder} ${at.where} already. ${CHANGED}`,
  "ca-unreadable": (at, said) =>
    `The user that logs in ${at.where} may not read ${said}, which belongs to the CA.`,
  "ca-write-failed": (at, said) =>
    `A file of the CA could not be written in ${at.folder} ${at.where}: ${said}. ${CHANGED}`,
  "no-key": (at) =>
    `The CA's key, ca-key.pem, is not in ${at.folder} ${at.where}, so nothing can be signed there. Set AI_SERVER_CA_HOST and ${at.folderSetting} to the machine and folder that have it.`,
  "other-key": (at) =>
    `ca-key.pem in ${at.folder} ${at.where} is not the key of root-ca.pem there. ${SIGNED}`,
  "passphrase-needed": (at) => `The CA's key ${at.where} has a passphrase.`,
  "passphrase-wrong": (at) => `The passphrase does not open the CA's key ${at.where}. ${SIGNED}`,
  "no-openssl": (at) =>
    `openssl is missing ${at.where}, or cannot be run. Install it there (on Debian: apt-get install openssl).`,
  "sign-failed": (at, said) => `openssl ${at.where} did not make the certificate: ${said}. ${SIGNED}`,
  "bad-csr": (at, said) =>
    `The signing request is not one that ai-server-ca ${at.where} accepts: ${said}. ${SIGNED}`,
  "weak-key": () =>
    `The key in the signing request is too weak, or of another kind than EC P-256 and RSA. ${SIGNED}`,
  "name-taken": (at) =>
    `There is a device of this name ${at.where} already. Choose another name, or revoke that device first. ${SIGNED}`,
  "other-name": (at) =>
    `The certificate that is to be replaced has another name ${at.where}. Read the list again. ${SIGNED}`,
  "unknown-device": (at) =>
    `There is no such device on the list ${at.where}. Read the list again. ${CHANGED}`,
  "already-revoked": (at) => `That device has been revoked ${at.where} already.`,
  "too-late": (at) =>
    `The device was revoked ${at.where} more than ten minutes ago, and cannot be put back. Add it again.`,
  "no-caddy": (at) =>
    `No running Caddy with a readable Caddyfile was found ${at.where}, so nothing could make it read the list. Set ${at.reloadSetting}. ${CHANGED}`,
  "reload-failed": (at, said) =>
    `Caddy ${at.where} did not read the list of devices: ${said || "the command gave no reason."} It runs on as before. ${CHANGED}`,
  locked: (at) =>
    `Another program is changing the list of devices ${at.where} right now. ${CHANGED} Try again.`,
  "write-failed": (at, said) => `No lock could be made in ${at.folder} ${at.where}: ${said}. ${CHANGED}`,
  incomplete: (at) => `The request did not arrive whole ${at.where}. ${CHANGED}`,
  "not-allowed": (at) =>
    `ai-server-ca ${at.where} does not do this for a key that is tied to it. Do it on the machine itself, or use a key with a shell.`,
  "bad-request": (at) =>
    `ai-server-ca ${at.where} did not understand the request. Install the one that belongs to this version.`,
};

/** Of what Caddy wrote, the line that says why. */
function reasonIn(detail: string): string {
  const error = /^Error: (?:sending configuration to instance: )?(.*)$/m.exec(detail)?.[1];
  const inside = error && /"error":"((?:[^"\\]|\\.)*)"/.exec(error)?.[1];
  return inside ?? error ?? detail;
}

/** @param detail what a program there wrote; cleaned and shortened here */
export function caFault(code: string, detail: string, place: CaPlace): HostError {
  const said = oneLine(reasonIn(cleanText(detail, 2000)), 400).replace(/\.$/, "");
  const sentence = Object.hasOwn(FAULTS, code) ? FAULTS[code]?.(place, said) : undefined;
  return new HostError(sentence ?? `The step ${place.where} failed (${code}).`, code, { link: "ssh" });
}
