import { KeyObject, X509Certificate } from "node:crypto";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type Certificate, issue, makeAuthority, writePemFiles } from "./certificates.ts";

/**
 * Makes a CA as a user has it, in `caDir`, with two devices on its list: this laptop, whose pair and CA go into
 * `certsDir` together with the server's pair, and a phone.
 */
export async function writeDemoAuthority(certsDir: string, caDir: string): Promise<void> {
  const authority = await makeAuthority("Demo CA");
  const [server, laptop, phone] = await Promise.all([
    issue(authority, { commonName: "localhost", names: ["localhost", "127.0.0.1"], usage: "server" }),
    issue(authority, { commonName: "laptop", usage: "client" }),
    issue(authority, { commonName: "phone", usage: "client" }),
  ]);
  writePemFiles(certsDir, {
    "root-ca.pem": authority.cert,
    "server.pem": server.cert,
    "server-key.pem": server.key,
    "client.pem": laptop.cert,
    "client-key.pem": laptop.key,
  });
  const key = KeyObject.from(authority.keys.privateKey).export({ type: "pkcs8", format: "pem" }).toString();
  writePemFiles(caDir, { "root-ca.pem": authority.cert, "ca-key.pem": key });
  list(caDir, "laptop", laptop);
  list(caDir, "phone", phone);
}

/** Puts a device on the list, as `ai-server-ca` does. */
function list(caDir: string, name: string, { cert }: Certificate): void {
  const { serialNumber, raw } = new X509Certificate(cert);
  const entry = join(caDir, "devices", `${name}.${serialNumber.toLowerCase().replace(/^0+/, "")}`);
  mkdirSync(entry, { recursive: true });
  writeFileSync(join(entry, "cert.pem"), cert);
  writeFileSync(join(entry, "leaf.caddy"), `trusted_leaf_cert ${raw.toString("base64")}\n`);
}
