import { describe, expect, test } from "vitest";
import { blankedBody, blankerOf } from "../../masking/own-secrets.ts";
import { processorTime } from "../support/clock.ts";

const KEY = 'k1-Ab3/+"x=9&z\\q<1';
const PASSPHRASE = "open sesame ü";
const blank = blankerOf({ apiKey: KEY, passphrase: PASSPHRASE });

const each = (text: string, write: (letter: string) => string): string => [...text].map(write).join("");
const hex = (letter: string, digits: number): string =>
  letter.charCodeAt(0).toString(16).padStart(digits, "0");
const base64 = (text: string): string => Buffer.from(text).toString("base64");

describe("a secret of one's own is blanked", () => {
  const json = JSON.stringify(KEY);
  test.each([
    ["as it is", KEY],
    ["in JSON", json],
    ["in JSON within JSON", JSON.stringify(json)],
    ["in JSON with each letter escaped", each(KEY, (letter) => `\\u${hex(letter, 4)}`)],
    ["in JSON whose slashes are escaped", json.replaceAll("/", "\\/")],
    ["in a URL", encodeURIComponent(KEY)],
    ["in a URL within a URL", encodeURIComponent(encodeURIComponent(KEY))],
    ["with each byte as in a URL", each(KEY, (letter) => `%${hex(letter, 2)}`)],
    ["in HTML", KEY.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll('"', "&quot;")],
    ["in HTML by numbers", each(KEY, (letter) => `&#x${hex(letter, 1)};`)],
    ["in C", each(KEY, (letter) => `\\x${hex(letter, 2)}`)],
    ["in hexadecimal digits", Buffer.from(KEY).toString("hex").toUpperCase()],
    ["in other letters", KEY.toUpperCase()],
    ["with what is removed before it is shown", `${KEY.slice(0, 4)}\u0000\u200b\u001b[1m${KEY.slice(4)}`],
    ["in base64 of a user of one letter", base64(`u:${KEY}`)],
    ["in base64 of a user of two letters", base64(`us:${KEY}`)],
    ["in base64 of a user of three letters", base64(`usr:${KEY}`)],
    ["in base64 for URLs", Buffer.from(`u:${KEY}?`).toString("base64url")],
    ["in base64 in a URL", encodeURIComponent(base64(`user:${KEY}`))],
  ])("%s", (_, written) => {
    const shown = blank(`before [${written}] after`);
    expect(shown).toMatch(/^before \[.*••••.*\] after$/);
    expect(shown.length).toBeLessThan(40);
  });

  test.each([
    ["as it is", PASSPHRASE],
    ["in a URL", encodeURIComponent(PASSPHRASE)],
    ["in JSON", "open sesame \\u00fc"],
  ])("the passphrase too, %s", (_, written) => {
    expect(blank(`[${written}]`)).toBe("[••••]");
  });

  test("also where a text was cut within it", () => {
    expect(blank(`It says: ${KEY.slice(0, 9)}… Ask again.`)).toBe("It says: ••••… Ask again.");
  });

  test("one of 8,000 letters whole", () => {
    const long = blankerOf({ apiKey: "x1".repeat(4000), passphrase: undefined });
    expect(long(`key ${"x1".repeat(4000)} refused`)).toBe("key •••• refused");
  });
});

describe("a secret that is a word", () => {
  const word = { apiKey: "error", passphrase: undefined };

  test("is blanked where it stands alone in what the server says", () => {
    expect(blankerOf(word)("errors, terror, error.")).toBe("errors, terror, ••••.");
  });

  test("stays within a longer name, by which an overflow is known", () => {
    const type = "exceed_context_size_error";
    const context = blankerOf({ apiKey: "context", passphrase: undefined });
    expect([blankerOf(word)(type), context(type)]).toEqual([type, type]);
  });

  test("stays in sentences of ours", () => {
    expect(blankerOf(word, "ours")("The server failed (server error).")).toBe(
      "The server failed (server error).",
    );
  });

  test("leaves the names of JSON as they are", () => {
    const body = '{"error":{"message":"no error here","code":1}}';
    expect(blankedBody(body, blankerOf(word))).toBe('{"error":{"message":"no •••• here","code":1}}');
  });
});

test("a body without the secret keeps its bytes", () => {
  const body = '{ "error" : "busy" }';
  expect(blankedBody(body, blank)).toBe(body);
});

test("a body that is nested too deeply for JSON is blanked as text", () => {
  const body = `${'{"a":'.repeat(100_000)}"k1-Ab3x9"${"}".repeat(100_000)}`;
  expect(blankedBody(body, blankerOf({ apiKey: "k1-Ab3x9", passphrase: undefined }))).not.toContain(
    "k1-Ab3x9",
  );
});

test.each([
  ["backslashes", "\\".repeat(200_000)],
  ["its first letter", "k".repeat(200_000)],
  ["its beginning", KEY.slice(0, 8).repeat(25_000)],
  ["escape sequences", "\u001b[1m".repeat(50_000)],
  ["base64", "AAAA".repeat(50_000)],
  ["percent signs", "%25".repeat(60_000)],
  ["entities", "&#0000".repeat(30_000)],
])("200 kB of %s take no time", (_, text) => {
  const spent = processorTime();
  blank(text);
  expect(spent()).toBeLessThan(1000);
});

test("a secret of letters that control characters are written with takes no time either", () => {
  const zeros = blankerOf({ apiKey: "00000000", passphrase: undefined });
  const spent = processorTime();
  zeros("\\u0000".repeat(20_000));
  expect(spent()).toBeLessThan(1000);
});
