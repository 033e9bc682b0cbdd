/** What is on this laptop: certificates and the mode of the key. */
import { chmod, stat } from "node:fs/promises";
import { sentenceOf } from "../../lib/errors.ts";
import { counted } from "../../lib/figures.ts";
import type { Identity } from "../../server/http/identity.ts";
import { enrol } from "../devices/enrol.ts";
import { asking, type Finding, type Fix, fault, type Group, ok, warning } from "./finding.ts";
import type { Visit } from "./visit.ts";

const WARN_DAYS = 30;
const DAY_MS = 86_400_000;

export const laptop: Group = {
  name: "laptop",
  title: "This laptop",
  async *examine(visit) {
    yield* certificates(visit);
  },
};

const RENEWING: Fix = {
  does: "renew the certificate",
  async run(call) {
    // It asks by itself, and shows how it ended.
    await enrol(call, "");
    return true;
  },
};

/** The pair and the CA, as far as they can be judged without a connection. */
async function* certificates({ config, server }: Visit): AsyncIterable<Finding> {
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
  yield ok(check, subject, "the files can be read, and the key belongs to the certificate");
  yield expiry(identity.validTo);
  yield await keyMode(config.clientKey);
}

function expiry(validTo: Date): Finding {
  const check = "certificate-expiry";
  const subject = "Expiry";
  const days = Math.floor((validTo.getTime() - Date.now()) / DAY_MS);
  const seen = `the client certificate is valid until ${validTo.toISOString().slice(0, 10)}`;
  if (days >= WARN_DAYS) return ok(check, subject, seen);
  const next = "Renew it with /ai-server-devices enrol.";
  return warning(check, subject, `${seen}, ${counted(days, "day")} more`, next, RENEWING);
}

async function keyMode(path: string): Promise<Finding> {
  const check = "key-mode";
  const subject = "Key file";
  if (process.platform === "win32") return ok(check, subject, path);
  const mode = (await stat(path)).mode & 0o777;
  const octal = mode.toString(8);
  if ((mode & 0o077) === 0) return ok(check, subject, `only you can read ${path} (mode ${octal})`);
  const fix = asking(
    "set the mode of the key file",
    { title: `Set the mode of the client key to 600?`, consequences: [`${path} has mode ${octal} now.`] },
    ["Leave it as it is", "Set it to 600"],
    () => chmod(path, 0o600),
  );
  const seen = `other users of this machine can read ${path} (mode ${octal}); it is the only credential`;
  return warning(check, subject, seen, `Run: chmod 600 ${path}`, fix);
}
