/** A CA where there is none: offered, made, and shown how Caddy uses it. */
import type { Config } from "../../config.ts";
import { siteLines } from "../../host/ca/caddyfile.ts";
import type { DeviceList } from "../../host/ca/devices.ts";
import type { CaMachine, Created } from "../../host/ca/machine.ts";
import { ServerError } from "../../lib/errors.ts";
import { show } from "../../ui/output.ts";
import { type Call, isConfirmed } from "../call.ts";
import { listOf, remember, whereIs } from "./ca-access.ts";

/**
 * The list of the CA; of a new one, where there was none and the user agrees.
 *
 * @returns undefined where the user does not
 */
export async function listOrNewCa(
  call: Call,
  ca: CaMachine,
  config: Config,
): Promise<DeviceList | undefined> {
  const { waiting } = call;
  waiting.say("Looking for the CA");
  const found = await ca.list(waiting.signal);
  if (!("missingIn" in found)) {
    remember(call, found);
    return found;
  }
  const hostname = serverName(config);
  const folder = found.missingIn;
  const question = {
    title: `There is no CA ${whereIs(ca)}. Make one in ${folder}?`,
    consequences: [
      "It signs the certificates of your devices, and one for the server.",
      `The folder then holds the CA (root-ca.pem, ca-key.pem), the certificate for ${hostname} (server.pem, server-key.pem) and the list of devices that Caddy reads.`,
      "Caddy's files are not changed: pi shows the lines for the Caddyfile afterwards.",
      "If you already have a CA elsewhere, make none here, and set AI_SERVER_CA_HOST and AI_SERVER_CA_DIR.",
    ],
  };
  if (!(await isConfirmed(call, question, ["Leave it as it is", "Make a CA"]))) return undefined;
  waiting.say("Making the CA");
  showCaddyfile(call, ca, config, await ca.create(hostname, waiting.signal));
  return listOf(call, ca);
}

/** The name in the server's certificate. @throws {ServerError} for an IPv6 address */
function serverName({ origin }: Config): string {
  const { hostname } = new URL(origin);
  if (/^[a-z0-9.-]+$/i.test(hostname)) return hostname;
  throw new ServerError(
    `AI_SERVER_URL names ${hostname}, for which no certificate can be made here. Give the server a name, in DNS or in /etc/hosts, and use that.`,
    { link: "configuration", variable: "AI_SERVER_URL" },
  );
}

function showCaddyfile(call: Call, ca: CaMachine, { origin }: Config, { folder, caddy }: Created): void {
  const { hostname, port } = new URL(origin);
  const site = port === "" ? hostname : origin;
  const older =
    caddy.version === undefined ? " (for Caddy 2.8 and newer; docs/devices.md has those for 2.6)" : "";
  const lines = [
    `The CA is in ${folder} ${whereIs(ca)}. Put this into Caddy's Caddyfile${older}, with the address at which your model server listens, and reload Caddy:`,
    "",
    ...siteLines(site, folder, caddy).map((line) => line.replaceAll("\t", "    ")),
    "",
    "If Caddy runs as another user, that user must be able to read the files; keep ca-key.pem for yours alone:",
    ...(caddy.closedFolder === undefined ? [] : [`    chmod o+x ${caddy.closedFolder}`]),
    `    sudo chgrp caddy ${folder}/server-key.pem && sudo chmod 640 ${folder}/server-key.pem`,
  ];
  show(call.ctx, { level: "info", heading: "A CA was made", content: lines.join("\n") });
}
