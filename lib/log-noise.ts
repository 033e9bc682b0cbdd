/** Lines that say that a server was looked at: llama-swap's health checks and our own polling. Pure. */

const ROUTE = String.raw`(?:\/upstream\/[^\s"?]*)?\/(?:health|wol-health|running|v1\/models|models|slots|props|api\/version|api\/events|logs\/stream\/[^\s"]*)(?:\?[^\s"]*)?`;

/** As llama-server, llama-swap, uvicorn, Python's and Gin's access logs write a request. */
const ACCESS = new RegExp(String.raw`(?:\brequest: "?|"|\| +)(?:GET|HEAD) +"?${ROUTE}(?=[\s"]|$)`, "i");

/** llama-swap's own words for a check that it expects to fail as long as a model starts. */
const CHECK = /\bhealth check error on .*normal during startup/i;

export function isPolling(line: string): boolean {
  return ACCESS.test(line) || CHECK.test(line);
}

/** The lines that say something else. */
export function withoutPolling(lines: readonly string[]): string[] {
  return lines.filter((line) => !isPolling(line));
}
