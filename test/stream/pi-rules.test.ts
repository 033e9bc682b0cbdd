import { isContextOverflow, isRetryableAssistantError } from "@earendil-works/pi-ai";
import { describe, expect, it } from "vitest";
import type { Remedy } from "../../lib/errors.ts";
import { remedyOf, wordedFor } from "../../stream/pi-rules.ts";
import { remedyBy } from "../support/pi-rules.ts";

const RULES = { isContextOverflow, isRetryableAssistantError };

/** Texts of a server's that pi takes for something else than what they are. */
const HOSTILE = [
  "500",
  "code 429, 502, 503 and 504",
  "timeout: the request timed out",
  "rate limit reached, too many requests",
  "too many tokens",
  "the process was terminated",
  "prompt is too long",
  "exceeds the available context size",
  "context_length_exceeded",
  "internal server error; connection refused; fetch failed",
  "billing: quota exceeded",
  "insufficient_quota",
  "ENOTFOUND getaddrinfo",
  "model is at capacity",
] as const;

const SENTENCES: Record<Remedy, string> = {
  none: "The server refused the request.",
  retry: "The server ended the answer with an error (server error).",
  compact: "context_length_exceeded: the conversation no longer fits.",
};

const words = (text: string): string => text.replaceAll("\u2060", "");

describe("a sentence", () => {
  it("that pi understands as meant stays as it is", () => {
    for (const remedy of ["none", "retry", "compact"] as const) {
      expect(wordedFor(SENTENCES[remedy], remedy)).toBe(SENTENCES[remedy]);
    }
  });

  it.each(HOSTILE)("that quotes %j is understood as meant, and reads the same", (quote) => {
    for (const remedy of ["none", "retry", "compact"] as const) {
      const before = `${SENTENCES[remedy]} It says: `;
      const worded = wordedFor([before, quote], remedy);
      expect(remedyBy(RULES, worded), `${remedy}: ${worded}`).toBe(remedy);
      expect(words(worded)).toBe(before + quote);
    }
  });

  it.each(HOSTILE)("about a model or a host named %j is understood as meant", (name) => {
    for (const remedy of ["none", "retry"] as const) {
      const message = `${name}: ${SENTENCES[remedy]}`;
      const worded = wordedFor(message, remedy);
      expect(remedyBy(RULES, worded), `${remedy}: ${worded}`).toBe(remedy);
      expect(words(worded).startsWith(message)).toBe(true);
    }
  });

  it("whose quote stands in it twice, or is empty, is understood as meant", () => {
    for (const quote of ["server", "500", ""]) {
      const before = "The server refused the request (500). It says: ";
      const worded = wordedFor([before, quote], "none");
      expect(remedyBy(RULES, worded)).toBe("none");
      expect(words(worded)).toBe(before + quote);
    }
  });

  it("changes no more words than it must", () => {
    const quote = "the cudaMalloc of device 0 ended in a timeout";
    const worded = wordedFor(["It could not be loaded: ", quote], "none");
    expect(worded).toContain("the cudaMalloc of device 0 ended in a ");
    expect(worded).not.toContain("timeout");
  });
});

describe("the remedy of a text", () => {
  it("follows pi's own rules", () => {
    for (const text of [...HOSTILE, ...Object.values(SENTENCES)])
      expect(remedyOf(text)).toBe(remedyBy(RULES, text));
  });
});
