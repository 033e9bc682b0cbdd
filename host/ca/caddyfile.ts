/** The lines of a Caddyfile by which Caddy admits the devices on the list, and no others. Pure. */
import type { CaddyFacts } from "./devices.ts";

/** Whether this Caddy knows `trust_pool` and verifiers (2.8); one whose version is not known is taken for a new one. */
function isNew(version: string | undefined): boolean {
  const [major = 2, minor = 8] = (version ?? "").split(".").filter(Boolean).map(Number);
  return major > 2 || minor >= 8;
}

/** A path as a Caddyfile spells it. */
function token(path: string): string {
  return /[\s"{}#]/.test(path) ? `"${path.replaceAll("\\", "\\\\").replaceAll('"', '\\"')}"` : path;
}

/**
 * What belongs between the braces of `client_auth`.
 *
 * Caddy 2.6 with no `trusted_leaf_cert` at all admits every certificate of the CA: the CA's own, with which no client can
 * identify itself, keeps the list from being empty.
 */
export function clientAuthLines(folder: string, version: string | undefined): string[] {
  const authority = token(`${folder}/root-ca.pem`);
  if (isNew(version)) {
    return [
      "mode require_and_verify",
      `trust_pool file ${authority}`,
      "verifier leaf {",
      `\tfolder ${token(`${folder}/devices`)}`,
      "}",
    ];
  }
  return [
    "mode require_and_verify",
    `trusted_ca_cert_file ${authority}`,
    `trusted_leaf_cert_file ${authority}`,
    `import ${token(`${folder}/devices/*/leaf.caddy`)}`,
  ];
}

/** A whole site, with the certificates of a CA that was made together with the server's. @param site as `ai.example.org` */
export function siteLines(site: string, folder: string, { version }: Pick<CaddyFacts, "version">): string[] {
  const [certificate, key] = ["server.pem", "server-key.pem"].map((name) => token(`${folder}/${name}`));
  return [
    `${site} {`,
    `\ttls ${certificate} ${key} {`,
    "\t\tclient_auth {",
    ...clientAuthLines(folder, version).map((line) => `\t\t\t${line}`),
    "\t\t}",
    "\t}",
    "\treverse_proxy 127.0.0.1:8080",
    "}",
  ];
}
