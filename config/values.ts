/** What may stand in a variable: each value checked, and refused with a sentence that names the variable. */
import { isAbsolute, join, resolve } from "node:path";
import { ServerError } from "../lib/errors.ts";
import { cleanText } from "../lib/text.ts";
import { addressOf } from "./set-up.ts";

function fault(variable: string, sentence: string): ServerError {
  return new ServerError(sentence, { link: "configuration", remedy: "none", variable });
}

export function wrong(name: string, value: string, why: string): ServerError {
  return fault(name, `${name} is "${cleanText(value, 200)}": ${why}`);
}

/** Whether a host is this machine, as `new URL` spells it. */
export function isLoopback(hostname: string): boolean {
  return hostname === "localhost" || hostname === "[::1]" || /^127(\.\d{1,3}){3}$/.test(hostname);
}

/** Whether the text, even if it is no URL, may hold a password: no message repeats such a value. */
function mayHoldPassword(value: string): boolean {
  if (!value.includes("@")) return false;
  if (!URL.canParse(value)) return true;
  const { protocol, username, password } = new URL(value);
  return !/^https?:$/.test(protocol) || username !== "" || password !== "";
}

export function parseUrl(value: string): { origin: string; basePath: string } {
  const name = "AI_SERVER_URL";
  if (mayHoldPassword(value)) {
    throw fault(
      name,
      `${name} contains a user name or password. Leave it out: the client certificate identifies you.`,
    );
  }
  if (!URL.canParse(value)) {
    throw wrong(name, value, "that is not a URL. Write it like https://ai.example.org");
  }
  const url = new URL(value);
  if (url.protocol !== "https:" && !(url.protocol === "http:" && isLoopback(url.hostname))) {
    throw wrong(name, value, "it must begin with https: (http: is only for addresses of this machine).");
  }
  if (url.search || url.hash) throw wrong(name, value, "leave out everything from the ? or # on.");
  return addressOf(url);
}

export function parseMilliseconds(name: string, value: string | undefined, fallback: number): number {
  if (value === undefined) return fallback;
  const number = Number(value);
  // 2^31 - 1 is the longest that a timer can be set for; a longer one would fire at once.
  if (!/^\d+$/.test(value) || number < 1 || number > 2_147_483_647) {
    throw wrong(name, value, "it must be a whole number of milliseconds from 1 to 2147483647.");
  }
  return number;
}

export function parseRoute(name: string, value: string): string {
  if (!/^\/[\x21-\x7e]*$/.test(value) || value.includes("#")) {
    throw wrong(
      name,
      value,
      "it must begin with a slash and contain only ASCII characters, no spaces and no #.",
    );
  }
  return value;
}

/** `~` and relative paths of this machine, made absolute. */
export function localPath(path: string, folder: string, home: string): string {
  if (path === "~") return home;
  if (path.startsWith("~/")) return join(home, path.slice(2));
  return isAbsolute(path) ? path : resolve(folder, path);
}

export function parseSshHost(name: string, value: string): string {
  if (value.startsWith("-") || /[\s\p{Cc}]/u.test(value)) {
    throw wrong(name, value, "use user@host, a name from your ssh configuration, or local.");
  }
  return value;
}

/** A path on the server's machine. */
export function parseServerPath(name: string, value: string): string {
  if (!/^(\/|~\/)/.test(value) || /\p{Cc}/u.test(value)) {
    throw wrong(name, value, "use an absolute path on the server, or one that begins with ~/.");
  }
  return value;
}

export function parseUnit(value: string): string {
  if (!/^[A-Za-z0-9:_.@\\][A-Za-z0-9:_.@\\-]*$/.test(value)) {
    throw wrong(
      "AI_SERVER_SERVICE_UNIT",
      value,
      "that is not the name of a systemd unit; use one like llama-swap.service.",
    );
  }
  return value;
}

/** One of a few words. */
export function parseChoice<T extends string>(name: string, value: string, choices: readonly T[]): T {
  const choice = choices.find((one) => one === value);
  if (choice !== undefined) return choice;
  const all = `${choices.slice(0, -1).join(", ")} or ${choices.at(-1)}`;
  throw wrong(name, value, `it must be ${all}.`);
}

export function parseSwitch(name: string, value: string): boolean {
  return parseChoice(name, value, ["on", "off"]) === "on";
}

/** A command for the server's `sh`. */
export function parseCommand(name: string, value: string | undefined, example: string): string | undefined {
  if (value !== undefined && /\p{Cc}/u.test(value)) {
    throw wrong(name, value, `it must be one line, such as ${example}.`);
  }
  return value;
}

/** A header carries neither line breaks nor characters beyond Latin-1; this message is better than the HTTP client's. */
export function parseApiKey(value: string | undefined): string | undefined {
  if (value !== undefined && !/^[\x21-\x7e]+$/.test(value)) {
    const name = "AI_SERVER_API_KEY";
    throw fault(name, `${name} contains a space or a character that cannot be sent in an HTTP header.`);
  }
  return value;
}
