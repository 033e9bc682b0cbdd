/**
 * PKCS#12 in the form that iOS, Android and every NSS import: 3DES and SHA-1 (RFC 7292, appendix C), which is only as
 * safe as its password. Put together from node-forge's parts: its own `toPkcs12Asn1` writes certificates again and adds a
 * NULL to the signature of one that an EC key signed, so that Caddy finds it on no list.
 */
import { type KeyObject, randomInt, X509Certificate } from "node:crypto";
import forge from "node-forge";

/** Without letters and digits that look alike; none needs a shift key on a phone. */
const ALPHABET = "abcdefghijkmnpqrstuvwxyz23456789";
const LENGTH = 24;

/** What OpenSSL takes too. */
const ITERATIONS = 2048;
const SALT_BYTES = 8;

const ID = {
  data: "1.2.840.113549.1.7.1",
  encryptedData: "1.2.840.113549.1.7.6",
  friendlyName: "1.2.840.113549.1.9.20",
  localKeyId: "1.2.840.113549.1.9.21",
  x509Certificate: "1.2.840.113549.1.9.22.1",
  shroudedKeyBag: "1.2.840.113549.1.12.10.1.2",
  certBag: "1.2.840.113549.1.12.10.1.3",
  sha1: "1.3.14.3.2.26",
} as const;

const { asn1 } = forge;
const { Class, Type } = asn1;

type Node = forge.asn1.Asn1;

/** 24 random characters: 120 bits. */
export function filePassword(): string {
  return Array.from({ length: LENGTH }, () => ALPHABET[randomInt(ALPHABET.length)]).join("");
}

function sequence(...value: Node[]): Node {
  return asn1.create(Class.UNIVERSAL, Type.SEQUENCE, true, value);
}

function set(...value: Node[]): Node {
  return asn1.create(Class.UNIVERSAL, Type.SET, true, value);
}

function primitive(type: forge.asn1.Type, value: string): Node {
  return asn1.create(Class.UNIVERSAL, type, false, value);
}

function oid(id: string): Node {
  return primitive(Type.OID, asn1.oidToDer(id).getBytes());
}

function integer(value: number): Node {
  return primitive(Type.INTEGER, asn1.integerToDer(value).getBytes());
}

/** `[0] EXPLICIT` */
function tagged(value: Node): Node {
  return asn1.create(Class.CONTEXT_SPECIFIC, 0, true, [value]);
}

function bytesOf(node: Node): string {
  return asn1.toDer(node).getBytes();
}

/** By these a store shows the certificate, and finds the key that belongs to it. */
function attributes(name: string, keyId: string): Node {
  return set(
    sequence(oid(ID.friendlyName), set(primitive(Type.BMPSTRING, name))),
    sequence(oid(ID.localKeyId), set(primitive(Type.OCTETSTRING, keyId))),
  );
}

function certificateBag({ raw }: X509Certificate, more: readonly Node[]): Node {
  const value = primitive(Type.OCTETSTRING, raw.toString("latin1"));
  return sequence(oid(ID.certBag), tagged(sequence(oid(ID.x509Certificate), tagged(value))), ...more);
}

/** AlgorithmIdentifier and ciphertext. */
function encrypted(content: Node, password: string): [algorithm: Node, text: Node] {
  const options = { algorithm: "3des", count: ITERATIONS, saltSize: SALT_BYTES } as const;
  const made = forge.pki.encryptPrivateKeyInfo(content, password, options);
  return made.value as [Node, Node];
}

function macData(safe: string, password: string): Node {
  const salt = forge.random.getBytesSync(SALT_BYTES);
  // 3: the key of a MAC (RFC 7292, appendix B.3).
  const key = forge.pkcs12.generateKey(password, forge.util.createBuffer(salt), 3, ITERATIONS, 20);
  const mac = forge.hmac.create();
  mac.start("sha1", key);
  mac.update(safe);
  return sequence(
    sequence(
      sequence(oid(ID.sha1), primitive(Type.NULL, "")),
      primitive(Type.OCTETSTRING, mac.getMac().getBytes()),
    ),
    primitive(Type.OCTETSTRING, salt),
    integer(ITERATIONS),
  );
}

/**
 * @param name under which a store shows it
 * @param certificate PEM of the device
 * @param authority PEM of its CA, which comes along
 */
export function pkcs12(
  name: string,
  key: KeyObject,
  { certificate, authority }: { certificate: string; authority: string },
  password: string,
): Buffer {
  const own = new X509Certificate(certificate);
  const keyId = Buffer.from(own.fingerprint.replaceAll(":", ""), "hex").toString("latin1");
  const named = attributes(name, keyId);
  const certificates = sequence(
    certificateBag(own, [named]),
    certificateBag(new X509Certificate(authority), []),
  );
  const [algorithm, text] = encrypted(certificates, password);
  // `[0] IMPLICIT`: the tag takes the place of that of the octet string.
  const hidden = asn1.create(Class.CONTEXT_SPECIFIC, 0, false, text.value as string);
  const encryptedData = sequence(integer(0), sequence(oid(ID.data), algorithm, hidden));

  const keyInfo = asn1.fromDer(key.export({ type: "pkcs8", format: "der" }).toString("latin1"));
  const keys = sequence(
    sequence(oid(ID.shroudedKeyBag), tagged(sequence(...encrypted(keyInfo, password))), named),
  );
  const safe = bytesOf(
    sequence(
      sequence(oid(ID.encryptedData), tagged(encryptedData)),
      sequence(oid(ID.data), tagged(primitive(Type.OCTETSTRING, bytesOf(keys)))),
    ),
  );
  const content = sequence(oid(ID.data), tagged(primitive(Type.OCTETSTRING, safe)));
  return Buffer.from(bytesOf(sequence(integer(3), content, macData(safe, password))), "latin1");
}
