/**
 * What a server says when it fails: the many shapes of an error read to one, and whether it says that the context window
 * is too small. Pure.
 */

import { count, type JsonRecord, list, number, parsed, record, text } from "../../lib/json.ts";
import { cleanText } from "../../lib/text.ts";

/** What an error says, and who said it. */
export interface ErrorBody {
  message: string;
  /** All that shows the kind of the error: the whole message, its type and its code. Not for showing. */
  words: string;
  /** llama-swap names itself since v218; null where the server does not. */
  source: string | null;
  type: string;
  /** The machine-readable name or number of the error; empty where there is none. */
  code: string;
  figures: TokenFigures;
}

/** Tokens as an error names them, in its fields or in its words. */
interface TokenFigures {
  /** Of the conversation as it was sent. */
  prompt: number | undefined;
  /** The model's context window. */
  window: number | undefined;
  /** Asked for as the longest answer. */
  output: number | undefined;
  /** The window where it is that of the model for certain: from a field, or in vLLM's own sentence. */
  sureWindow: number | undefined;
}

/** Characters of a message that is shown, and of the words that only show the kind. */
const SHOWN_CHARACTERS = 400;
const WORDS_CHARACTERS = 4000;

/** Errors are wrapped in errors by each proxy on the way; what lies deeper is not looked at. */
const MOST_LEVELS = 8;
/** Entries of a list of errors, as FastAPI writes it. */
const MOST_ENTRIES = 4;

/** Names under which servers put their words, the more specific first. */
const SAYING = [
  "message",
  "msg",
  "detail",
  "details",
  "error_message",
  "error_msg",
  "errorMessage",
  "error_description",
  "exception",
  "reason",
  "title",
];
/** `error_code`, `errorMessage` and their kind. */
const ERROR_KEY = /^(?:error|exception)/i;
const WRAPPING = ["error", "errors", "body", "response"];

/**
 * Reads an error in any of the shapes in which servers write it: `{"error":{"message"}}` of OpenAI's kind,
 * `{"error":"text"}`, `{"object":"error","message"}`, `{"type":"error","error":{…}}`, `{"detail":…}` of FastAPI's,
 * `{"error":true,"message"}`, a list or a JSON string of these, plain text, and JSON with unescaped quotes
 * (llama-swap v218 to v224).
 */
export function parseErrorBody(text: string): ErrorBody {
  const answer = withoutFields(text);
  const value = parsed(answer);
  if (value !== undefined && typeof value !== "string") return readError(value);
  const unescaped = /^\s*\{"error":"(.*)","src":"([^"]*)"\}\s*$/s.exec(answer);
  const said =
    typeof value === "string" ? value : (unescaped?.[1] ?? messageOfCut(answer) ?? withoutMarkup(answer));
  const nested = typeof value === "string" ? parsed(value) : undefined;
  if (record(nested) ?? Array.isArray(nested)) return readError(nested);
  return {
    message: cleanText(said, SHOWN_CHARACTERS),
    words: cleanText(said, WORDS_CHARACTERS),
    source: unescaped?.[2] ?? (answer.startsWith("llama-swap: ") ? "llama-swap" : null),
    type: "",
    code: "",
    figures: figuresOf(said.slice(0, WORDS_CHARACTERS), undefined),
  };
}

/** As `parseErrorBody`, for JSON that is parsed already. */
export function readError(value: unknown): ErrorBody {
  const whole = record(Array.isArray(value) ? value[0] : value);
  const inner = innermost(whole);
  const said = cleanText(wordsOf(Array.isArray(value) ? value : whole, MOST_LEVELS), WORDS_CHARACTERS);
  const type = text(inner?.type) ?? text(inner?.error_type) ?? text(whole?.error_type) ?? "";
  const code = codeIn(inner) || codeIn(whole);
  return {
    message: cleanText(said, SHOWN_CHARACTERS),
    words: [said, type, code].filter((part) => part !== "").join(" "),
    source: text(whole?.src) ?? null,
    type: cleanText(type, 100),
    code: cleanText(code, 100),
    figures: figuresOf(said, inner),
  };
}

/** Short JSON that `parseErrorBody` reads to the same: an error from a stream, for those who take text. */
export function errorText({ message, source, type, code, figures }: ErrorBody): string {
  const { prompt: n_prompt_tokens, sureWindow: n_ctx } = figures;
  const error = { message, type, code, n_prompt_tokens, n_ctx };
  return JSON.stringify(source === null ? { error } : { src: source, error });
}

/** The words of a page that a proxy shows people. */
function withoutMarkup(answer: string): string {
  if (!/<(?:!doctype|html|head|body)\b/i.test(answer)) return answer.replace(/<[^<>]*>/g, " ");
  const plain = answer.replace(/<(script|style)\b[^<>]*>.*?(?:<\/\1>|$)/gis, " ");
  const words = (page: string): string =>
    page
      .replace(/<[^<>]*>/g, " ")
      .replace(/\s+/g, " ")
      .trim();
  return words(/<body\b.*$/is.exec(plain)?.[0] ?? "") || words(plain);
}

/** What stands in the fields of an event, where a server answers with one though it does not stream. */
function withoutFields(text: string): string {
  if (!/^\s*(?:event|data|error):/.test(text)) return text;
  const fields = [...text.matchAll(/^(?:data|error): ?(?!\[DONE\])(.*)$/gm)];
  return fields.map((field) => field[1]).join("\n") || text;
}

/** The message of an error that was cut, since it is longer than what is read of one. */
function messageOfCut(answer: string): string | undefined {
  if (!/^\s*[[{]/.test(answer)) return undefined;
  const found = /"(?:message|detail|msg|error)"\s*:\s*("(?:[^"\\]|\\.)*")/.exec(
    answer.slice(0, WORDS_CHARACTERS),
  );
  return text(parsed(found?.[1] ?? ""));
}

/** Whether an event of a stream, or an answer that came whole, is an error or holds one. */
export function isError(value: unknown): boolean {
  const body = record(Array.isArray(value) ? value[0] : value);
  if (body === undefined) return false;
  if (isGiven(body.error) || isGiven(body.errors)) return true;
  if (body.object === "error" || body.type === "error" || body.status === "error") return true;
  const choice = record(list(body.choices)[0]);
  if (choice !== undefined) return isGiven(choice.error);
  if (Array.isArray(body.choices) || isGiven(body.usage) || isGiven(body.timings)) return false;
  if (/^(?:ping|heartbeat|keep-?alive)$/i.test(text(body.type) ?? "")) return false;
  const code = number(body.code);
  const isWell = code === 0 || (code !== undefined && code >= 200 && code < 300);
  const says = (name: string): boolean => typeof body[name] !== "object" && isGiven(body[name]);
  if (!isWell && (isGiven(body.detail) || says("message") || says("msg") || (code ?? 0) >= 400)) return true;
  return (
    body.success === false || Object.keys(body).some((name) => ERROR_KEY.test(name) && isGiven(body[name]))
  );
}

/** Some servers send the field with each event, and nothing in it. */
function isGiven(value: unknown): boolean {
  return Array.isArray(value) ? value.length > 0 : Boolean(value);
}

/** The error that the others are wrapped around. */
function innermost(whole: JsonRecord | undefined): JsonRecord | undefined {
  let at = whole;
  for (let level = 0; level < MOST_LEVELS; level += 1) {
    const next: JsonRecord | undefined =
      record(at?.error) ?? record(list(at?.errors)[0]) ?? record(record(list(at?.choices)[0])?.error);
    if (next === undefined) break;
    at = next;
  }
  return record(at?.detail) ?? at;
}

function codeIn(error: JsonRecord | undefined): string {
  const code = error?.code ?? error?.error_code ?? error?.status_code;
  return typeof code === "string" || typeof code === "number" ? String(code) : "";
}

function wordsOf(value: unknown, levels: number): string {
  if (typeof value === "string") return unwrapped(value, levels);
  if (levels === 0 || typeof value !== "object" || value === null) return "";
  if (Array.isArray(value)) {
    const all = value.slice(0, MOST_ENTRIES).map((one) => wordsOf(one, levels - 1));
    return all.filter((words) => words !== "").join("; ");
  }
  const found = value as JsonRecord;
  const inner = (names: readonly string[]): string | undefined =>
    names.map((name) => wordsOf(found[name], levels - 1)).find((words) => words !== "");
  const wrapped = inner(WRAPPING);
  const own = inner(SAYING);
  const choice = wordsOf(record(list(found.choices)[0])?.error, levels - 1);
  // OpenRouter quotes the provider there, FastAPI names the field.
  const raw = wordsOf(record(found.metadata)?.raw, levels - 1);
  const place = list(found.loc).join(".");
  // An error in words beside a message is the status in words: "Bad Request".
  const said = typeof found.error === "string" && own !== undefined ? `${wrapped}: ${own}` : (wrapped ?? own);
  return [place, said, choice, raw].filter((part) => part !== undefined && part !== "").join(": ");
}

/** A proxy may put the whole answer of the server behind it into its message. */
function unwrapped(said: string, levels: number): string {
  if (levels === 0 || !/^\s*[[{]/.test(said)) return said;
  const inner = parsed(said);
  return (inner !== undefined && wordsOf(inner, levels - 1)) || said;
}

const WINDOWS = [
  /context[ _](?:length|size|window)(?:[\s(=:]|is|of|only|limit)*(\d+)/i,
  /max_seq_len\D{0,8}(\d+)/i,
  /n_ctx\D{0,4}(\d+)/i,
  /maximum (?:allowed |model )?(?:input |prompt )?length(?: is| of)? \(?(\d+)/i,
  /`max_new_tokens` must be <= (\d+)/i,
  /must have less than (\d+) tokens/i,
  /> (\d+) maximum/i,
];
const PROMPTS = [
  /\(?(\d+) in (?:the messages|the prompt|your prompt)/i,
  /\((\d+) of text input/i,
  /(\d+) (?:tokens from the )?(?:input|prompt)[ _](?:tokens|messages)/i,
  /input_tokens, value=(\d+)/i,
  /(?:input|prompt|request|requested tokens|length|n_keep) \((\d+)/i,
  /(?<!max(?:imum)? )prompt (?:length|has|contains)(?: of| is)? (\d+)/i,
  /prompt \((?:total )?length (\d+)/i,
  /request contains (\d+) tokens/i,
  /too long: (\d+) tokens/i,
  /keep the first (\d+) tokens/i,
  /given: (\d+)/i,
];
const OUTPUTS = [
  /requested (\d+) output tokens/i,
  /(\d+) (?:tokens )?(?:in|for) the (?:completion|output)/i,
  /too large: (\d+)/i,
  /and (\d+) `max_new_tokens`/i,
];
const SURE_WINDOW = /maximum context length is (\d+) tokens/i;

function figuresOf(said: string, error: JsonRecord | undefined): TokenFigures {
  // Numbers may be grouped: 131,072.
  const plain = said.replace(/(\d),(?=\d{3}(?!\d))/g, "$1");
  const named = (patterns: readonly RegExp[]): number | undefined =>
    patterns.map((pattern) => count(pattern.exec(plain)?.[1])).find((found) => found !== undefined);
  const sureWindow = count(error?.n_ctx) ?? named([SURE_WINDOW]);
  return {
    prompt: count(error?.n_prompt_tokens) ?? named(PROMPTS),
    window: sureWindow ?? named(WINDOWS),
    output: named(OUTPUTS),
    sureWindow,
  };
}

/** Tokens left free besides prompt and answer: servers add a few of their own, SGLang two. */
const OUTPUT_MARGIN = 16;
/** An answer of fewer tokens is useless: the conversation counts as too long. */
const LEAST_OUTPUT = 64;

/**
 * The longest answer that fits, where a server refused a request whose prompt fits alone but not with the requested
 * answer. vLLM, SGLang, text-generation-inference, llama-cpp-python and OpenRouter count both.
 *
 * @param asked tokens that the request allowed the answer
 * @returns fewer tokens than `asked`; undefined where the error does not name the numbers, or nothing fits
 */
export function fittingOutput({ words, figures }: ErrorBody, asked: number): number | undefined {
  const { prompt, window, output } = figures;
  const most = count(/at most (\d+) (?:completion|output) tokens/i.exec(words)?.[1]);
  if (most !== undefined && most < asked) return most;
  const isAboutOutput = output !== undefined || /max_(?:completion_|new_)?tokens|output tokens/i.test(words);
  if (!isAboutOutput || prompt === undefined || window === undefined) return undefined;
  // vLLM stops counting at the first token too many: the prompt may be longer than it says.
  const isCountCut = /at least/i.test(words) && prompt === window - asked + 1;
  const room = window - prompt - OUTPUT_MARGIN;
  const fitting = isCountCut ? Math.floor(room / 4) : room;
  return fitting >= LEAST_OUTPUT && fitting < asked ? fitting : undefined;
}

/** The codes and types of such errors. */
const OVERFLOW_NAME =
  /context_(?:length|window|size)_exceeded|exceeds?_context_(?:size|length|window)|context_?window_?exceeded|prompt_too_long|request_too_large/i;

/** Messages of llama.cpp and similar servers for a prompt that does not fit. */
const OVERFLOW = new RegExp(
  [
    "exceed(?:s|ed|ing)?\\b.{0,60}\\bcontext[ _-](?:size|length|window)",
    "context[ _-](?:size|length|window)\\b.{0,40}\\bexceed",
    "(?:greater|larger|longer|bigger) than (?:the )?(?:model'?s? |loaded |max(?:imum)? )*context",
    "prompt[ _](?:\\([^)]{0,40}\\) )?(?:is )?too[ _]long",
    "\\binput (?:is )?too long",
    "longer than the maximum (?:model )?length",
    "context overflow",
    "exceeds? n_ctx\\b",
    "exceeds (?:the )?maximum length of \\d+ tokens",
    // vLLM, when it computes the answer's length itself and nothing is left for it.
    "max_tokens must be at least 1, got -",
    "too big compared to KV size",
    "maximum context length",
    "context length is only",
    "input is too large",
    "context shift is disabled",
    "trying to keep the first \\d+ tokens",
    "reached context length",
    "n_keep.{0,20}>=? ?n_ctx",
    "greater than max_seq_len",
    "`inputs` (?:tokens|must have less)",
    "exceeds the maximum allowed (?:input )?length",
    OVERFLOW_NAME.source,
  ].join("|"),
  "i",
);

/** Errors that look like an overflow, but pass, or are about money. */
const NO_OVERFLOW =
  /rate.?limit|too many requests|throttl|quota|billing|overloaded|server (?:is )?busy|try again later/i;

/** Whether these words are about a quota, a rate or a busy server, though they may speak of tokens. */
export function isShortage(words: string): boolean {
  return NO_OVERFLOW.test(words);
}

/** Whether an error says that the prompt, or prompt and answer together, did not fit. */
export function isOverflow({ words, type, code, figures }: ErrorBody): boolean {
  if (OVERFLOW_NAME.test(type) || OVERFLOW_NAME.test(code)) return true;
  const { prompt = 0, window = Number.POSITIVE_INFINITY } = figures;
  return (OVERFLOW.test(words) || prompt > window) && !NO_OVERFLOW.test(words);
}
