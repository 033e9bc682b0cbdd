/** The error codes of `ai-server-admin` as sentences. */
import { oneLine } from "../../lib/text.ts";
import { HostError } from "./ssh-faults.ts";

/** What the sentences name. */
export interface FaultPlace {
  /** `on <host>` */
  where: string;
  file: string;
  unit: string;
  /** Where file, unit and restart command are set. */
  fileSetting: string;
  unitSetting: string;
  commandSetting: string;
}

const LINKS = ["config file", "unit", "ssh"] as const;

type Sentences = Readonly<Record<string, (at: FaultPlace, said: string) => string>>;

const NOTHING = "Nothing was changed.";

/** By what fails, and the code of `ai-server-admin`. */
const FAULTS: Readonly<Record<(typeof LINKS)[number], Sentences>> = {
  "config file": {
    missing: (at) => `${at.file} does not exist ${at.where}. Set ${at.fileSetting} to the server's config.`,
    unreadable: (at) => `The user that logs in ${at.where} may not read ${at.file}.`,
    "not-a-file": (at) => `${at.file} ${at.where} is neither a file nor a folder.`,
    "not-utf8": (at) => `${at.file} ${at.where} is not UTF-8 text, so it is not touched.`,
    "too-large": (at) => `${at.file} ${at.where} is larger than 4 MiB, so it is not touched.`,
    "read-only": (at) =>
      `${at.file} ${at.where} is read-only. Something else may write it; change it there. ${NOTHING}`,
    "folder-read-only": (at) =>
      `The user that logs in ${at.where} may not write to the folder of ${at.file}, or may not list it; the backup and the new file must be made there. ${NOTHING}`,
    changed: (at) => `${at.file} ${at.where} was changed by another program meanwhile. ${NOTHING}`,
    "changed-after": (at) => `${at.file} ${at.where} was changed by another program right after the write.`,
    locked: (at) => `Another program is changing ${at.file} ${at.where} right now. ${NOTHING} Try again.`,
    rights: (at, said) =>
      `A new file in place of ${at.file} could not keep its mode and owner (${said}). ${NOTHING}`,
    incomplete: (at) => `The new content did not arrive whole, or the disk ${at.where} is full. ${NOTHING}`,
    "write-failed": (at, said) =>
      `The new file beside ${at.file} ${at.where} could not be written (${said}). ${NOTHING}`,
    "no-backup": (at) => `There is no such backup of ${at.file} ${at.where}. ${NOTHING}`,
  },
  unit: {
    "no-unit": (at) =>
      `${at.unit} does not exist ${at.where}. Set ${at.unitSetting} to its name ("systemctl --user list-units" there shows it), or ${at.commandSetting} if it is not a user unit.`,
    "no-bus": (at) =>
      `systemctl --user has no session to connect to ${at.where}. Run "loginctl enable-linger" there once as that user, or set ${at.commandSetting}.`,
    "other-runtime": (at, said) =>
      `systemctl --user finds no session ${at.where}: XDG_RUNTIME_DIR is ${said || "another session's"}. A startup file there sets it (~/.bashrc, ~/.profile, ~/.zshenv or ~/.ssh/environment): remove that line. If the right folder does not exist, run "loginctl enable-linger" there once as that user, or set ${at.commandSetting}.`,
    "no-systemctl": (at) =>
      `There is no systemctl ${at.where}. Set ${at.commandSetting} to what restarts the server.`,
    "unit-unknown": (at, said) => `systemd does not report the unit ${at.where}: ${said}`,
    "restart-failed": (at, said) => `The restart ${at.where} failed: ${said || "it gave no reason."}`,
    "no-journal": (at, said) => `The journal cannot be read ${at.where}. ${said}`,
  },
  ssh: {
    "not-allowed": (at) =>
      `ai-server-admin ${at.where} does not know this verb. Install the one that belongs to this version.`,
    "bad-answer": (at) =>
      `The program that answered ${at.where} is not ai-server-admin: the file names in its answer are not valid.`,
    "bad-request": (at) =>
      `ai-server-admin ${at.where} did not understand the request. Install the one that belongs to this version.`,
  },
};

/**
 * The sentence for an error code.
 *
 * @param detail what a program on the server wrote about it; cleaned and shortened here
 */
export function hostFault(code: string, detail: string, place: FaultPlace): HostError {
  const said = oneLine(detail, 300);
  const link = LINKS.find((one) => Object.hasOwn(FAULTS[one], code));
  const sentence = link && FAULTS[link][code]?.(place, said).trim();
  const details = { link: link ?? "ssh" } as const;
  return new HostError(sentence ?? `The step ${place.where} failed (${code}).`, code, details);
}
