// A process that remembers COUNT loads, one model each: node writer.ts FILE NAME COUNT
import { writeSync } from "node:fs";
import { Memory } from "../../memory/memory.ts";

const [file = "", name = "", rounds = "0"] = process.argv.slice(2);
const memory = new Memory(file, Date.now);
writeSync(1, "ready\n");
for (let at = 0; at < Number(rounds); at += 1) {
  await memory.rememberLoad("https://one.example", `${name}-${at}`, at);
  writeSync(1, `${at}\n`);
}
