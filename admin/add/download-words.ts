/** How a download on the server goes on, in words. Pure. */
import type { DownloadState } from "../../host/download/download.ts";
import { binarySize, duration } from "../../lib/figures.ts";

/** Of a download that hardly moves, the time left says nothing. */
const MOST_LEFT_MS = 48 * 3600 * 1000;

/** `3.1 of 18.6 GiB · 24 MiB/s · 11 min left` */
export function progressWords(doneBytes: number, totalBytes: number, rate: number | undefined): string {
  const pieces = [amountWords(doneBytes, totalBytes)];
  if (rate !== undefined && rate > 0) {
    pieces.push(`${binarySize(rate)}/s`);
    const left = leftMs(totalBytes - doneBytes, rate);
    if (left > 0 && left < MOST_LEFT_MS) pieces.push(`${duration(left)} left`);
  }
  return pieces.join(" · ");
}

/** Whole minutes from ten on: nothing else is known so exactly. */
function leftMs(bytes: number, rate: number): number {
  const ms = (bytes / rate) * 1000;
  const unit = ms > 600_000 ? 60_000 : 1000;
  return Math.ceil(ms / unit) * unit;
}

function amountWords(doneBytes: number, totalBytes: number): string {
  const [done, total] = [binarySize(doneBytes), binarySize(totalBytes)];
  const [, unit] = total.split(" ");
  return done.endsWith(` ${unit}`) ? `${done.split(" ")[0]} of ${total}` : `${done} of ${total}`;
}

/** What a download is doing, as a whole line while it is awaited. */
export function downloadWords(state: DownloadState): string {
  const { label, stage, doneBytes, totalBytes, rate, problem } = state;
  switch (stage) {
    case "waiting":
      return `${label} waits for another download of the same file`;
    case "checking":
      return `Checking the SHA-256 of ${label}`;
    case "running": {
      const again = problem === undefined ? "" : `. ${problem.message}`;
      return `Downloading ${label}: ${progressWords(doneBytes, totalBytes, rate)}${again}`;
    }
    default:
      return `${label}: ${stageWords(state)}`;
  }
}

/** The same in a list. */
export function stageWords({ stage, doneBytes, totalBytes }: DownloadState): string {
  const percent = `${totalBytes === 0 ? 0 : Math.floor((100 * doneBytes) / totalBytes)} %`;
  switch (stage) {
    case "complete":
      return "downloaded, not in the config";
    case "running":
      return `downloading · ${percent}`;
    case "waiting":
      return `waiting · ${percent}`;
    case "checking":
      return "being checked";
    case "stopped":
      return `stopped at ${percent}`;
    case "failed":
      return `failed at ${percent}`;
  }
}

/** For how long bytes are counted: a rate that follows the network, and does not jump. */
const WINDOW_MS = 20_000;

/** The rate of a download that reports its bytes alone. */
export class RateMeter {
  readonly #seen: { at: number; bytes: number }[] = [];

  /** @returns bytes a second, of the last 20 s; undefined until there are two looks */
  rate(bytes: number, now: number): number | undefined {
    this.#seen.push({ at: now, bytes });
    while (this.#seen.length > 2 && now - (this.#seen[0]?.at ?? now) > WINDOW_MS) this.#seen.shift();
    const [first] = this.#seen;
    if (first === undefined || now <= first.at || bytes < first.bytes) return undefined;
    return ((bytes - first.bytes) * 1000) / (now - first.at);
  }
}
