/**
 * What goes to `ai-server-admin` and what comes back, as text. Pure.
 *
 * A request is lines of `key value`, an answer is lines between two that carry the request's random number. Whatever
 * a user, a file or a server wrote travels as base64: it can end no line, no block and no script.
 */
import { createHash } from "node:crypto";

/** Where the file is and what to run, in the way that needs no wrapper on the server. */
export interface DirectSettings {
  /** The server's own path of the file or folder; may begin with `~/`. */
  presetPath: string;
  serviceUnit: string;
  /** Run by the server's `sh` in place of `systemctl --user restart <unit>`. */
  restartCommand: string | undefined;
}

/** One verb of `ai-server-admin` with its arguments, and what stands beside it on standard input. */
export interface HostRequest {
  verb: readonly [verb: string, ...args: string[]];
  /** Which file of a folder; the file's own name is accepted too. */
  name?: string | undefined;
  /** The new content of the file. */
  content?: Buffer;
}

/** One line of an answer; blocks have a body. */
export interface AnswerLine {
  key: string;
  value: string;
  body: Buffer | undefined;
}

/** `error` is the script's code for what went wrong, `detail` what a program on the server wrote about it. */
export interface Answer {
  error: string | undefined;
  detail: string;
  lines: readonly AnswerLine[];
}

const PROTOCOL = "ai-server-1";
const BLOCKS = new Set(["content", "detail", "show", "command-line", "logs"]);
const ERROR_CODE = /^[a-z0-9-]{1,40}$/;
const WORD = /^[a-zA-Z0-9]{1,64}$/;

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
  if (direct !== undefined) {
    lines.push(`path ${base64(direct.presetPath)}`, `unit ${base64(direct.serviceUnit)}`);
    if (direct.restartCommand !== undefined) lines.push(`restart ${base64(direct.restartCommand)}`);
    lines.push(`verb ${verbLine(request.verb)}`);
  }
  if (request.name !== undefined) lines.push(`name ${base64(request.name)}`);
  if (request.content !== undefined) {
    // Old versions of openssl, the last resort for decoding, read lines of at most 76 characters.
    const encoded = base64(request.content).match(/.{1,76}/g) ?? [];
    lines.push(`content ${sha256(request.content)}`, ...encoded);
  }
  return `${lines.join("\n")}\n.\n`;
}

/**
 * The whole input of `sh -s`: the functions, then the request as a here-document. Text that breaks off before the
 * last line defines functions or holds a request without its end, and changes nothing.
 */
export function directScript(functions: string, nonce: string, request: string): string {
  const end = `END_${nonce}`;
  return `${functions}\ndirect_main <<'${end}'\n${request}${end}\n`;
}

/** The part of `ai-server-admin` that both ways run. */
export function sharedFunctions(script: string): string {
  const part = /^# ==== begin ====\n(.*?)^# ==== end ====$/ms.exec(script)?.[1];
  if (part === undefined) throw new Error("ai-server-admin has lost its marks");
  return part;
}

/** What a program wrote, cut into answer and surroundings. */
export interface ReadAnswer {
  /** Whether the answer has begun: then the script has run, at least in part. */
  begun: boolean;
  /** Undefined while it is not complete. */
  answer: Answer | undefined;
}

/** Finds the answer that carries this request's number; everything else that stands around it is not looked at. */
export function readAnswer(output: string, nonce: string): ReadAnswer {
  const lines = output.split(/\r?\n/);
  const begin = lines.indexOf(`${nonce} begin`);
  if (begin === -1) return { begun: false, answer: undefined };
  const end = lines.indexOf(`${nonce} end`, begin);
  if (end === -1) return { begun: true, answer: undefined };
  return { begun: true, answer: parseLines(lines.slice(begin + 1, end)) };
}

function parseLines(lines: readonly string[]): Answer {
  const parsed: AnswerLine[] = [];
  for (let at = 0; at < lines.length; at++) {
    const [key = "", ...rest] = (lines[at] ?? "").split(" ");
    if (!BLOCKS.has(key)) {
      parsed.push({ key, value: rest.join(" "), body: undefined });
      continue;
    }
    const end = lines.indexOf(".", at);
    const to = end === -1 ? lines.length : end;
    parsed.push({ key, value: "", body: Buffer.from(lines.slice(at + 1, to).join(""), "base64") });
    at = to;
  }
  return {
    error: errorIn(parsed),
    detail: parsed.find((line) => line.key === "detail")?.body?.toString("utf8") ?? "",
    lines: parsed,
  };
}

/** The script's code; anything else may be shown as little as a server's other words. */
function errorIn(lines: readonly AnswerLine[]): string | undefined {
  const code = valueFor(lines, "error");
  return code === undefined || ERROR_CODE.test(code) ? code : "unknown";
}

/** The value of the first line with this key. */
export function valueFor(lines: readonly AnswerLine[], key: string): string | undefined {
  return lines.find((line) => line.key === key)?.value;
}
