/** The same on llama.cpp's router, which downloads by itself into its own cache. */
import type { HubClient } from "../../huggingface/hub.ts";
import { REAL_CLOCK } from "../../lib/clock.ts";
import { binarySize } from "../../lib/figures.ts";
import { ANSWER_TIMEOUT_MS } from "../../server/http/access.ts";
import type { Backend } from "../../server/kinds/backend.ts";
import type { ModelServer } from "../../server/model-server.ts";
import { show } from "../../ui/output.ts";
import { type Call, canAsk, isConfirmed } from "../call.ts";
import { type Host, openConfigHost } from "../host-access.ts";
import { interruptionOf } from "../interruption.ts";
import { loadNow, reportLoaded, runningOf } from "../load.ts";
import { modelsNow, refreshModels } from "../models.ts";
import { faultText } from "../report.ts";
import { addSection } from "./block.ts";
import { type Chosen, chosenModel, gatedWords, NOT_ADDED, searched } from "./choose.ts";
import { progressWords, RateMeter } from "./download-words.ts";
import { labelOf, type Named, nameIn } from "./name.ts";
import { requireNew } from "./plan.ts";
import { roomFor, roomWords } from "./room.ts";

/** A server that downloads by itself. */
type Router = Backend & Required<Pick<Backend, "download">>;

export function downloadsItself(backend: Backend): backend is Router {
  return backend.download !== undefined;
}

/** Downloads a model with the router, and gives it a context where one is wanted. */
export async function addToRouter(
  call: Call,
  server: ModelServer,
  router: Router,
  hub: HubClient,
  named: Named | undefined,
): Promise<void> {
  const { ctx, waiting, aiServer } = call;
  const limits = { signal: waiting.signal, timeoutMs: ANSWER_TIMEOUT_MS };
  const running = (await router.downloads?.(limits)) ?? [];
  const wanted = named ?? (await searched(call, hub, running.flatMap(itemOf)));
  if (wanted === undefined) return show(ctx, NOT_ADDED);
  const host = server.config.sshHost === undefined ? undefined : await openConfigHost(server, waiting.signal);
  try {
    const there = [...running, ...(await modelsNow(call, server)).map(({ id }) => id)];
    const label = await agreedLabel(
      call,
      host,
      hub,
      there.map((name) => name.toUpperCase()),
      wanted,
    );
    if (label === undefined) return;
    const id = await downloadedBy(call, router, label);
    if (id === undefined) return;
    await aiServer.exclusively(`/ai-server-add ${label}`, () => finish(call, server, host, id), true);
  } finally {
    await host?.close();
  }
}

function itemOf(name: string) {
  const means = nameIn(name);
  return means === undefined ? [] : [{ words: name, detail: "downloading", means }];
}

/**
 * What to download, as the router takes it.
 *
 * @param there in capitals: what the router has or downloads already, which needs no question
 * @returns undefined where the user does not want it, which was reported
 */
async function agreedLabel(
  call: Call,
  host: Host | undefined,
  hub: HubClient,
  there: readonly string[],
  wanted: Named,
): Promise<string | undefined> {
  const { ctx, waiting } = call;
  const label = labelOf(wanted);
  if (there.includes(label.toUpperCase()) && canAsk(ctx)) return label;
  const model = await chosenModel(call, hub, host, wanted);
  if (model !== undefined) {
    const { chosen, memory } = model;
    if (there.includes(chosen.label.toUpperCase())) return chosen.label;
    // The router can download without its preset, so one that cannot be read stops nothing here.
    requireNew(chosen, (await host?.machine.read(waiting.signal).catch(() => [])) ?? []);
    const room = roomFor(chosen.quantisation.bytes, memory);
    const question = {
      title: `Download ${chosen.label}?`,
      consequences: consequences(chosen, roomWords(room)),
    };
    if (await isConfirmed(call, question, ["Do not download it", "Download it"])) return chosen.label;
  }
  show(ctx, NOT_ADDED);
  return undefined;
}

function consequences({ repository, quantisation }: Chosen, room: readonly string[]): string[] {
  return [
    `${binarySize(quantisation.bytes)}${repository.projectors.length > 0 ? " and a projector" : ""}, which the router downloads into its own cache. The download continues when pi is closed.`,
    ...room,
    ...gatedWords(repository),
    ...(repository.needsToken ? ["The router needs HF_TOKEN in its own environment."] : []),
  ];
}

/** @returns the model's id; undefined where the user has left or stopped the download, which was reported */
async function downloadedBy(call: Call, router: Router, label: string): Promise<string | undefined> {
  const { waiting, ended, ctx } = call;
  const meter = new RateMeter();
  waiting.say(`Downloading ${label}`);
  try {
    return await router.download(label, {
      report: ({ doneBytes, totalBytes }) => {
        const rate = meter.rate(doneBytes, REAL_CLOCK.now());
        if (totalBytes > 0)
          waiting.say(`Downloading ${label}: ${progressWords(doneBytes, totalBytes, rate)}`);
      },
      signal: waiting.signal,
      clock: REAL_CLOCK,
    });
  } catch (error) {
    if (!waiting.signal.aborted) throw error;
    await leftOrStopped(call, router, label).catch((fault: unknown) => {
      // Nothing else reports it: a cancelled command throws in silence.
      if (!ended.aborted) show(ctx, faultText(fault), "error");
    });
    return undefined;
  }
}

/** By the session's own end alone: the user's signal is aborted already. */
async function leftOrStopped(call: Call, router: Router, label: string): Promise<void> {
  const { ctx, ended, waiting } = call;
  if (ended.aborted) return;
  const question = {
    title: `Stop the download of ${label}?`,
    consequences: ["The router deletes the files that have not arrived whole."],
  };
  const isStopped =
    router.cancelDownload !== undefined &&
    (await isConfirmed(call, question, ["Leave it running", "Stop it"]));
  if (!isStopped)
    return show(ctx, `The router goes on with the download. /ai-server-add ${label} shows it again.`);
  waiting.say(`Stopping the download of ${label}`);
  await router.cancelDownload?.(label, ended);
  show(ctx, `The download of ${label} is stopped.`);
}

/** Gives the model a section of its own where a context is wanted; else offers to load it as it is. */
async function finish(call: Call, server: ModelServer, host: Host | undefined, id: string): Promise<void> {
  const { ctx, waiting } = call;
  await refreshModels(call);
  if (host !== undefined) {
    const added = await addSection(call, server, host, id);
    if (added !== "as it is") return;
  }
  const running = await runningOf(server, waiting.signal);
  const question = {
    title: `Load ${id} now?`,
    consequences: await interruptionOf(call, server, running, [id]),
  };
  const isWanted = await isConfirmed(call, question, ["Not now", "Load it"]);
  if (!isWanted) return show(ctx, `${id} is downloaded; /model has it now, and a turn loads it.`);
  await reportLoaded(call, server, id, running, await loadNow(call, server, id, running));
}
