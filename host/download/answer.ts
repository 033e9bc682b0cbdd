/** What `ai-server-download` reports, as data. Pure. */
import { type Answer, type AnswerLine, valueFor } from "../ssh/protocol.ts";
import type { HostError } from "../ssh/ssh-faults.ts";
import {
  type DownloadedFile,
  type DownloadStage,
  type DownloadState,
  type FileSize,
  isRunning,
} from "./download.ts";

type Fault = (code: string, detail: string, isRunning: boolean) => HostError;

const STAGES: Readonly<Record<string, DownloadStage>> = {
  running: "running",
  waiting: "waiting",
  checking: "checking",
  stopped: "stopped",
  failed: "failed",
  complete: "complete",
};

/**
 * `download <id> <stage> <program> <second of the start> <seconds since then> <bytes at the start>`, and below it
 * `label`, `part` for each file, and where there is one the problem's code and detail.
 *
 * @returns the one that was started first comes first
 */
export function statesInAnswer({ lines }: Answer, fault: Fault): DownloadState[] {
  const begins = lines.flatMap(({ key }, at) => (key === "download" ? [at] : []));
  const blocks = begins.map((from, nth) => lines.slice(from, begins[nth + 1]));
  const started = (block: readonly AnswerLine[]): number => numberIn(block[0]?.value.split(" ")[3] ?? "");
  return blocks.sort((a, b) => started(a) - started(b)).flatMap((block) => oneState(block, fault));
}

function oneState(lines: readonly AnswerLine[], fault: Fault): DownloadState[] {
  const [id = "", word = "", tool = "", , seconds = "", before = ""] = lines[0]?.value.split(" ") ?? [];
  const stage = STAGES[word];
  if (stage === undefined || !/^[0-9a-f]{16}$/.test(id)) return [];
  const files = lines.flatMap(fileOf);
  const sum = (key: "bytes" | "doneBytes"): number => files.reduce((all, file) => all + file[key], 0);
  const doneBytes = sum("doneBytes");
  const code = valueFor(lines, "problem");
  // While it waits to try again nothing arrives, whatever the rate was.
  const rate = code === undefined ? rateOf(doneBytes - numberIn(before), numberIn(seconds)) : undefined;
  const detail = lines.find(({ key }) => key === "detail")?.text ?? "";
  return [
    {
      id,
      label: valueFor(lines, "label") ?? "",
      files,
      doneBytes,
      totalBytes: sum("bytes"),
      stage,
      program: tool === "hf" || tool === "curl" ? tool : undefined,
      rate,
      problem: code === undefined ? undefined : fault(code, detail, isRunning(stage)),
    },
  ];
}

function rateOf(bytes: number, seconds: number): number | undefined {
  return bytes > 0 && seconds > 0 ? bytes / seconds : undefined;
}

/** `part <bytes> <bytes that are there> <path>` */
function fileOf({ key, value }: AnswerLine): DownloadedFile[] {
  const [, bytes, done, path] = (key === "part" && /^(\d{1,15}) (\d{1,15}) (.+)$/.exec(value)) || [];
  if (bytes === undefined || done === undefined || path === undefined) return [];
  return [{ path, bytes: Number(bytes), doneBytes: Math.min(Number(bytes), Number(done)) }];
}

/** `size <kind> <bytes> <path>`, below it `real <path>` or the words of a program that refused. */
export function filesInAnswer({ lines }: Answer): FileSize[] {
  return lines.flatMap(({ key, value }, at) => {
    const [, kind, bytes, path] =
      (key === "size" && /^(file|link|other|missing) (\d{1,15}) (.+)$/.exec(value)) || [];
    if (bytes === undefined || path === undefined) return [];
    const next = lines[at + 1];
    const problem = next?.key === "detail" ? next.text : undefined;
    const realPath = next?.key === "real" ? next.value : undefined;
    return [{ path, bytes: Number(bytes), kind: kind as FileSize["kind"], realPath, problem }];
  });
}

function numberIn(text: string): number {
  return /^\d{1,15}$/.test(text) ? Number(text) : 0;
}
