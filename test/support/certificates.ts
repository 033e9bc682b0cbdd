import { issue, makeAuthority, writePemFiles } from "../../sim/certificates.ts";

const HOUR_MS = 3_600_000;

/**
 * Writes a root CA, a server pair for this machine and a client pair, named as a user has them, and beside them
 * what must not work: `expired` is of the same CA and ended an hour ago, `stranger` and `other-ca` of another.
 */
export async function writeCertificates(folder: string): Promise<void> {
  const [ours, theirs] = await Promise.all([makeAuthority("Test CA"), makeAuthority("Another CA")]);
  const [server, client, expired, stranger] = await Promise.all([
    issue(ours, { commonName: "localhost", names: ["localhost", "127.0.0.1", "::1"], usage: "server" }),
    issue(ours, { commonName: "client", usage: "client" }),
    issue(ours, {
      commonName: "expired client",
      usage: "client",
      notBefore: new Date(Date.now() - 20 * HOUR_MS),
      notAfter: new Date(Date.now() - HOUR_MS),
    }),
    issue(theirs, { commonName: "stranger", usage: "client" }),
  ]);
  const pairs = Object.entries({ server, client, expired, stranger });
  writePemFiles(folder, {
    "root-ca.pem": ours.cert,
    "other-ca.pem": theirs.cert,
    ...Object.fromEntries(pairs.map(([name, { cert }]) => [`${name}.pem`, cert])),
    ...Object.fromEntries(pairs.map(([name, { key }]) => [`${name}-key.pem`, key])),
  });
}
