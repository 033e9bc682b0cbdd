import { existsSync, readFileSync } from "node:fs";

const FOLDER = new URL("../fixtures/llama-swap-head/", import.meta.url);

/** One request of the recording, and the answer that llama-swap gave. */
export interface Recording {
  name: string;
  method: string;
  path: string;
  headers: Record<string, string>;
  body: string | undefined;
  /** Whether curl hung up after a while. */
  cut: boolean;
  /** Absent where only the request was kept: another endpoint's, or one that nothing answered. */
  answer: Answer | undefined;
}

export interface Answer {
  status: number;
  headers: Record<string, string>;
  body: string;
}

export function readFixture(name: string): string {
  return readFileSync(new URL(name, FOLDER), "utf8");
}

/** Every row of the recording's INDEX.md, by the number in front of its file's name. */
export function readRecordings(): Map<string, Recording> {
  const recordings = new Map<string, Recording>();
  for (const row of readFixture("INDEX.md").matchAll(/^\| (\d{3})-(\S+)\.http \| `(.*)` \|/gm)) {
    const [, number = "", title = "", command = ""] = row;
    recordings.set(number, readRecording(`${number}-${title}`, command));
  }
  return recordings;
}

/** The index holds curl's arguments unquoted, but regularly: options first, the path last. */
function readRecording(name: string, command: string): Recording {
  const file = `${name}.http`;
  const path = command.slice(command.lastIndexOf(" /") + 1);
  const body = / -d (.*) \/\S*$/.exec(` ${command}`)?.[1];
  const asked = / -X ([A-Z]+)/.exec(` ${command}`)?.[1];
  const method = asked ?? (command.startsWith("-I ") ? "HEAD" : body === undefined ? "GET" : "POST");
  const headers: Record<string, string> = {};
  for (const [, header = "", value = ""] of command.matchAll(/-H ([A-Za-z-]+): (\S+)/g)) {
    headers[header.toLowerCase()] = value;
  }
  if (body !== undefined) headers["content-type"] ??= "application/x-www-form-urlencoded";
  const answer = existsSync(new URL(file, FOLDER)) ? parseAnswer(readFixture(file)) : undefined;
  return { name, method, path, headers, body, cut: command.includes("--max-time"), answer };
}

function parseAnswer(raw: string): Answer {
  const end = raw.search(/\r?\n\r?\n/);
  const [statusLine = "", ...lines] = raw.slice(0, end).split(/\r?\n/);
  const headers = lines.map((line): [string, string] => {
    const colon = line.indexOf(":");
    return [line.slice(0, colon).toLowerCase(), line.slice(colon + 1).trim()];
  });
  const body = raw.slice(end).replace(/^\r?\n\r?\n/, "");
  return { status: Number(statusLine.split(" ")[1]), headers: Object.fromEntries(headers), body };
}
