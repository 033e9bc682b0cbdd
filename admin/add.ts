/** `/ai-server-add`: a model from Hugging Face, from the search to its first load. */
import type { DownloadState } from "../host/download/download.ts";
import { type HubClient, openHub } from "../huggingface/hub.ts";
import type { HubFile } from "../huggingface/quantisations.ts";
import type { ModelServer } from "../server/model-server.ts";
import { show } from "../ui/output.ts";
import { addBlock } from "./add/block.ts";
import { type Chosen, chosenModel, chosenProjector, NOT_ADDED, searched } from "./add/choose.ts";
import { downloadQuestion, isGoing, requestFor, watched } from "./add/download.ts";
import { stageWords } from "./add/download-words.ts";
import { labelOf, type Named, nameIn, readName } from "./add/name.ts";
import { requireNew } from "./add/plan.ts";
import { type Memory, roomFor } from "./add/room.ts";
import { addToRouter, downloadsItself } from "./add/router.ts";
import { type Call, canAsk, isConfirmed, serverFor } from "./call.ts";
import { lookAtDownloads } from "./downloads.ts";
import { type Host, openConfigHost } from "./host-access.ts";

/** Adds a model to the server: downloads it there, or goes on with its download, and then puts it into the config. */
export async function add(call: Call): Promise<void> {
  const { aiServer, ctx, waiting, argument } = call;
  const named = readName(argument, ctx);
  aiServer.refuseWhileChanging();
  const server = await serverFor(call);
  const backend = await server.backend(waiting.signal);
  const hub = await openHub(aiServer.variables);
  if (downloadsItself(backend)) return addToRouter(call, server, backend, hub, named);
  const host = await openConfigHost(server, waiting.signal);
  try {
    await addToConfig(call, server, host, hub, named);
  } finally {
    await host.close();
  }
}

async function addToConfig(
  call: Call,
  server: ModelServer,
  host: Host,
  hub: HubClient,
  named: Named | undefined,
): Promise<void> {
  const { ctx, waiting, aiServer } = call;
  const { modelsDir } = host.config;
  waiting.say("Looking for downloads on the server");
  const { states: known } = await lookAtDownloads(call, host, waiting.signal);
  const wanted = named ?? (await searched(call, hub, known.flatMap(itemOf)));
  if (wanted === undefined) return show(ctx, NOT_ADDED);
  const found = await underWay(call, host, hub, known, wanted);
  if (found === undefined) return;
  const downloaded = await watched(call, host.downloads, modelsDir, found.state);
  if (downloaded === undefined) return;
  const model = { ...downloaded, trained: found.trained };
  const what = `/ai-server-add ${downloaded.label}`;
  await aiServer.exclusively(what, () => addBlock(call, server, host, model), true);
}

function itemOf(state: DownloadState) {
  const means = nameIn(state.label);
  return means === undefined ? [] : [{ words: state.label, detail: stageWords(state), means }];
}

interface UnderWay {
  readonly state: DownloadState;
  /** The window it was trained for, in tokens, where the hub was asked and knows it. */
  readonly trained: number | undefined;
}

/**
 * The download of a model: found again, or begun where the user wants it.
 *
 * @returns undefined where the user does not, which was then reported
 */
async function underWay(
  call: Call,
  host: Host,
  hub: HubClient,
  known: readonly DownloadState[],
  wanted: Named,
): Promise<UnderWay | undefined> {
  const { ctx, waiting } = call;
  const found = known.find(({ label }) => label.toLowerCase() === labelOf(wanted).toLowerCase());
  if (found !== undefined && canAsk(ctx) && isGoing(found)) return { state: found, trained: undefined };
  const model = await chosenModel(call, hub, host, wanted, found);
  if (model === undefined) return left(ctx);
  const { chosen, memory } = model;
  requireNew(chosen, await host.machine.read(waiting.signal));
  const before = known.find(({ label }) => label === chosen.label);
  const isOnItsWay = before !== undefined && isGoing(before);
  const state = isOnItsWay ? before : await begun(call, host, hub, chosen, { before, memory });
  return state && { state, trained: chosen.repository.trainedContext };
}

function left(ctx: Call["ctx"]): undefined {
  show(ctx, NOT_ADDED);
  return undefined;
}

/** @param before the same download, where an earlier try has begun it: then nothing is asked again */
async function begun(
  call: Call,
  { downloads, config }: Host,
  hub: HubClient,
  chosen: Chosen,
  { before, memory }: { before: DownloadState | undefined; memory: Memory | undefined },
): Promise<DownloadState | undefined> {
  const { ctx, waiting } = call;
  const { modelsDir } = config;
  if (chosen.repository.needsToken)
    await hub.requireAccess(chosen.repository, chosen.quantisation, waiting.signal);
  const projector = before === undefined ? await chosenProjector(call, chosen) : projectorIn(before, chosen);
  if (projector === undefined) return left(ctx);
  const request = requestFor(chosen, projector ?? undefined, modelsDir, hub.token);
  if (before === undefined) {
    waiting.say("Reading how much space is free on the server");
    const free = await downloads.requireSpace(request, waiting.signal);
    const room = roomFor(chosen.quantisation.bytes, memory);
    const question = downloadQuestion(chosen, request, config, free, room);
    if (!(await isConfirmed(call, question, ["Do not download it", "Download it"]))) return left(ctx);
  }
  waiting.say(`Beginning the download of ${chosen.label}`);
  const { state, warning } = await downloads.start(request, waiting.signal);
  call.aiServer.remembered.rememberDownloads(config, true);
  if (warning !== undefined) show(ctx, warning, "warning");
  return state;
}

/** The projector that an earlier try has begun to fetch; null for none. */
function projectorIn({ files }: DownloadState, { repository }: Chosen): HubFile | null {
  const wanted = repository.projectors.find((projector) =>
    files.some(({ path }) => path.endsWith(`/${repository.id}/${projector.path}`)),
  );
  return wanted ?? null;
}
