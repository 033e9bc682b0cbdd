import type { Clock } from "../clock.ts";
import { LlamaError } from "../llama-replies.ts";
import type { RouterEvents } from "./router-answers.ts";

interface File {
  url: string;
  size: number;
}

interface Download {
  /** `downloaded` from its end until the router looks at its cache again. */
  state: "downloading" | "downloaded";
  stop: AbortController;
  ended: Promise<void>;
}

const INVALID = "invalid_request_error";

/** Between two reports of a file's progress, and before the second and the third attempt. */
const REPORT_MS = 100;
const PAUSES_MS = [0, 2000, 4000];

/** What the router downloads from Hugging Face into its cache. The bytes are counted and dropped. */
export class RouterDownloads {
  readonly #hub: string;
  readonly #clock: Clock;
  readonly #events: RouterEvents;
  readonly #running = new Map<string, Download>();
  /** The models in the cache, as the router lists them. */
  readonly cached = new Set<string>();

  /** @param hub the stand-in for Hugging Face; without one nothing is found */
  constructor(hub: string | undefined, clock: Clock, events: RouterEvents) {
    this.#hub = hub ?? "http://127.0.0.1:9";
    this.#clock = clock;
    this.#events = events;
  }

  /** Name and state of each download. */
  get running(): [name: string, state: string][] {
    return [...this.#running].map(([name, { state }]) => [name, state]);
  }

  /** @throws {LlamaError} for a name that the router refuses, or knows already */
  begin(name: string, known: (name: string) => boolean): void {
    if (name === "") throw new LlamaError(400, INVALID, "model must be a non-empty string");
    const [repository = "", quantisation = ""] = name.split(":");
    if (repository.split("/").length !== 2)
      throw new LlamaError(400, INVALID, "error: invalid HF repo format, expected <user>/<model>[:quant]\n");
    if (known(name) || this.#running.has(name))
      throw new LlamaError(400, INVALID, `model '${name}' already exists`);
    const stop = new AbortController();
    this.#events.sendDownload(name, "model_status", { status: "downloading" });
    const ended = this.#fetch(name, repository, quantisation, stop.signal);
    this.#running.set(name, { state: "downloading", stop, ended });
  }

  /** Ends a download that is under way. @returns whether there was one */
  async stop(name: string): Promise<boolean> {
    const download = this.#running.get(name);
    if (download?.state !== "downloading") return false;
    download.stop.abort();
    await download.ended;
    return true;
  }

  /** Forgets the downloads that have ended, as the router does when it reads its models again. @returns whether there were any */
  settle(): boolean {
    const over = [...this.#running].filter(([, { state }]) => state === "downloaded");
    for (const [name] of over) this.#running.delete(name);
    return over.length > 0;
  }

  async close(): Promise<void> {
    await Promise.all([...this.#running.keys()].map((name) => this.stop(name)));
  }

  async #fetch(name: string, repository: string, quantisation: string, stop: AbortSignal): Promise<void> {
    let event = "download_finished";
    try {
      const files = await this.#files(repository, quantisation);
      const progress: Record<string, { done: number; total: number }> = {};
      const send = (): void => this.#events.sendDownload(name, "download_progress", { progress });
      await Promise.all(files.map((file) => this.#receive(file, progress, send, stop)));
      const id = files.map(({ url }) => quantisationIn(url)).find((found) => found !== undefined);
      if (id !== undefined) this.cached.add(`${repository}:${id}`);
    } catch {
      event = "download_failed";
    }
    const download = this.#running.get(name);
    if (download !== undefined) download.state = "downloaded";
    this.#events.sendDownload(name, event);
  }

  /** The model's files, shards and projector too; none where Hugging Face knows no such model. */
  async #files(repository: string, quantisation: string): Promise<File[]> {
    const answer = await fetch(`${this.#hub}/api/models/${repository}/tree/main?recursive=true`);
    if (!answer.ok) return [];
    const tree = (await answer.json()) as { path: string; size: number }[];
    const files = tree
      .filter(({ path }) => path.endsWith(".gguf"))
      .map(({ path, size }) => ({ url: `${this.#hub}/${repository}/resolve/main/${path}`, size }));
    const weights = files.filter(({ url }) => !/\/mmproj[^/]*$/.test(url));
    const wanted = (quantisation || "Q4_K_M").toUpperCase();
    const chosen = weights.filter(({ url }) => wanted.endsWith(quantisationIn(url) ?? "none"));
    const found = chosen.length === 0 && quantisation === "" ? weights.slice(0, 1) : chosen;
    const projector = files.find(({ url }) => !weights.some((other) => other.url === url));
    return found.length === 0 || projector === undefined ? found : [...found, projector];
  }

  async #receive(
    file: File,
    progress: Record<string, { done: number; total: number }>,
    send: () => void,
    stop: AbortSignal,
  ): Promise<void> {
    // Who is refused here is refused at once, without a report.
    const { ok } = await fetch(file.url, { method: "HEAD", signal: stop });
    if (!ok) throw new Error("refused");
    const at = { done: 0, total: file.size };
    progress[file.url] = at;
    send();
    for (const pause of PAUSES_MS) {
      await this.#clock.sleep(pause, stop);
      stop.throwIfAborted();
      const isWhole = await this.#read(file.url, at, send, stop).catch(() => false);
      if (isWhole) return send();
    }
    throw new Error("after three attempts");
  }

  async #read(
    url: string,
    at: { done: number; total: number },
    send: () => void,
    stop: AbortSignal,
  ): Promise<boolean> {
    const headers: Record<string, string> = at.done > 0 ? { Range: `bytes=${at.done}-` } : {};
    const answer = await fetch(url, { headers, signal: stop });
    if (answer.status !== (at.done > 0 ? 206 : 200) || answer.body === null) return false;
    let told = this.#clock.now();
    for await (const piece of answer.body) {
      at.done += piece.length;
      if (this.#clock.now() - told < REPORT_MS) continue;
      told = this.#clock.now();
      send();
    }
    return at.done === at.total;
  }
}

/** What the router lists a file under: `Q4_K_XL` for `Model-UD-Q4_K_XL-00001-of-00002.gguf`; none for `model.gguf`. */
function quantisationIn(url: string): string | undefined {
  const name = url.replace(/(-\d{5}-of-\d{5})?\.gguf$/, "");
  return /[-.]([A-Za-z0-9_]+)$/.exec(name.slice(name.lastIndexOf("/") + 1))?.[1]?.toUpperCase();
}
