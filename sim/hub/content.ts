import { createHash } from "node:crypto";
import { createReadStream, statSync } from "node:fs";
import { Readable } from "node:stream";

/**
 * What is in a file: bytes, a file of this machine, or bytes made from a seed as they are sent. One that is only
 * listed has the size and hash that it gives, and zeros in it: for sizes that no test reads to the end.
 */
export type HubContent =
  | string
  | Uint8Array
  | { from: string }
  | { bytes: number; seed?: string }
  | { listed: number };

const BLOCK = 1 << 16;

export function sizeOf(content: HubContent): number {
  if (typeof content === "string") return Buffer.byteLength(content);
  if (content instanceof Uint8Array) return content.byteLength;
  if ("from" in content) return statSync(content.from).size;
  return "bytes" in content ? content.bytes : content.listed;
}

/** @param start the first byte, from 0 */
export function readContent(content: HubContent, start: number): Readable {
  if (typeof content === "string") return Readable.from([Buffer.from(content).subarray(start)]);
  if (content instanceof Uint8Array) return Readable.from([Buffer.from(content).subarray(start)]);
  if ("from" in content) return createReadStream(content.from, { start });
  return Readable.from(
    madeBytes(sizeOf(content), "bytes" in content ? (content.seed ?? "") : undefined, start),
  );
}

/** Lower-case hexadecimal. */
export async function sha256Of(content: HubContent): Promise<string> {
  const hash = createHash("sha256");
  if (typeof content === "object" && "listed" in content) return hash.update("only listed").digest("hex");
  for await (const chunk of readContent(content, 0)) hash.update(chunk as Buffer);
  return hash.digest("hex");
}

/** The same 64 KiB again and again, with the number of the block at its beginning: no two blocks are equal. */
function* madeBytes(size: number, seed: string | undefined, start: number): Generator<Buffer> {
  const pattern = seed === undefined ? Buffer.alloc(BLOCK) : noise(seed);
  for (let at = start; at < size; ) {
    const block = Math.floor(at / BLOCK);
    const whole = Buffer.from(pattern);
    if (seed !== undefined) whole.writeUInt32LE(block);
    const end = Math.min(size, (block + 1) * BLOCK);
    yield whole.subarray(at - block * BLOCK, end - block * BLOCK);
    at = end;
  }
}

function noise(seed: string): Buffer {
  const parts: Buffer[] = [];
  let part = createHash("sha512").update(seed).digest();
  for (let length = 0; length < BLOCK; length += part.length) {
    parts.push(part);
    part = createHash("sha512").update(part).digest();
  }
  return Buffer.concat(parts);
}
