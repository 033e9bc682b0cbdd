/** Which variable names a proxy for a server. Pure. */

const VARIABLES = ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"] as const;

/** Whether a list such as `localhost,.example.org,10.0.0.1:8443`, or `*`, names this host, as curl reads it. */
function isExcepted(list: string, { hostname, port }: URL): boolean {
  return list.split(/[\s,]+/).some((entry) => {
    const [, name = "", own] = /^\*?\.?(.*?)(?::(\d+))?$/.exec(entry.toLowerCase()) ?? [];
    if (entry === "*") return true;
    if (name === "" || (own !== undefined && own !== (port || "443"))) return false;
    return hostname === name || hostname.endsWith(`.${name}`);
  });
}

/** @returns the variable that names a proxy for this origin; undefined where none applies */
export function proxyVariable(
  env: Readonly<Record<string, string | undefined>>,
  origin: string,
): string | undefined {
  const url = new URL(origin);
  if (url.protocol !== "https:" || isExcepted(env.no_proxy || env.NO_PROXY || "", url)) return undefined;
  return VARIABLES.find((name) => env[name]?.trim());
}
