/** The server's state as the words and figures of the panel. Pure. */

import type { DownloadState } from "../../host/download/download.ts";
import { duration, rateWords, shortTokens } from "../../lib/figures.ts";
import { maskText } from "../../masking/masking.ts";
import type { BackendKind } from "../../server/kinds/backend.ts";
import type { AnsweredRequest, MemoryHistory, Performance } from "../../server/kinds/llama-swap/metrics.ts";
import { progressWords, stageWords } from "../add/download-words.ts";
import { whose } from "../interruption.ts";
import {
  commandRow,
  descriptionRows,
  detailRows,
  idleTime,
  isKnown,
  otherRows,
  placeRow,
  stateWords,
  UNKNOWN,
  unofferedState,
} from "../model-words.ts";
import { faultReport, versionWords } from "../status.ts";
import type { PanelBar, PanelColumn, PanelContent, PanelLetter, PanelPlot, PanelRow } from "./lines.ts";
import type { PanelLoad } from "./load.ts";
import type { PanelModel, PanelState } from "./state.ts";

const COLUMNS: readonly PanelColumn[] = [
  { title: "Model", priority: 0 },
  { title: "State", priority: 0 },
  { title: "Context", priority: 1, isFigure: true },
  { title: "From", priority: 4 },
  { title: "tok/s", priority: 2, isFigure: true },
  { title: "Unloads", priority: 3 },
];

/** A bar without a known end moves this often. */
export const STEP_MS = 250;

const MOST_REQUESTS = 4;
const MEGABYTES_OF_A_GIGABYTE = 1024;

export interface PanelExtras {
  readonly address: string;
  readonly kind: BackendKind | undefined;
  /** A load that the panel itself has begun. */
  readonly ownLoad: Pick<PanelLoad, "id" | "said"> | undefined;
  readonly message: PanelContent["message"];
  /** The session as its requests name it. */
  readonly session: string | undefined;
  /** The id of pi's model, where it is one of this server. */
  readonly modelInPi: string | undefined;
  /** Whether the contexts of such a server can be changed. */
  readonly hasConfigFile: boolean;
  /** Whether an ssh target is configured. */
  readonly hasSsh: boolean;
  /** What a model needs of memory; undefined while that is not known. @param id under which the server runs it */
  needOf(id: string): string | undefined;
  /** On the server's machine, as far as they were looked at. */
  readonly downloads: readonly DownloadState[];
}

/** Loaded models come first, each group in the server's order. */
const RANKS: Readonly<Record<PanelRow["tone"], number>> = { ready: 0, changing: 1, still: 2 };

/**
 * @param selected the id of the model whose details are wanted
 * @param now Unix milliseconds
 */
export function panelContent(
  state: PanelState,
  extras: PanelExtras,
  selected: string | undefined,
  now: number,
): PanelContent {
  const { models, performance, answered } = state;
  const model = models.find(({ id }) => id === selected);
  return {
    heading: heading(state, extras),
    columns: COLUMNS,
    rows: models
      .map((found) => row(found, extras, now))
      .toSorted((one, other) => RANKS[one.tone] - RANKS[other.tone]),
    trouble: troubleWords(state, extras),
    isDown: state.problem !== undefined,
    hasSsh: extras.hasSsh,
    hasDownloads: extras.downloads.length > 0,
    bars: [...bars(state, extras, now), ...extras.downloads.map(downloadBar)],
    message: extras.message ?? warningMessage(state),
    details: model === undefined ? [] : details(model, extras),
    inFlight: inFlight(state, extras, now),
    plots: [...memoryPlots(performance), ...ratePlots(answered)],
  };
}

/** It stays as long as it holds, and gives way to what an action has said. */
function warningMessage({ warning }: PanelState): PanelContent["message"] {
  return warning === undefined ? undefined : { level: "warning", text: warning };
}

/** Whether the passing of time alone changes the screen. */
export function isTicking({ models, requests }: PanelState): boolean {
  return (
    (requests?.length ?? 0) > 0 ||
    models.some(({ loading, unloadsAt }) => loading !== undefined || unloadsAt !== undefined)
  );
}

const FOLLOWING = {
  reading: "reading",
  live: "live",
  polling: "polled every 10 s",
  still: "r to refresh",
  lost: "connection lost, reconnecting",
} as const;

function heading(state: PanelState, { address }: PanelExtras): string[] {
  const { version, certificateEnds, upstream, warning, problem } = state;
  const day = certificateEnds?.toISOString().slice(0, 10);
  const following = problem !== undefined && state.following === "reading" ? "lost" : state.following;
  return [
    "AI server",
    FOLLOWING[following],
    ...(version === undefined ? [] : [versionWords(version)]),
    address,
    ...(upstream === undefined || warning !== undefined ? [] : [`answered by ${upstream}`]),
    ...(day === undefined ? [] : [`certificate until ${day}`]),
  ];
}

function troubleWords(
  { problem, following, models, version }: PanelState,
  { kind, address }: PanelExtras,
): string | undefined {
  if (problem !== undefined) return maskText(faultReport(problem, kind, address.startsWith("https:")), "log");
  if (models.length > 0) return undefined;
  // The events may come before the first reading.
  const isRead = version !== undefined && following !== "reading" && following !== "lost";
  if (!isRead) return "Reading the models…";
  return "The server offers no chat model.";
}

/** Whether its process runs; it may be starting or stopping. */
export function isLoaded({ state }: PanelModel): boolean {
  return state === "ready" || state === "starting" || state === "stopping";
}

/** The letters shown for a model; the others answer why they cannot be used. */
function offersOf({ facts, runsAs }: PanelModel, hasConfigFile: boolean): PanelLetter[] {
  const isHere = runsAs !== undefined;
  return [
    ...(facts === undefined ? [] : (["use"] as const)),
    ...(isHere && hasConfigFile ? (["context"] as const) : []),
    ...(isHere ? (["log"] as const) : []),
  ];
}

function row(model: PanelModel, extras: PanelExtras, now: number): PanelRow {
  const { ownLoad, modelInPi, hasConfigFile } = extras;
  const { id, facts, state, rates, runsAs } = model;
  const isKnown = facts !== undefined && facts.context.source !== "default";
  const mark = id === modelInPi ? " (in pi)" : "";
  const isOwn = ownLoad !== undefined && runsAs === ownLoad.id;
  const toggles = !model.canLoad ? undefined : isOwn ? "stop" : isLoaded(model) ? "unload" : "load";
  const words = facts === undefined ? unofferedState(state) : stateWords(facts);
  return {
    id,
    mark,
    contextTokens: isKnown ? facts.context.value : undefined,
    cells: [
      id + mark,
      isOwn && state === "unloaded" ? "waiting" : words,
      isKnown ? shortTokens(facts.context.value) : facts === undefined ? "" : UNKNOWN,
      isKnown ? facts.context.source : "",
      rates.generation === undefined ? "" : rateWords(rates.generation),
      unloadWords(model, now),
    ],
    tone:
      state === "ready"
        ? "ready"
        : state === "starting" || state === "stopping" || isOwn
          ? "changing"
          : "still",
    toggles,
    offers: offersOf(model, hasConfigFile),
  };
}

function unloadWords({ state, running, isInUse, unloadsAt }: PanelModel, now: number): string {
  if (state !== "ready") return "";
  const ttl = running?.ttlSeconds;
  if (isInUse && ttl !== 0) return "in use";
  if (unloadsAt === undefined || unloadsAt <= now) return idleTime(ttl);
  const left = unloadsAt - now;
  // About: the server does not report every use of a model.
  return left < 60_000 ? `~${10 * Math.ceil(left / 10_000)} s` : `~${Math.round(left / 60_000)} min`;
}

function details(model: PanelModel, { address, needOf }: PanelExtras): [string, string][] {
  const { id, facts, running, description, expectedLoadMs, runsAs } = model;
  const own: [string, string][] = [["Model", id], ...descriptionRows(description)];
  const where = placeRow(description, runsAs, address);
  if (facts === undefined) {
    return [
      ...own,
      ["State", `${model.state}, not listed as a chat model`],
      ...where,
      ...commandRow(running),
    ];
  }
  const rows = [
    ...detailRows(facts, expectedLoadMs, shortTokens),
    ...otherRows(facts, shortTokens).filter(isKnown),
  ];
  const need = runsAs === undefined ? undefined : needOf(runsAs);
  const size = rows.findIndex(([name]) => name === "Context") + 1;
  if (need) rows.splice(size, 0, ["Memory", `needs ${need}`]);
  return [...own, ...rows, ...ratesRow(model), ...where, ...commandRow(running)];
}

function ratesRow({ rates: { prompt, generation } }: PanelModel): [string, string][] {
  const words = [
    ...(prompt === undefined ? [] : [`prompt ${rateWords(prompt)} tok/s`]),
    ...(generation === undefined ? [] : [`answer ${rateWords(generation)} tok/s`]),
  ];
  return words.length === 0 ? [] : [["Last", words.join(", ")]];
}

function bars({ models }: PanelState, { ownLoad }: PanelExtras, now: number): PanelBar[] {
  const said = ownLoad?.said;
  const own = said === undefined ? [] : [barOf(said.text, now - said.since, said.expectedMs, true)];
  const seen = new Set([ownLoad?.id]);
  const others = models.flatMap(({ runsAs, loading, expectedLoadMs }) => {
    // An alias loads with its model: one bar is enough.
    if (loading === undefined || seen.has(runsAs)) return [];
    seen.add(runsAs);
    const { since, isWhole } = loading;
    return [barOf(`Loading ${runsAs}`, now - since, isWhole ? expectedLoadMs : undefined, isWhole)];
  });
  return [...own, ...others];
}

/** @param isWhole whether `elapsedMs` is since the beginning */
function barOf(title: string, elapsedMs: number, expectedMs: number | undefined, isWhole: boolean): PanelBar {
  const elapsed = Math.max(0, elapsedMs);
  const words = isWhole ? duration(elapsed) : `more than ${duration(elapsed)}`;
  const step = Math.floor(elapsed / STEP_MS);
  if (expectedMs === undefined || expectedMs <= 0) return { title, words, fraction: undefined, step };
  const fraction = Math.min(1, (step * STEP_MS) / expectedMs);
  return { title, words: `${words} of about ${duration(Math.max(1000, expectedMs))}`, fraction, step };
}

function downloadBar(download: DownloadState): PanelBar {
  const { label, stage, doneBytes, totalBytes, rate, problem } = download;
  const goesOn = stage === "running";
  const title = goesOn ? `Downloading ${label}${problem === undefined ? "" : " (trying again)"}` : label;
  const words = goesOn ? progressWords(doneBytes, totalBytes, rate) : stageWords(download);
  return { title, words, fraction: totalBytes === 0 ? 0 : doneBytes / totalBytes, step: 0 };
}

function inFlight(state: PanelState, { session }: PanelExtras, now: number): string[] {
  const { requests, following, isAskingRequests } = state;
  if (requests === undefined) {
    const isAwaited = isAskingRequests || following === "reading" || following === "lost";
    return isAwaited ? [] : ["In flight: not reported by the server"];
  }
  if (requests.length === 0) return ["In flight: nothing"];
  const lines = requests.slice(0, MOST_REQUESTS).map(({ model, since, client }) => {
    const time = since === undefined ? [] : [duration(now - since)];
    return `  ${[model, ...time, whose(client, session)].filter((word) => word !== "").join(" · ")}`;
  });
  const more = requests.length - lines.length;
  return [`In flight: ${requests.length}`, ...lines, ...(more > 0 ? [`  and ${more} more`] : [])];
}

function memoryPlots(performance: Performance | undefined): PanelPlot[] {
  if (performance === undefined) return [];
  const { host, gpus } = performance;
  const plots = gpus.map((gpu, at) =>
    memoryPlot(gpu, `${gpus.length > 1 ? `GPU ${at + 1}` : "GPU"} ${gpu.name}`),
  );
  return [...plots, ...(host === undefined ? [] : [memoryPlot(host, "Host memory")])];
}

function memoryPlot({ readings }: MemoryHistory, name: string): PanelPlot {
  const last = readings.at(-1);
  const values = readings.map(({ usedMb, totalMb }) => usedMb / totalMb);
  if (last === undefined) return { name, figure: "", words: "", values, most: 1 };
  const { usedMb, totalMb, busyPercent } = last;
  const busy = busyPercent === undefined ? "" : ` · ${Math.round(busyPercent)} % busy`;
  const words = `of ${gigabytes(totalMb)} GB${busy}`;
  return { name, figure: gigabytes(usedMb), words, values, most: 1 };
}

function gigabytes(megabytes: number): string {
  const value = megabytes / MEGABYTES_OF_A_GIGABYTE;
  return value < 100 && !Number.isInteger(value) ? value.toFixed(1) : String(Math.round(value));
}

function ratePlots(answered: readonly AnsweredRequest[] | undefined): PanelPlot[] {
  const plot = (name: string, rates: readonly (number | undefined)[]): PanelPlot[] => {
    const values = rates.filter((rate) => rate !== undefined);
    const last = values.at(-1);
    if (last === undefined) return [];
    return [{ name, figure: rateWords(last), words: "tok/s", values, most: Math.max(...values) }];
  };
  if (answered === undefined) return [];
  return [
    ...plot(
      "Prompts",
      answered.map(({ promptRate }) => promptRate),
    ),
    ...plot(
      "Answers",
      answered.map(({ generationRate }) => generationRate),
    ),
  ];
}
