import { constants } from "node:fs";
import { open } from "node:fs/promises";
import { cleanText } from "../lib/text.ts";

const MAX_BYTES = 64 * 1024;
const MAX_LENGTH = 120;

/** For those who have no file of their own. */
export const QUOTES: readonly string[] = [
  "Counting the tokens one by one",
  "Your own electrons at work",
  "No cloud was asked",
  "The fans know what they do",
  "Good things take a few layers",
  "Somewhere in this house it is getting warmer",
];

/** The lines of a file that are quotes: neither empty nor comments. None where it cannot be read. */
export async function readQuotes(path: string): Promise<string[]> {
  try {
    // A pipe that nobody writes to would be opened for ever.
    const file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK);
    try {
      const { buffer, bytesRead } = await file.read(Buffer.alloc(MAX_BYTES), 0, MAX_BYTES, 0);
      return buffer
        .toString("utf8", 0, bytesRead)
        .split("\n")
        .map((line) => cleanText(line, MAX_LENGTH))
        .filter((line) => line !== "" && !line.startsWith("#"));
    } finally {
      await file.close();
    }
  } catch {
    return [];
  }
}
