/**
 * What goes to `ai-server-admin` and what comes back, as text. Pure.
 *
 * A request is lines of `key value`, an answer is lines between two that carry the request's random number. Whatever
 * a user, a file or a server wrote travels as base64: it can end no line, no block and no script.
 */
import { createHash } from "node:crypto";
import { cleanText } from "../../lib/text.ts";

/** Where the file is and what to run, in the way that needs no wrapper on the server. */
export interface DirectSettings {
  /** The server's own path of the file or folder; may begin with `~/`. */
  presetPath: string;
  serviceUnit: string;
  /** Run by the server's `sh` in place of `systemctl --user restart <unit>`. */
  restartCommand: string | undefined;
}

/** What the verbs about memory run, and with what. */
export interface FitRequest {
  /** llama-server, by its path or to be found on the path; with a wrapper its own counts. */
  program: string;
  /** Without dashes; the value is empty for a switch. */
  flags: readonly { name: string; value: string }[];
  /** `NAME=value` that choose devices. */
  variables: readonly string[];
  /** `NAME=value` that say where libraries are: no wrapper takes them. */
  places: readonly string[];
  /** The file whose size is added. */
  projector: string | undefined;
}

/** One verb of `ai-server-admin` with its arguments, and what stands beside it on standard input. */
export interface HostRequest {
  verb: readonly [verb: string, ...args: string[]];
  /** Which file of a folder; the file's own name is accepted too. */
  name?: string | undefined;
  content?: Buffer;
  /** Set for a verb of `ai-server-download`, which no wrapper knows. */
  download?: { folder: string; token?: string | undefined };
  /** Set for a verb of `ai-server-examine`, which no wrapper knows. */
  isExamine?: true;
  /** Set for a verb of `ai-server-ca`. Its own wrapper takes the passphrase alone. */
  ca?: { folder: string; reloadCommand?: string | undefined; passphrase?: string | undefined };
  /** For the verbs about memory. */
  fit?: FitRequest;
}

export interface AnswerLine {
  key: string;
  /** Safe to show. */
  value: string;
  /** Of a block of text: safe to show, and the end of it where it is longer than {@link MOST_TEXT}. */
  text: string | undefined;
  /** Of a file's content: every byte of it, so not to be shown as it is. */
  body: Buffer | undefined;
}

/** `error` is the script's code for what went wrong, `detail` what a program on the server wrote about it. */
export interface Answer {
  error: string | undefined;
  detail: string;
  lines: readonly AnswerLine[];
}

const PROTOCOL = "ai-server-1";
const TEXT_BLOCKS = new Set([
  "detail",
  "show",
  "command-line",
  "logs",
  "devices",
  "fit",
  "system-unit",
  "unit",
  "verify",
  "kernel",
  "kernel-unit",
]);
const ERROR_CODE = /^[a-z0-9-]{1,40}$/;
const WORD = /^[a-zA-Z0-9]{1,64}$/;

/** Characters of one block of text and of the value beside a key: what the script sends at most, and a long path. */
const MOST_TEXT = 200_000;
const MOST_VALUE = 6000;

/** Lines of an answer beside those in blocks: a folder of files and backups has some hundred. */
const MOST_LINES = 10_000;

/** Lines and characters that are kept of what a startup file prints. */
const MOST_NOISE_LINES = 20;
const MOST_NOISE = 200;

/** Bytes of a file's name, on every file system. */
const MOST_NAME = 255;

/** The SHA-256 of a file's content, as `ai-server-admin` spells it. */
export function sha256(content: Buffer | string): string {
  return createHash("sha256").update(content).digest("hex");
}

function base64(value: string | Buffer): string {
  return Buffer.from(value).toString("base64");
}

/**
 * The verb as one command line. Its words are letters and digits alone: no shell on the way can read more into them.
 *
 * @throws {RangeError} for any other word
 */
export function verbLine(verb: readonly string[]): string {
  const wrong = verb.find((word) => !WORD.test(word));
  if (wrong !== undefined) throw new RangeError("A verb of ai-server-admin has letters and digits only");
  return verb.join(" ");
}

/** What `ai-server-admin` reads from standard input. `direct` is given where no wrapper knows it. */
export function requestText(nonce: string, request: HostRequest, direct: DirectSettings | undefined): string {
  const lines = [`${PROTOCOL} ${nonce}`];
  if (request.download !== undefined) {
    const { folder, token } = request.download;
    lines.push(`path ${base64(folder)}`, `verb ${verbLine(request.verb)}`);
    if (token !== undefined) lines.push(`token ${base64(token)}`);
  } else if (request.ca !== undefined) {
    lines.push(...caLines(request.verb, request.ca, direct !== undefined));
  } else if (direct !== undefined) {
    lines.push(`path ${base64(direct.presetPath)}`, `unit ${base64(direct.serviceUnit)}`);
    if (direct.restartCommand !== undefined) lines.push(`restart ${base64(direct.restartCommand)}`);
    lines.push(`verb ${verbLine(request.verb)}`);
  }
  if (request.fit !== undefined) lines.push(...fitLines(request.fit, direct !== undefined));
  if (request.name !== undefined) lines.push(`name ${base64(request.name)}`);
  if (request.content !== undefined) {
    // Old versions of openssl, the last resort for decoding, read lines of at most 76 characters.
    const encoded = base64(request.content).match(/.{1,76}/g) ?? [];
    lines.push(`content ${sha256(request.content)}`, ...encoded);
  }
  return `${lines.join("\n")}\n.\n`;
}

function caLines(verb: readonly string[], ca: NonNullable<HostRequest["ca"]>, isDirect: boolean): string[] {
  const { folder, reloadCommand, passphrase } = ca;
  return [
    ...(isDirect ? [`path ${base64(folder)}`, `verb ${verbLine(verb)}`] : []),
    ...(isDirect && reloadCommand !== undefined ? [`restart ${base64(reloadCommand)}`] : []),
    ...(passphrase === undefined ? [] : [`passphrase ${base64(passphrase)}`]),
  ];
}

/** @throws {RangeError} for the name of a flag with other than letters, digits and dashes */
function fitLines({ program, flags, variables, places, projector }: FitRequest, isDirect: boolean): string[] {
  const wrong = flags.find(({ name }) => !/^[a-z0-9-]{1,40}$/.test(name));
  if (wrong !== undefined) throw new RangeError("A flag has letters, digits and dashes only");
  const direct = [`program ${base64(program)}`, ...places.map((place) => `place ${base64(place)}`)];
  return [
    ...(isDirect ? direct : []),
    ...flags.map(({ name, value }) => `flag-${name} ${base64(value)}`),
    ...variables.map((variable) => `variable ${base64(variable)}`),
    ...(projector === undefined ? [] : [`projector ${base64(projector)}`]),
  ];
}

/** What `sh` ends with when the script has not reached it whole, or another program reads it. */
export const MISREAD = 86;

/**
 * The whole input of `sh -s`: the functions, then the request as a here-document. Text that breaks off before the
 * last line defines functions or holds a request without its end, and changes nothing.
 *
 * A startup file of the login shell may start another shell, which then reads this in the place of its own commands,
 * or may read the first lines itself. The first command ends every shell that is not called `sh` (tried: bash, zsh,
 * tcsh, ksh, ash; fish refuses the text as a whole), and the last one a script whose beginning is missing. The empty
 * line is for a startup file that reads one.
 *
 * @param main the function that reads the request
 */
export function directScript(
  functions: string,
  nonce: string,
  request: string,
  main = "direct_main",
): string {
  const end = `END_${nonce}`;
  return [
    "",
    `expr "/$0" : '.*/sh$' >/dev/null && whole=${nonce} || exit ${MISREAD}`,
    functions,
    `test "\${whole-}" = ${nonce} || exit ${MISREAD}`,
    // These read their script byte by byte, and so leave the request to faster readers; others have read ahead.
    `case "\${BASH_VERSION-}\${ZSH_VERSION-}\${YASH_VERSION-}" in ?*) read -r whole; ${main}; exit ;; esac`,
    `${main} <<'${end}'`,
    `${request}${end}`,
    "",
  ].join("\n");
}

/** The part of `ai-server-admin` that both ways run. */
export function sharedFunctions(script: string): string {
  const part = /^# ==== begin ====\n(.*?)^# ==== end ====$/ms.exec(script)?.[1];
  if (part === undefined) throw new Error("ai-server-admin has lost its marks");
  return part;
}

/** What a program wrote, cut into answer and surroundings. */
export interface ReadAnswer {
  /** The first words of what came before the answer, safe to show: a startup file's. */
  noise: string;
  /** Whether the answer has begun: then the script has run, at least in part. */
  begun: boolean;
  /** Undefined while it is not complete. */
  answer: Answer | undefined;
}

/** Finds the answer that carries this request's number; what else stands around it decides nothing. */
export function readAnswer(output: string, nonce: string): ReadAnswer {
  const lines = output.split(/\r?\n/);
  const begin = lines.indexOf(`${nonce} begin`);
  if (begin === -1) return { noise: "", begun: false, answer: undefined };
  const noise = cleanText(lines.slice(0, Math.min(begin, MOST_NOISE_LINES)).join(" ").trim(), MOST_NOISE);
  const end = lines.indexOf(`${nonce} end`, begin);
  const answer = end === -1 ? undefined : parseLines(lines.slice(begin + 1, end));
  return { noise, begun: true, answer };
}

function parseLines(lines: readonly string[]): Answer {
  const parsed: AnswerLine[] = [];
  for (let at = 0; at < lines.length && parsed.length < MOST_LINES; at++) {
    const [key = "", ...rest] = (lines[at] ?? "").split(" ");
    if (key !== "content" && !TEXT_BLOCKS.has(key)) {
      parsed.push({ key, value: remoteText(rest.join(" "), MOST_VALUE), text: undefined, body: undefined });
      continue;
    }
    const end = lines.indexOf(".", at);
    const to = end === -1 ? lines.length : end;
    const body = Buffer.from(lines.slice(at + 1, to).join(""), "base64");
    parsed.push(
      key === "content"
        ? { key, value: "", text: undefined, body }
        : { key, value: "", text: remoteText(body), body: undefined },
    );
    at = to;
  }
  return {
    error: errorIn(parsed),
    detail: parsed.find((line) => line.key === "detail")?.text ?? "",
    lines: parsed,
  };
}

/**
 * The one door for text from the server's machine: without terminal control, and bounded in length. The end is
 * kept, in whole lines where there are several. What a startup file, a unit, a journal or an ssh wrote goes
 * through it; a file's content does not.
 */
export function remoteText(said: Buffer | string, limit = MOST_TEXT): string {
  const text = said.toString("utf8");
  const end = text.slice(-limit);
  const isCut = text.length > limit && end.includes("\n");
  return cleanText(isCut ? end.slice(end.indexOf("\n") + 1) : end, limit);
}

/**
 * The name of a file there in a form that is safe to show, another one for each name: a control character is shown
 * by its number.
 *
 * @returns undefined for what is no file's name
 */
export function shownName(name: string): string | undefined {
  if (name === "" || name.includes("/") || Buffer.byteLength(name) > MOST_NAME) return undefined;
  if (cleanText(name, name.length) === name && !/[\n\\]/.test(name)) return name;
  return name.replace(
    /[\p{C}\p{Z}\p{Bidi_Control}\\]/gu,
    (character) => `\\u{${character.codePointAt(0)?.toString(16)}}`,
  );
}

/** The script's code; anything else may be shown as little as a server's other words. */
function errorIn(lines: readonly AnswerLine[]): string | undefined {
  const code = valueFor(lines, "error");
  return code === undefined || ERROR_CODE.test(code) ? code : "unknown";
}

export function valueFor(lines: readonly AnswerLine[], key: string): string | undefined {
  return lines.find((line) => line.key === key)?.value;
}
