/** Variables that look like this extension's and are none: a misspelt one would be ignored silently. */
import { VARIABLES, type Variables } from "../config.ts";
import { cleanText } from "../lib/text.ts";

/** Characters of the name of a variable that are shown. */
const SHOWN_NAME = 80;

/** Letters in which a misspelt variable differs at most from the one that was meant. */
const MAX_TYPOS = 3;

/** A sentence for each. */
export async function unknownVariables(env: Variables): Promise<string[]> {
  const unknown = Object.keys(env).filter(
    (name) => name.startsWith("AI_SERVER_") && env[name] && !VARIABLES.includes(name),
  );
  if (unknown.length === 0) return [];
  // Loaded only now: each start of pi would pay for it.
  const { default: leven } = await import("leven");
  return unknown.sort().map((name) => {
    const distances = VARIABLES.map((known) => leven(name, known));
    const least = Math.min(...distances);
    const hint =
      least <= MAX_TYPOS
        ? `did you mean ${VARIABLES[distances.indexOf(least)]}?`
        : "docs/variables.md lists all.";
    return `${cleanText(name.replaceAll("\n", " "), SHOWN_NAME)} is set, but there is no such variable; ${hint}`;
  });
}
