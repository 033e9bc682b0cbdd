/** The codes of `ai-server-download` as sentences. */
import { binarySize } from "../../lib/figures.ts";
import { oneLine } from "../../lib/text.ts";
import { HostError } from "../ssh/ssh-faults.ts";

type Sentence = (where: string, said: string) => string;

/** What has arrived stays, and the next try needs nothing but the same command. */
const GOES_ON = "What has arrived is kept, and the next try goes on from there.";

/** Codes that name two sizes: what is needed and what is there. */
function sizes(said: string): [needed: string, free: string, others: string] {
  const [needed = 0, free = 0, others = 0] = said.split(" ").map(Number);
  return [
    binarySize(needed),
    binarySize(free),
    others > 0 ? `, ${binarySize(others)} for those that run already` : "",
  ];
}

const FAULTS: Readonly<Record<string, Sentence>> = {
  "bad-request": (where) => `${where} did not understand the request for a download. Nothing was downloaded.`,
  "not-a-folder": (where, said) =>
    `The folder for models on ${where} cannot be used: ${said}. Set AI_SERVER_MODELS_DIR to one that can be written to.`,
  "no-space": (where, said) => {
    const [needed, free, others] = sizes(said);
    return `The download needs ${needed}${others} and 1 GiB to spare on ${where}, and ${free} is free there. Nothing was downloaded; make room, or set AI_SERVER_MODELS_DIR to a larger disk.`;
  },
  "disk-full": (where, said) => {
    const [needed, free] = sizes(said);
    return `The disk on ${where} is full: ${needed} is still missing, and ${free} is free. ${GOES_ON} Make room first.`;
  },
  "no-program": (where) =>
    `Neither hf nor curl is installed on ${where}. Install one of them there (on Debian: apt-get install curl).`,
  "no-tools": (where, said) =>
    `${where} has no ${said}, without which a download cannot run there by itself. Install util-linux or perl.`,
  "not-started": (where, said) => `The download did not start on ${where}: ${said || "it gave no reason."}`,
  "no-lock": (where, said) =>
    `The file system of the folder for models on ${where} cannot lock files (${said}), so two downloads could damage each other. Set AI_SERVER_MODELS_DIR to a local disk.`,
  exists: (where, said) =>
    `${said} on ${where} is another file of that name, and is not overwritten. Move it away, or remove its model first.`,
  "other-file-system": (where, said) =>
    `${said} on ${where} is on a different disk from the folder for models, so a file could not be moved there in one step. Set AI_SERVER_MODELS_DIR to that folder itself.`,
  "needs-token": (_where, said) =>
    `Hugging Face does not give ${said} to anonymous users: the repository is gated or private, or does not exist. Set HF_TOKEN to a token of an account that has access, and try again.`,
  "bad-token": () =>
    "Hugging Face does not accept the token that was sent: it may have expired. Make a new one, set HF_TOKEN to it, and try again.",
  "no-access": (_where, said) =>
    `Hugging Face does not let this account download ${said}. Ask for access on the repository's page, and try again.`,
  "not-found": (_where, said) =>
    `Hugging Face no longer has ${said}. The repository has changed; choose the model again.`,
  "rate-limit": () => `Hugging Face allows no more downloads at the moment (rate limit). ${GOES_ON}`,
  network: (where, said) =>
    `The connection from ${where} kept breaking off, or could not be made (${said}). ${GOES_ON}`,
  "server-error": (_where, said) => `Hugging Face kept answering with an error (${said}). ${GOES_ON}`,
  refused: (_where, said) => `The download was refused (${said}). ${GOES_ON}`,
  "wrong-size": (_where, said) =>
    `${said} did not arrive with the size that the repository gives, so it was thrown away. The next try fetches this file again; the others are kept.`,
  "wrong-hash": (_where, said) =>
    `${said} did not arrive with the content that the repository describes (its SHA-256 differs), so it was thrown away. The next try fetches this file again; the others are kept.`,
  "write-failed": (where, said) => `A file could not be written on ${where}: ${said}. ${GOES_ON}`,
  "hf-failed": (where, said) =>
    `hf on ${where} failed: ${said || "it gave no reason."} Install curl there to go on without it.`,
  "curl-failed": (where, said) => `curl on ${where} failed: ${said}. ${GOES_ON}`,
  interrupted: (where) =>
    `The download was cut off: ${where} was restarted, or its processes were killed. ${GOES_ON}`,
  gone: (where) => `The files were downloaded, but some are no longer on ${where}.`,
  busy: (where) => `Another pi is starting or removing a download on ${where}. Try again.`,
  "still-running": () => "The download is still running. Stop it first.",
  "not-stopped": (where) => `The download on ${where} did not stop within 10 s. Try again.`,
  "unknown-download": (where) => `There is no such download on ${where}.`,
  "ends-at-logout": (where) =>
    `systemd on ${where} ends this download when that user's last login is over (KillUserProcesses). Run "loginctl enable-linger" there once as that user; until then keep a login open.`,
};

/** Why a running download tries again. */
const TRIED_AGAIN: Readonly<Record<string, Sentence>> = {
  "rate-limit": () => "Hugging Face allows no more downloads at the moment (rate limit); trying again.",
  network: (where, said) =>
    `The connection from ${where} broke off or could not be made (${said}); trying again.`,
  "server-error": (_where, said) => `Hugging Face answered with an error (${said}); trying again.`,
  interrupted: (where) => `A program of the download on ${where} was ended; trying again.`,
  "hf-failed": (where) => `hf on ${where} could not finish a file; trying again.`,
};

const OF_THE_HUB = new Set([
  "needs-token",
  "bad-token",
  "no-access",
  "not-found",
  "rate-limit",
  "server-error",
  "refused",
  "wrong-size",
  "wrong-hash",
]);
const MAY_PASS = new Set(["network", "server-error", "rate-limit", "interrupted"]);

/**
 * @param detail of the script, or what a program there wrote; cleaned and shortened here
 * @param isRunning the download goes on by itself
 */
export function downloadFault(code: string, detail: string, where: string, isRunning = false): HostError {
  // `curl: (56) …` would stand in parentheses of ours.
  const said = oneLine(detail, 300).replace(/^curl: \((\d+)\)/, "curl error $1:");
  const table = isRunning && Object.hasOwn(TRIED_AGAIN, code) ? TRIED_AGAIN : FAULTS;
  const sentence = Object.hasOwn(table, code) ? table[code]?.(where, said) : undefined;
  return new HostError(sentence ?? `The step on ${where} failed (${code}).`, code, {
    link: OF_THE_HUB.has(code) ? "Hugging Face" : "ssh",
    remedy: MAY_PASS.has(code) ? "retry" : "none",
  });
}

/** What the key of a wrapper cannot do. */
export function wrapperFault(host: string): HostError {
  return new HostError(
    `The ssh key for ${host} may only run ai-server-admin (AI_SERVER_SSH_MODE=wrapper), which neither downloads nor deletes files: do that on the server itself, or use a key without a forced command.`,
    "not-allowed",
    { link: "ssh" },
  );
}
