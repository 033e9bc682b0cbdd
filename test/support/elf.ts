/** Where things stand in a 64-bit little-endian ELF file, in bytes: https://refspecs.linuxfoundation.org/elf/gabi4+/ */
const HEADER = { class: 4, order: 5, programs: 0x20, entrySize: 0x36, entries: 0x38 } as const;
const ENTRY = { type: 0, offset: 8, fileSize: 32 } as const;
const PT_INTERP = 3;

/**
 * The same program, started by another dynamic loader. The kernel reads the loader's path from anywhere in the file,
 * so that a path longer than the old one stands at the end.
 *
 * @throws when the program is none of 64-bit Linux, or is linked statically
 */
export function withLoader(program: Buffer, loader: string): Buffer {
  const isElf = program.subarray(0, 4).toString("latin1") === "\x7fELF";
  if (!isElf || program[HEADER.class] !== 2 || program[HEADER.order] !== 1) {
    throw new Error("This is no program of 64-bit Linux");
  }
  const path = Buffer.from(`${loader}\0`);
  const changed = Buffer.concat([program, path]);
  const table = Number(program.readBigUInt64LE(HEADER.programs));
  const size = program.readUInt16LE(HEADER.entrySize);
  for (let entry = 0; entry < program.readUInt16LE(HEADER.entries); entry += 1) {
    const at = table + entry * size;
    if (program.readUInt32LE(at + ENTRY.type) !== PT_INTERP) continue;
    changed.writeBigUInt64LE(BigInt(program.length), at + ENTRY.offset);
    changed.writeBigUInt64LE(BigInt(path.length), at + ENTRY.fileSize);
    return changed;
  }
  throw new Error("This program names no dynamic loader");
}
