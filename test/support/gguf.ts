/**
 * Writes model files in the format of llama.cpp: magic, version 3, metadata, tensor descriptions, data; all little endian.
 * https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
 */

/** Metadata by its GGUF type; a list is of texts, of whole numbers or of fractions. */
export type MetadataValue =
  | { uint32: number }
  | { float32: number }
  | { text: string }
  | { texts: readonly string[] }
  | { int32s: readonly number[] }
  | { float32s: readonly number[] };

export interface Tensor {
  name: string;
  /** Sizes with the quickest dimension first: a matrix is `[inputs, outputs]`. */
  shape: readonly number[];
  values: Float32Array;
}

const VERSION = 3;
const ALIGNMENT = 32;
const TYPE = { uint32: 4, int32: 5, float32: 6, text: 8, list: 9 } as const;
const TENSOR_F32 = 0;

class Writer {
  readonly #pieces: Buffer[] = [];
  #length = 0;

  get length(): number {
    return this.#length;
  }

  bytes(piece: Buffer): void {
    this.#pieces.push(piece);
    this.#length += piece.length;
  }

  uint32(value: number): void {
    const piece = Buffer.alloc(4);
    piece.writeUInt32LE(value);
    this.bytes(piece);
  }

  uint64(value: number): void {
    const piece = Buffer.alloc(8);
    piece.writeBigUInt64LE(BigInt(value));
    this.bytes(piece);
  }

  numbers(values: Float32Array | Int32Array): void {
    this.bytes(Buffer.from(values.buffer, values.byteOffset, values.byteLength));
  }

  text(value: string): void {
    const piece = Buffer.from(value, "utf8");
    this.uint64(piece.length);
    this.bytes(piece);
  }

  list(type: number, count: number): void {
    this.uint32(TYPE.list);
    this.uint32(type);
    this.uint64(count);
  }

  pad(): void {
    this.bytes(Buffer.alloc(padded(this.#length) - this.#length));
  }

  result(): Buffer {
    return Buffer.concat(this.#pieces);
  }
}

function padded(length: number): number {
  return Math.ceil(length / ALIGNMENT) * ALIGNMENT;
}

function writeMetadata(writer: Writer, value: MetadataValue): void {
  if ("uint32" in value) {
    writer.uint32(TYPE.uint32);
    writer.uint32(value.uint32);
  } else if ("float32" in value) {
    writer.uint32(TYPE.float32);
    writer.numbers(Float32Array.of(value.float32));
  } else if ("text" in value) {
    writer.uint32(TYPE.text);
    writer.text(value.text);
  } else if ("texts" in value) {
    writer.list(TYPE.text, value.texts.length);
    for (const text of value.texts) writer.text(text);
  } else if ("int32s" in value) {
    writer.list(TYPE.int32, value.int32s.length);
    writer.numbers(Int32Array.from(value.int32s));
  } else {
    writer.list(TYPE.float32, value.float32s.length);
    writer.numbers(Float32Array.from(value.float32s));
  }
}

/** The bytes of a GGUF file with all tensors as 32-bit floats. */
export function gguf(metadata: Readonly<Record<string, MetadataValue>>, tensors: readonly Tensor[]): Buffer {
  const writer = new Writer();
  const entries = Object.entries(metadata);
  writer.bytes(Buffer.from("GGUF"));
  writer.uint32(VERSION);
  writer.uint64(tensors.length);
  writer.uint64(entries.length);
  for (const [key, value] of entries) {
    writer.text(key);
    writeMetadata(writer, value);
  }
  let offset = 0;
  for (const { name, shape, values } of tensors) {
    writer.text(name);
    writer.uint32(shape.length);
    for (const size of shape) writer.uint64(size);
    writer.uint32(TENSOR_F32);
    writer.uint64(offset);
    offset += padded(values.byteLength);
  }
  writer.pad();
  for (const { values } of tensors) {
    writer.numbers(values);
    writer.pad();
  }
  return writer.result();
}
