/**
 * Downloads that llama.cpp's router makes itself, from Hugging Face into its own cache. An event is no outcome: for a
 * repository that does not exist the router reports `download_finished`, and no event says why a download failed. What
 * the list of models shows afterwards counts. As recorded of build 11669.
 */

import { type Clock, within } from "../../../lib/clock.ts";
import { ServerError } from "../../../lib/errors.ts";
import { wholeSeconds } from "../../../lib/figures.ts";
import { number, parsed, record } from "../../../lib/json.ts";
import { type Access, ANSWER_TIMEOUT_MS, type Limits, post, remove } from "../../http/access.ts";
import { answerFault } from "../../http/answer-faults.ts";
import type { DownloadSteps } from "../backend.ts";
import { frameReader, keepReading, readStream } from "../events.ts";
import { parseRouterDownloads, parseRouterModels } from "./list.ts";

/** Between two looks at the list; an event of the end leads to one at once. */
const LOOK_MS = 2000;

/** The router answers once the model has stopped. */
const DELETE_MS = 30_000;

/**
 * The router answers once the download has stopped. A download looks every 4 s whether it is to stop, but only while
 * bytes arrive; it still stops where the request has ended meanwhile.
 */
const STOP_MS = 8000;

/** @see Backend.download */
export async function downloadByRouter(access: Access, name: string, steps: DownloadSteps): Promise<string> {
  const { signal } = steps;
  const before = await listNow(access, signal);
  const listed = idsOf(before).find((id) => isSame(id, name));
  if (listed !== undefined) return listed;
  const running = runningFor(parseRouterDownloads(before), name);
  const watch = new DownloadWatch(running ?? upperQuantisation(name), steps);
  const over = new AbortController();
  // Before the download is requested, so that its first events are not missed.
  const watching = watch.follow(access, AbortSignal.any([signal, over.signal]));
  try {
    if (running === undefined) await begin(access, watch.name, signal);
    const after = await untilOver(access, watch, steps);
    const known = new Set(idsOf(before));
    const found = idsOf(after).filter((id) => isOfRepository(id, watch.name));
    const id =
      found.find((other) => isSame(other, watch.name)) ??
      found.find((other) => !known.has(other)) ??
      // The router lists `UD-Q4_K_XL` as `Q4_K_XL`.
      found.find((other) => watch.name.toUpperCase().endsWith(`-${quantisationOf(other)}`));
    if (id === undefined) throw watch.hasFailed ? failed(watch.name) : notListed(watch.name);
    return id;
  } finally {
    over.abort();
    await watching;
  }
}

/** @see Backend.downloads */
export async function routersDownloads({ http, config }: Access, limits: Limits): Promise<string[]> {
  return parseRouterDownloads(await http.json(config.modelsPath, limits));
}

/** @see Backend.cancelDownload */
export async function cancelRoutersDownload(
  access: Access,
  name: string,
  signal: AbortSignal,
  clock: Clock,
): Promise<void> {
  const running = parseRouterDownloads(await listNow(access, signal)).find((other) => isSame(other, name));
  if (running === undefined) return;
  await within(
    STOP_MS,
    signal,
    clock,
    () => stillStopping(running),
    async (stop) => {
      const { status, text } = await post(access.http, "/models/unload", { model: running }, stop);
      // 400: it has ended meanwhile.
      if (status !== 200 && status !== 400) throw answerFault(status, text, "/models/unload");
    },
  );
}

/** @see Backend.deleteModel */
export async function deleteFromCache(
  { http }: Access,
  id: string,
  signal: AbortSignal,
  clock: Clock,
): Promise<void> {
  await within(
    DELETE_MS,
    signal,
    clock,
    () => notStopped(id),
    async (stop) => {
      const path = `/models?model=${encodeURIComponent(id)}`;
      const { status, text } = await remove(http, path, stop);
      if (status === 404) throw tooOld("delete models");
      if (status !== 200) throw answerFault(status, text, "/models");
    },
  );
}

/** Follows the events of one download. */
class DownloadWatch {
  /** As the router calls it. */
  readonly name: string;
  readonly #steps: DownloadSteps;
  #heardAt: number;
  readonly #ended = new AbortController();
  hasFailed = false;

  constructor(name: string, steps: DownloadSteps) {
    this.name = name;
    this.#steps = steps;
    this.#heardAt = steps.clock.now();
  }

  /** Milliseconds since it last moved. */
  get silentMs(): number {
    return this.#steps.clock.now() - this.#heardAt;
  }

  /** Aborted when the router reports that it is over. */
  get ended(): AbortSignal {
    return this.#ended.signal;
  }

  /** Until the signal. Never throws. */
  async follow(access: Access, signal: AbortSignal): Promise<void> {
    const read = () =>
      readStream(access, "/models/sse", signal, () =>
        frameReader((data) => this.#take(record(parsed(data)))),
      );
    await keepReading(read, {}, signal, this.#steps.clock);
  }

  #take(event: ReturnType<typeof record>): void {
    if (event?.model !== this.name) return;
    const files = record(record(event.data)?.progress);
    if (event.event === "download_progress" && files !== undefined) {
      this.#heardAt = this.#steps.clock.now();
      const sum = (field: string): number =>
        Object.values(files).reduce<number>((total, file) => total + (number(record(file)?.[field]) ?? 0), 0);
      this.#steps.report({ doneBytes: sum("done"), totalBytes: sum("total") });
    }
    if (event.event === "download_failed") this.hasFailed = true;
    if (event.event === "download_failed" || event.event === "download_finished") this.#ended.abort();
  }
}

function listNow({ http, config }: Access, signal: AbortSignal): Promise<unknown> {
  return http.json(config.modelsPath, { signal, timeoutMs: ANSWER_TIMEOUT_MS });
}

/** The models that are there, whole. */
function idsOf(models: unknown): string[] {
  const running = new Set(parseRouterDownloads(models));
  return parseRouterModels(models).flatMap(({ id }) => (running.has(id) ? [] : [id]));
}

/** llama.cpp takes a quantisation in either case, and lists it in capitals. */
function isSame(id: string, name: string): boolean {
  return id.toUpperCase() === name.toUpperCase();
}

function isOfRepository(id: string, name: string): boolean {
  return isSame(repositoryOf(id), repositoryOf(name));
}

function repositoryOf(name: string): string {
  return name.split(":", 1)[0] ?? "";
}

function quantisationOf(id: string): string {
  return id.slice(repositoryOf(id).length + 1).toUpperCase();
}

/** As the router will list it: under two spellings it would download the same file twice at once, into one file. */
function upperQuantisation(name: string): string {
  const repository = repositoryOf(name);
  return repository + name.slice(repository.length).toUpperCase();
}

/**
 * The download of this name that runs already.
 *
 * @throws {ServerError} while another one of the same repository runs: both may write to one file, such as a projector
 */
function runningFor(running: readonly string[], name: string): string | undefined {
  const own = running.find((other) => isSame(other, name));
  const other = running.find((one) => isOfRepository(one, name));
  if (own !== undefined || other === undefined) return own;
  throw new ServerError(
    `The router is downloading ${other}. Two downloads from one repository at once can damage a file that both need, so ${name} was not begun. Wait until the other one has ended.`,
    { link: "model", remedy: "retry" },
  );
}

async function begin({ http }: Access, name: string, signal: AbortSignal): Promise<void> {
  const { status, text } = await post(http, "/models", { model: name }, signal);
  if (status === 404 || status === 405) throw tooOld("download models");
  // Another client has begun it meanwhile.
  if (status === 200 || (status === 400 && /already exists/i.test(text))) return;
  throw answerFault(status, text, "/models");
}

/** @returns the list once the download is not in it any more */
async function untilOver(
  access: Access,
  watch: DownloadWatch,
  { signal, clock }: DownloadSteps,
): Promise<unknown> {
  const { loadTimeoutMs } = access.config;
  for (;;) {
    const isReported = watch.ended.aborted;
    const models = await listNow(access, signal).catch((error: unknown) => {
      signal.throwIfAborted();
      // The download continues when a connection is lost.
      if (!(error instanceof ServerError) || error.remedy !== "retry") throw error;
    });
    if (models !== undefined && !parseRouterDownloads(models).includes(watch.name)) return models;
    if (watch.silentMs >= loadTimeoutMs) throw stalled(watch.name, loadTimeoutMs);
    const early = isReported ? signal : AbortSignal.any([signal, watch.ended]);
    await clock.sleep(LOOK_MS, early).catch(() => signal.throwIfAborted());
  }
}

const GATED =
  "A gated or private repository needs HF_TOKEN in the router's own environment, since the token of this machine is never sent there.";

function failed(name: string): ServerError {
  return new ServerError(
    `The router did not download ${name}: the download failed, or another client stopped it. The router does not say why; its log does: /ai-server-logs. ${GATED} The next try continues from what has arrived.`,
    { link: "model", remedy: "retry" },
  );
}

function notListed(name: string): ServerError {
  return new ServerError(
    `The router has ended the download of ${name}, but lists no such model: the repository or the quantisation does not exist, or the file's name does not end in its quantisation. ${GATED} Its log says more: /ai-server-logs.`,
    { link: "model", remedy: "none" },
  );
}

function stalled(name: string, limitMs: number): ServerError {
  return new ServerError(
    `The download of ${name} has not moved for ${wholeSeconds(limitMs)} (timed out). It may still continue; if its process has ended, only a restart of the router ends it: /ai-server-restart. The next try continues from what has arrived.`,
    { link: "model", remedy: "retry" },
  );
}

function stillStopping(name: string): ServerError {
  return new ServerError(
    `The router has not stopped the download of ${name} yet: it stops a stalled one when the next bytes arrive, or when its connection to Hugging Face ends. If the download's process has ended, only a restart of the router helps: /ai-server-restart.`,
    { link: "model", remedy: "none" },
  );
}

function notStopped(name: string): ServerError {
  return new ServerError(
    `The router did not stop ${name} within ${wholeSeconds(DELETE_MS)} (timed out). Its process may have ended without the router noticing; then only a restart of the router helps: /ai-server-restart.`,
    { link: "model", remedy: "retry" },
  );
}

function tooOld(what: string): ServerError {
  return new ServerError(
    `This llama.cpp is too old to ${what} when asked over HTTP. Update it on the server.`,
    {
      link: "server",
      remedy: "none",
      status: 404,
    },
  );
}
