/** Reads one answer of a million tokens in a process of its own, and writes what that cost: node bench/memory-reader.ts */
import { writeSync } from "node:fs";
import { makeCollector } from "./collector.ts";
import { modelIdOf } from "./fixtures.ts";
import { ExtensionTurns, expectedCharacters } from "./turns.ts";

/** Bytes beyond what the process held before the answer. */
export interface MemoryUse {
  /** Heap and buffers in use after a whole collection, at the worst moment. */
  most: number;
  /** The same at the end, while the message is still held. */
  atEnd: number;
  /** How far the process itself grew, garbage and reserves of the runtime included. */
  residentSize: number;
  characters: number;
}

/** Each token comes alone, as a model says it. */
const MODEL_ID = modelIdOf({ kind: "text", deltas: 1_000_000, eventsPerWrite: 1 });
const WARM_UP_ID = modelIdOf({ kind: "text", deltas: 5_000, eventsPerWrite: 1 });
const EVENTS_BETWEEN_SAMPLES = 100_000;

const collector = makeCollector();

function inUse(): number {
  collector.all();
  const { heapUsed, external } = process.memoryUsage();
  return heapUsed + external;
}

const { AI_SERVER_URL = "", AI_SERVER_CERTS_DIR = "" } = process.env;
const turns = new ExtensionTurns({ AI_SERVER_URL, AI_SERVER_CERTS_DIR });
await turns.turn(WARM_UP_ID);
const characters = expectedCharacters(MODEL_ID);
const before = inUse();
const residentBefore = process.memoryUsage.rss();
let most = 0;
let events = 0;
const message = await turns.turn(MODEL_ID, {}, () => {
  events += 1;
  if (events % EVENTS_BETWEEN_SAMPLES === 0) most = Math.max(most, inUse() - before);
});
const atEnd = inUse() - before;
// `maxRSS` is in kibibytes.
const residentSize = process.resourceUsage().maxRSS * 1024 - residentBefore;
const [block] = message.content;
if (block?.type !== "text" || block.text.length !== characters) throw new Error("The message is not whole");
await turns.close();
const use: MemoryUse = { most: Math.max(most, atEnd), atEnd, residentSize, characters };
writeSync(1, JSON.stringify(use));
