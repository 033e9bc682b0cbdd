/** What a very long answer adds to the memory of the process that reads it. */
import { fileURLToPath } from "node:url";
import { runOk } from "../test/support/processes.ts";
import type { Bench, Figure, Measured } from "./figure.ts";
import type { MemoryUse } from "./memory-reader.ts";

const PROGRAM = fileURLToPath(new URL("./memory-reader.ts", import.meta.url));

export const MEMORY_ADDED: Figure = {
  name: "memoryAddedMB",
  what: "MB (10^6) in use at most, after whole collections, beyond those before an answer of 1,000,000 tokens; its text included",
  limit: { most: 64 },
  margin: 0,
};

export async function measureMemory({ server }: Bench): Promise<Measured[]> {
  const { stdout } = await runOk(process.execPath, [PROGRAM], {
    env: { ...process.env, ...server.env },
    timeoutMs: 300_000,
  });
  const use = JSON.parse(stdout) as MemoryUse;
  const megabytes = (bytes: number): string => (bytes / 1e6).toFixed(1);
  const detail = `text of ${megabytes(use.characters)} million characters; at the end ${megabytes(use.atEnd)} MB; process size at its largest +${megabytes(use.residentSize)} MB`;
  return [{ figure: MEMORY_ADDED, value: use.most / 1e6, detail }];
}
