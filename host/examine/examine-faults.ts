/** The codes of `ai-server-examine` as sentences. */
import { cleanText } from "../../lib/text.ts";
import { HostError } from "../ssh/ssh-faults.ts";

type Sentence = (where: string, said: string) => string;

const NOTHING = "Nothing was changed.";

const FAULTS: Readonly<Record<string, Sentence>> = {
  incomplete: (where) => `The request did not arrive whole on ${where}, or its disk is full. ${NOTHING}`,
  "no-bus": (where) =>
    `systemctl --user has no session to connect to on ${where}. Run "loginctl enable-linger" there once as that user.`,
  "other-runtime": (where, said) =>
    `systemctl --user finds no session on ${where}: XDG_RUNTIME_DIR is ${said || "another session's"}. A startup file there sets it; remove that line.`,
  "no-unit": (where) => `The unit does not exist on ${where}. ${NOTHING}`,
  "no-systemctl": (where) => `There is no systemctl on ${where}. ${NOTHING}`,
  "no-loginctl": (where) => `There is no loginctl on ${where}. ${NOTHING}`,
  "linger-failed": (where, said) =>
    `Lingering could not be enabled on ${where}: ${said || "loginctl gave no reason"}. An administrator there can: sudo loginctl enable-linger, and that user's name.`,
  "enable-failed": (where, said) =>
    `The unit could not be enabled on ${where}: ${said || "systemctl gave no reason"}.`,
  "unit-exists": (where, said) => `${said} exists on ${where} already, and is not overwritten.`,
  "unit-not-written": (where, said) => `The unit could not be written on ${where}: ${said}. ${NOTHING}`,
};

/** @param detail of the script, or what a program there wrote; cleaned and shortened here */
export function examineFault(code: string, detail: string, where: string): HostError {
  const said = cleanText(detail, 300)
    .replaceAll("\n", " ")
    .replace(/[.\s]+$/, "");
  const sentence = Object.hasOwn(FAULTS, code) ? FAULTS[code]?.(where, said) : undefined;
  const link = code.startsWith("no-unit") || code.startsWith("unit") ? "unit" : "ssh";
  return new HostError(sentence ?? `The step on ${where} failed (${code}).`, code, { link });
}

/** What the key of a wrapper cannot do. */
export function withoutShellFault(host: string): HostError {
  return new HostError(
    `The ssh key for ${host} may only run ai-server-admin (AI_SERVER_SSH_MODE=wrapper), which does not look at this.`,
    "not-allowed",
    { link: "ssh" },
  );
}
