import { readFileSync } from "node:fs";

/** The JSON body of an answer that a real llama-swap of this version gave; `name` is the file without `.http`. */
export function recordedBody(version: "v170" | "v217" | "head", name: string): unknown {
  const url = new URL(`../fixtures/llama-swap-${version}/${name}.http`, import.meta.url);
  const raw = readFileSync(url, "utf8");
  return JSON.parse(raw.slice(raw.search(/\r?\n\r?\n/)));
}

/** The JSON body of an answer that a real llama-server gave; `name` is the file without `.json`. */
export function llamaServerBody(name: string): unknown {
  return JSON.parse(readFileSync(new URL(`../fixtures/llama-server/${name}.json`, import.meta.url), "utf8"));
}
