/**
 * Blanks the user's own configured secrets in a server's words: a failing server may repeat the request, and with it
 * the key, in any encoding.
 */
import { MASK } from "./values.ts";

/** Secrets that a server or a program may repeat. */
export interface OwnSecrets {
  readonly apiKey: string | undefined;
  readonly passphrase: string | undefined;
}

/** Replaces the secrets in a text by {@link MASK}. Never throws, takes linear time. */
export type Blank = (text: string) => string;

/** Shorter ones may be ordinary words: they count only as whole words, and only in text of others. */
const SHORT = 8;
/** Letters of a secret to search for; text after them up to a blank is blanked too. */
const MOST_LETTERS = 256;
/** Letters that identify a secret that was cut off. */
const CUT_LETTERS = 4;

const ENTITIES: Readonly<Record<string, string>> = {
  "&": "&amp;",
  "<": "&lt;",
  ">": "&gt;",
  '"': "&quot;",
  "'": "&(?:apos|#0?39);",
};

/**
 * Characters that are removed before a text is shown, and may separate two letters until then. Unbounded, a secret
 * such as 00000000 took seconds for 64 KiB of \u0000.
 */
const UNSEEN =
  "(?:\\u001b\\[[\\d;]{0,12}[A-Za-z]|[\\p{Cc}\\p{Cf}]|\\\\{1,4}u(?:00[01][\\da-f]|007f|00ad|20[0-6][\\da-f]|feff)){0,32}";

function literal(text: string): string {
  return text.replace(/[\\^$.*+?()[\]{}|/]/g, "\\$&");
}

function hex(value: number, digits: number): string {
  return value.toString(16).padStart(digits, "0");
}

/** One letter in any spelling: plain, after backslashes, and as in JSON, URLs, HTML or C. */
function spellings(letter: string): string {
  const point = letter.codePointAt(0) ?? 0;
  const units = [...Array(letter.length).keys()].map((at) => `\\\\{1,4}u${hex(letter.charCodeAt(at), 4)}`);
  const bytes = [...Buffer.from(letter)].map((byte) => hex(byte, 2));
  const written = [
    `\\\\{0,4}${literal(letter)}`,
    units.join(""),
    bytes.map((byte) => `%(?:25)?${byte}`).join(""),
    bytes.map((byte) => `\\\\{1,4}x${byte}`).join(""),
    `&#0{0,4}${point};?`,
    `&#x0{0,4}${hex(point, 1)};?`,
    ...(ENTITIES[letter] === undefined ? [] : [ENTITIES[letter]]),
  ];
  return `(?:${written.join("|")})`;
}

function pattern(secret: string): string {
  const letters = [...secret].slice(0, MOST_LETTERS);
  const spelt = letters.map(spellings).join(UNSEEN);
  if (secret.length < SHORT) return `(?<![\\p{L}\\d_])${spelt}(?![\\p{L}\\d_])`;
  return letters.length < MOST_LETTERS ? spelt : `${spelt}\\S*`;
}

const BASE64 = /[A-Za-z0-9+/_=%-]/;

/**
 * The part of a secret's base64 that does not depend on the surrounding text, for each of the three offsets at which it
 * may begin (after `user:` it may be any).
 */
function encoded(secret: string): string[] {
  const bytes = Buffer.from(secret);
  return [0, 1, 2].flatMap((offset) => {
    const text = Buffer.concat([Buffer.alloc(offset), bytes])
      .toString("base64")
      .replaceAll("=", "");
    const isWhole = (offset + bytes.length) % 3 === 0;
    const core = text.slice(Math.ceil((offset * 8) / 6), isWhole ? undefined : -1);
    if (core.length < CUT_LETTERS + 1) return [];
    return [
      core.replaceAll(/[+/]/g, (sign) => (sign === "+" ? "(?:\\+|-|%2[Bb])" : "(?:\\\\{0,4}\\/|_|%2[Ff])")),
    ];
  });
}

function withoutEncoded(text: string, codes: RegExp): string {
  let result = "";
  let from = 0;
  for (const match of text.matchAll(codes)) {
    if (match.index < from) continue;
    let start = match.index;
    let end = match.index + match[0].length;
    while (start > from && BASE64.test(text.charAt(start - 1))) start -= 1;
    while (end < text.length && BASE64.test(text.charAt(end))) end += 1;
    result += text.slice(from, start) + MASK;
    from = end;
  }
  return result + text.slice(from);
}

/** Beginnings of a secret that was cut off with an ellipsis. */
function cutPattern(secret: string): string {
  const letters = [...secret].slice(0, MOST_LETTERS).map(literal);
  const rest = letters.slice(CUT_LETTERS, -1).reduceRight((inner, letter) => `(?:${letter}${inner})?`, "");
  return `${letters.slice(0, CUT_LETTERS).join("")}${rest}(?=…)`;
}

/**
 * Makes the function that blanks these secrets.
 *
 * @param words the author of the text: in our own sentences a short secret, which may be an ordinary word, stays
 */
export function blankerOf({ apiKey, passphrase }: OwnSecrets, words: "theirs" | "ours" = "theirs"): Blank {
  const all = [apiKey, passphrase].filter(
    (secret): secret is string => secret !== undefined && secret.trim() !== "",
  );
  const secrets = words === "theirs" ? all : all.filter(({ length }) => length >= SHORT);
  if (secrets.length === 0) return (text) => text;
  const long = secrets.filter(({ length }) => length >= SHORT);
  const written = [...secrets.map(pattern), ...long.map((secret) => Buffer.from(secret).toString("hex"))];
  const spelt = new RegExp([...written, ...long.map(cutPattern)].join("|"), "giu");
  const codes = secrets.flatMap(encoded);
  const coded = codes.length === 0 ? undefined : new RegExp(codes.join("|"), "g");
  return (text) => {
    const plain = text.replace(spelt, MASK);
    return coded === undefined ? plain : withoutEncoded(plain, coded);
  };
}

/**
 * The body of an error without the secrets. JSON stays JSON with all its names, even if a secret equals one of them.
 */
export function blankedBody(body: string, blank: Blank): string {
  if (blank(body) === body) return body;
  try {
    return JSON.stringify(JSON.parse(body), (_, value: unknown) =>
      typeof value === "string" ? blank(value) : value,
    );
  } catch {
    // Not JSON, or nested too deeply to serialize.
    return blank(body);
  }
}
