import { mkdtemp, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Daemon, startDaemon } from "./daemon.ts";
import { freePort, listens } from "./network.ts";

export interface CaddyOptions {
  /** PEM files: the certificate and key that Caddy shows, valid for `localhost`, and the CA of its clients. */
  certificate: string;
  key: string;
  /** Undefined: no client certificate is demanded. */
  clientCa: string | undefined;
  /** More lines of the site, and of its reverse_proxy. */
  site?: string;
  proxy?: string;
  /** Where the plain-http server listens, as `127.0.0.1:8080`. */
  upstream: string;
}

export interface Caddy extends Daemon {
  /** `https://localhost:<port>` */
  url: string;
  port: number;
}

// A name, not an address: for a site with client certificates Caddy refuses (421) a request whose Host is not
// the name of the TLS handshake, and an address is never sent there.
function caddyfile(port: number, options: CaddyOptions): string {
  const { clientCa, site = "", proxy = "" } = options;
  const demand = `client_auth {
      mode require_and_verify
      trusted_ca_cert_file "${clientCa}"
    }`;
  return `{
  admin off
  auto_https off
  grace_period 1s
  log {
    output stderr
    format json
  }
}
https://localhost:${port} {
  bind 127.0.0.1
  log
  tls "${options.certificate}" "${options.key}" {
    ${clientCa === undefined ? "" : demand}
  }
  ${site}
  reverse_proxy ${options.upstream} {
    ${proxy}
  }
}
`;
}

/**
 * Starts a real Caddy on a free port of 127.0.0.1 that demands a client certificate and passes everything on,
 * unless the options say otherwise.
 * It keeps its state in a temporary folder, which `stop` removes.
 */
export async function startCaddy(options: CaddyOptions): Promise<Caddy> {
  const folder = await mkdtemp(join(tmpdir(), "caddy-test-"));
  const port = await freePort();
  const config = join(folder, "Caddyfile");
  await writeFile(config, caddyfile(port, options));
  const env = { PATH: process.env.PATH ?? "", HOME: folder, XDG_DATA_HOME: folder, XDG_CONFIG_HOME: folder };
  const daemon = await startDaemon({
    name: "Caddy",
    program: "caddy",
    args: ["run", "--config", config, "--adapter", "caddyfile"],
    folder,
    env,
    isUp: () => listens(port),
  });
  return { url: `https://localhost:${port}`, port, ...daemon };
}
