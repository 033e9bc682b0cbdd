/** Answers that a server or a proxy compressed, though none was asked to. */
import { pipeline, Readable, type Transform } from "node:stream";
import {
  constants,
  createBrotliDecompress,
  createGunzip,
  createInflate,
  createZstdDecompress,
} from "node:zlib";
import { ServerError } from "../../lib/errors.ts";
import { cleanText } from "../../lib/text.ts";
import type { Body } from "./exchange.ts";

/** An answer that was cut off is read as far as it goes, as one that is not compressed. */
const LENIENT = { finishFlush: constants.Z_SYNC_FLUSH };

const DECODERS: Readonly<Record<string, () => Transform>> = {
  gzip: () => createGunzip(LENIENT),
  "x-gzip": () => createGunzip(LENIENT),
  deflate: () => createInflate(LENIENT),
  br: () => createBrotliDecompress({ finishFlush: constants.BROTLI_OPERATION_FLUSH }),
  // The window of RFC 9659: a larger one would take memory without an end.
  zstd: () => createZstdDecompress({ params: { [constants.ZSTD_d_windowLogMax]: 23 } }),
};

/** More of them, one on top of the other, are an attack. */
const MOST_ENCODINGS = 2;

/**
 * The body as it was before it was compressed. No more is unpacked than is read: a bound on what is read bounds this too.
 *
 * @param encodings the `Content-Encoding` header (RFC 9110, section 8.4); undefined for none
 * @throws {ServerError} for one that cannot be unpacked
 */
export function decodedBody(body: Body, encodings: string | undefined): Body {
  const names = (encodings ?? "")
    .toLowerCase()
    .split(",")
    .map((name) => name.trim())
    .filter((name) => name !== "" && name !== "identity");
  if (names.length === 0) return body;
  const made = names.map((name) => (Object.hasOwn(DECODERS, name) ? DECODERS[name] : undefined));
  if (names.length > MOST_ENCODINGS || made.includes(undefined)) {
    body.destroy();
    throw new ServerError(
      `The server's answer is compressed in a way that the request did not allow and cannot be read (content-encoding: ${cleanText(encodings ?? "", 60)}). Turn the compression off (encode in the Caddyfile).`,
      { link: "Caddy", remedy: "none" },
    );
  }
  let plain = Readable.from(body, { objectMode: false });
  for (const make of made.reverse()) {
    if (make === undefined) continue;
    const next = make();
    // The reader of the last one gets the error.
    pipeline(plain, next, () => {});
    plain = next;
  }
  plain.on("error", () => {});
  return plain;
}
