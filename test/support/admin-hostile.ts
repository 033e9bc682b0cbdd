/** What a text must not hold that is shown: controls other than the line's end, and what turns its direction. */
export const NOT_CLEAN = /(?!\n)[\p{Cc}\p{Bidi_Control}]/u;

/** Beyond this a sentence is none. */
export const LONGEST = 1000;

/**
 * Arguments that would do something wherever they are run instead of read: each would leave a file at `canary`, or a
 * trace on the terminal.
 */
export function hostileWords(canary: string): string[] {
  const touch = `touch ${canary}`;
  return [
    `$(${touch})`,
    `\`${touch}\``,
    `x; ${touch}; #`,
    `'; ${touch}; '`,
    `"; ${touch}; "`,
    `x\n${touch}\n`,
    `x' "$(${touch})" '`,
    `-oProxyCommand=${touch}`,
    `--; ${touch}`,
    "../../../etc/passwd",
    `..%2f..%2fapi/models/unload`,
    "\u001b]0;taken\u0007\u001b[2J\u001b[31mred\u009b0m\u202e",
    `\${IFS}$(${touch})\r`,
    "*",
    "A".repeat(10_000),
    `$(${touch})`.repeat(Math.ceil(10_000 / touch.length)),
  ];
}
