/** The client certificate, its key and the CA, as far as they can be judged without a connection. */
import { X509Certificate } from "node:crypto";
import { chmod, stat } from "node:fs/promises";
import { sentenceOf } from "../../lib/errors.ts";
import { counted } from "../../lib/figures.ts";
import type { Identity } from "../../server/http/identity.ts";
import { enrol } from "../devices/enrol.ts";
import { asking, type Finding, type Fix, fault, ok, unchecked, warning } from "./finding.ts";
import type { Visit } from "./visit.ts";

const WARN_DAYS = 30;
const DAY_MS = 86_400_000;
/** id-kp-clientAuth of RFC 5280, section 4.2.1.12. */
const CLIENT_AUTH = "1.3.6.1.5.5.7.3.2";

const RENEW = "Renew it with /ai-server-devices enrol.";

const RENEWING: Fix = {
  does: "renew the certificate",
  async run(call) {
    // It asks by itself, and shows how it ended.
    await enrol(call, "");
    return true;
  },
};

export async function* certificates({ config, server }: Visit): AsyncIterable<Finding> {
  const check = "certificates";
  const subject = "Certificates";
  let identity: Identity | undefined;
  try {
    identity = await server.http.identity();
  } catch (error) {
    const next = "The sentence says what to correct; /ai-server-devices enrol makes a new pair.";
    yield fault(check, subject, sentenceOf(error), next, RENEWING);
    return;
  }
  if (identity === undefined) {
    yield ok(check, subject, `not needed: ${config.origin} is plain HTTP to this machine`);
    return;
  }
  const leaf = new X509Certificate(identity.cert);
  yield ok(check, subject, "the files can be read, and the key belongs to the certificate");
  yield expiry(identity.validTo);
  yield usage(leaf);
  yield chain(leaf, authorities(identity), config.ca);
  yield await keyMode(config.clientKey);
}

function expiry(validTo: Date): Finding {
  const check = "certificate-expiry";
  const subject = "Expiry";
  const days = Math.floor((validTo.getTime() - Date.now()) / DAY_MS);
  const seen = `the client certificate is valid until ${validTo.toISOString().slice(0, 10)}`;
  if (days >= WARN_DAYS) return ok(check, subject, seen);
  return warning(check, subject, `${seen}, ${counted(days, "day")} more`, RENEW, RENEWING);
}

function usage({ keyUsage }: X509Certificate): Finding {
  const check = "certificate-usage";
  const subject = "Usage";
  // Without the extension a certificate may be used for everything.
  if (keyUsage === undefined || keyUsage.includes(CLIENT_AUTH))
    return ok(check, subject, "the certificate is one for clients");
  const seen = "the certificate is not one for clients: its extended key usage lacks clientAuth";
  return fault(check, subject, seen, `Caddy refuses it. ${RENEW}`, RENEWING);
}

/** All certificates that are at hand and may have issued this laptop's: those of the CA file, and after the own one. */
function authorities({ cert, ca }: Identity): X509Certificate[] {
  const blocks =
    `${cert}\n${ca ?? ""}`.match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g) ?? [];
  return blocks.slice(1).map((block) => new X509Certificate(block));
}

function chain(leaf: X509Certificate, known: readonly X509Certificate[], caFile: string): Finding {
  const check = "certificate-chain";
  const subject = "Issuer";
  const issuers = known.filter((authority) => authority.subject === leaf.issuer);
  const issuer = issuers.find((authority) => leaf.verify(authority.publicKey));
  if (issuer !== undefined) return ok(check, subject, `${caFile} has issued the certificate`);
  if (issuers.length === 0)
    return unchecked(
      check,
      subject,
      `${caFile} has not issued the certificate; Caddy may trust another CA for clients`,
    );
  const seen = `${caFile} has the name of the certificate's issuer but another key: the CA was made a second time`;
  const next = "Caddy admits only one of the two. Enrol this laptop again with /ai-server-devices enrol.";
  return warning(check, subject, seen, next, RENEWING);
}

async function keyMode(path: string): Promise<Finding> {
  const check = "key-mode";
  const subject = "Key file";
  if (process.platform === "win32") return ok(check, subject, path);
  const mode = (await stat(path)).mode & 0o777;
  const octal = mode.toString(8).padStart(3, "0");
  if ((mode & 0o077) === 0) return ok(check, subject, `only you can read ${path} (mode ${octal})`);
  const fix = asking(
    "set the mode of the key file",
    { title: "Set the mode of the client key to 600?", consequences: [`${path} has mode ${octal} now.`] },
    ["Leave it as it is", "Set it to 600"],
    () => chmod(path, 0o600),
  );
  const seen = `other users of this machine can read ${path} (mode ${octal}); it is the only credential`;
  return warning(check, subject, seen, `Run: chmod 600 ${path}`, fix);
}
