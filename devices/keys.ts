/** Keys of devices and their signing requests. The keys are made here; a request holds none. */
import { createPublicKey, generateKeyPair, type KeyObject, sign } from "node:crypto";
import { promisify } from "node:util";
import forge from "node-forge";

const generate = promisify(generateKeyPair);

/** EC P-256, for this laptop. */
export async function laptopKey(): Promise<KeyObject> {
  return (await generate("ec", { namedCurve: "P-256" })).privateKey;
}

/** RSA with 2048 bits: every phone, tablet and browser imports it. */
export async function phoneKey(): Promise<KeyObject> {
  return (await generate("rsa", { modulusLength: 2048 })).privateKey;
}

/** The key as PEM (PKCS#8), encrypted where there is a passphrase. */
export function keyPem(key: KeyObject, passphrase?: string): string {
  const form = { type: "pkcs8", format: "pem" } as const;
  if (passphrase === undefined) return key.export(form).toString();
  return key.export({ ...form, cipher: "aes-256-cbc", passphrase }).toString();
}

const { Class, Type } = forge.asn1;

function sequence(...value: forge.asn1.Asn1[]): forge.asn1.Asn1 {
  return forge.asn1.create(Class.UNIVERSAL, Type.SEQUENCE, true, value);
}

function oid(id: string): forge.asn1.Asn1 {
  return forge.asn1.create(Class.UNIVERSAL, Type.OID, false, forge.asn1.oidToDer(id).getBytes());
}

function primitive(type: forge.asn1.Type, value: string): forge.asn1.Asn1 {
  return forge.asn1.create(Class.UNIVERSAL, type, false, value);
}

/** ecdsa-with-SHA256 has no parameters, sha256WithRSAEncryption has NULL (RFC 5758, RFC 4055). */
function signatureAlgorithm(key: KeyObject): forge.asn1.Asn1 {
  if (key.asymmetricKeyType === "ec") return sequence(oid("1.2.840.10045.4.3.2"));
  return sequence(oid("1.2.840.113549.1.1.11"), primitive(Type.NULL, ""));
}

/**
 * The signing request of a key (RFC 2986) with the subject `CN=<name>` and no attributes, as PEM. node-forge's own
 * requests know RSA keys alone, and the other libraries for EC bring a dozen packages: so it is put together from
 * node-forge's ASN.1.
 */
export function signingRequest(name: string, key: KeyObject): string {
  const commonName = sequence(oid("2.5.4.3"), primitive(Type.UTF8, forge.util.encodeUtf8(name)));
  const subject = sequence(forge.asn1.create(Class.UNIVERSAL, Type.SET, true, [commonName]));
  const spki = createPublicKey(key).export({ type: "spki", format: "der" });
  const info = sequence(
    primitive(Type.INTEGER, forge.asn1.integerToDer(0).getBytes()),
    subject,
    forge.asn1.fromDer(spki.toString("latin1")),
    forge.asn1.create(Class.CONTEXT_SPECIFIC, 0, true, []),
  );
  const signed = sign("sha256", Buffer.from(forge.asn1.toDer(info).getBytes(), "latin1"), key);
  const signature = primitive(Type.BITSTRING, `\0${signed.toString("latin1")}`);
  const der = Buffer.from(
    forge.asn1.toDer(sequence(info, signatureAlgorithm(key), signature)).getBytes(),
    "latin1",
  );
  const lines = der.toString("base64").match(/.{1,64}/g) ?? [];
  return ["-----BEGIN CERTIFICATE REQUEST-----", ...lines, "-----END CERTIFICATE REQUEST-----", ""].join(
    "\n",
  );
}
