/** What Tab offers after an `/ai-server-*` command, and the models that it chooses from. */
import type { ExtensionContext } from "@earendil-works/pi-coding-agent";
import type { AutocompleteItem } from "@earendil-works/pi-tui";
import { isOffline } from "../config.ts";
import { abortable, type Clock, REAL_CLOCK, within } from "../lib/clock.ts";
import { shortTokens } from "../lib/figures.ts";
import type { AiServer } from "../provider/ai-server.ts";
import type { ServedModel } from "../provider/pi-models.ts";
import { readCommandLine } from "../server/models/command-line.ts";
import type { ModelFacts, ModelState } from "../server/models/models.ts";
import type { Complete } from "../ui/autocomplete.ts";
import type { HubCompletion } from "./add/completion.ts";
import { readId, typedId } from "./arguments.ts";
import { serverFor } from "./call.ts";
import { completeDevices } from "./devices/completion.ts";

export interface Entry {
  id: string;
  state: ModelState;
  /** Whether its process runs, though it may still be starting or already be stopping. */
  loaded: boolean;
  /** The server neither loads nor unloads it when asked. */
  isFixed?: boolean;
  /** Its context as it is shown, such as `128k` or `32k declared`. */
  context?: string | undefined;
  contextTokens?: number | undefined;
  /** The largest window it was trained for, in tokens. */
  trainedTokens?: number | undefined;
}

const MAX_ITEMS = 50;
const SIZES = [8, 16, 32, 64, 96, 128, 192, 256, 512, 1024].map((thousands) => thousands * 1024);

interface Offer {
  first: "loaded" | "unloaded" | "as listed" | "nothing";
  second: "size" | "ssh" | "config" | "doctor" | "nothing";
  /** For models that the server loads and unloads. */
  loads?: boolean;
  /** For servers with a config file that can be changed. */
  isOfConfig?: boolean;
}

const FLAGS = {
  ssh: flagItem("--ssh", "check ssh, the config file and the unit"),
  config: flagItem("--config", "read every model's context size from the config over ssh"),
  fix: flagItem("--fix", "offer to fix what is small and safe"),
  model: { ...flagItem("--model", "load a model and try it"), value: "--model " },
} as const;

function flagItem(flag: string, description: string): AutocompleteItem {
  return { value: flag, label: flag, description };
}

const OFFERS: ReadonlyMap<string, Offer> = new Map<string, Offer>([
  ["ai-server", { first: "as listed", second: "nothing" }],
  ["ai-server-status", { first: "as listed", second: "ssh" }],
  ["ai-server-refresh", { first: "nothing", second: "config" }],
  ["ai-server-load", { first: "unloaded", second: "nothing", loads: true }],
  ["ai-server-unload", { first: "loaded", second: "nothing", loads: true }],
  ["ai-server-remove", { first: "as listed", second: "nothing", isOfConfig: true }],
  ["ai-server-ctx", { first: "as listed", second: "size", isOfConfig: true }],
  ["ai-server-preset", { first: "as listed", second: "nothing", isOfConfig: true }],
  ["ai-server-doctor", { first: "as listed", second: "doctor" }],
  ["ai-server-logs", { first: "loaded", second: "nothing" }],
]);

/**
 * The arguments that a command may be given, the likeliest first, at most 50.
 *
 * @param command its name without the slash
 * @param argument the text after it and one space, up to the cursor
 * @returns values that replace the whole argument; null where the command takes none, or is none of ours
 */
export function complete(
  entries: readonly Entry[],
  command: string,
  argument: string,
): AutocompleteItem[] | null {
  const offer = OFFERS.get(command);
  if (offer === undefined) return null;
  const ids = entries.map(({ id }) => id);
  const typed = argument.trimStart();
  if (offer.second === "config")
    return [FLAGS.config].filter(({ value }) => value.startsWith(typed.trimEnd()));
  if (offer.second === "doctor") return doctorItems(entries, offer, typed).slice(0, MAX_ITEMS);
  const flag = offer.second === "ssh" ? leadingFlag(typed, ids) : "";
  const items = offeredIds(entries, command, offer, typed.slice(flag.length), flag);
  if (flag === "") items.push(...offeredSeconds(entries, offer, typed));
  return items.slice(0, MAX_ITEMS);
}

/** Each flag once, and after `--model` the ids. */
function doctorItems(entries: readonly Entry[], offer: Offer, typed: string): AutocompleteItem[] {
  const before = /^(?:--fix\s+)?(?:--model\s+)?/.exec(typed)?.[0] ?? "";
  const rest = typed.slice(before.length);
  if (before.includes("--model")) return offeredIds(entries, "ai-server-doctor", offer, rest, before);
  return [FLAGS.fix, FLAGS.model]
    .filter(({ label }) => label.startsWith(rest) && !before.includes(label))
    .map((item) => ({ ...item, value: before + item.value }));
}

/** Whether a command is one of ours that takes the id of a model. */
export function takesId(command: string): boolean {
  return (OFFERS.get(command)?.first ?? "nothing") !== "nothing";
}

/** The flag before the id, with the white space after it; empty where an id begins like it. */
function leadingFlag(typed: string, ids: readonly string[]): string {
  const flag = /^--ssh\s+/.exec(typed)?.[0] ?? "";
  return ids.some((id) => id.startsWith(flag)) ? "" : flag;
}

function offeredIds(
  entries: readonly Entry[],
  command: string,
  { first, second, loads }: Offer,
  typed: string,
  flag: string,
): AutocompleteItem[] {
  const ids = entries.map(({ id }) => id);
  // A quote that was opened is dropped: the value replaces it.
  const asTyped = rank(typed, ids) === undefined ? typed.replace(/^["']/, "") : typed;
  const wanted = first === "as listed" ? undefined : first === "loaded";
  return entries
    .filter(({ isFixed }) => !(loads && isFixed))
    .flatMap((entry) => {
      const found = rank(asTyped, [entry.id]);
      const value = found === undefined ? undefined : typedId(entry.id, ids);
      if (found === undefined || value === undefined) return [];
      const order = found * 2 + (wanted === undefined || entry.loaded === wanted ? 0 : 1);
      // The space saves typing it: a size is what mostly follows.
      const spaced = second === "size" ? `${value} ` : value;
      return [{ order, item: { value: flag + spaced, label: entry.id, description: about(entry, command) } }];
    })
    .sort((a, b) => a.order - b.order)
    .map(({ item }) => item);
}

/** How well the best of the ids fits: 0 the same, 1 begins so, 2 contains it; undefined does not. */
function rank(typed: string, ids: readonly string[]): number | undefined {
  const wanted = typed.toLowerCase();
  const ranks = ids.flatMap((id) => {
    if (id === typed) return [0];
    const at = id.toLowerCase().indexOf(wanted);
    return at < 0 ? [] : [at === 0 ? 1 : 2];
  });
  return ranks.length === 0 ? undefined : Math.min(...ranks);
}

function about({ state, context, loaded }: Entry, command: string): string {
  const shown = command === "ai-server-load" && loaded && state === "ready" ? "already loaded" : state;
  return [shown === "unknown" ? "" : shown, context ?? ""].filter((words) => words !== "").join(" · ");
}

function offeredSeconds(entries: readonly Entry[], { second }: Offer, typed: string): AutocompleteItem[] {
  if (second === "nothing") return [];
  const ids = entries.map(({ id }) => id);
  const read = readId(typed, ids);
  if (second === "ssh" && FLAGS.ssh.value.startsWith(typed.trimEnd())) return [FLAGS.ssh];
  if (read === undefined || !("id" in read) || (read.rest === "" && !/\s$/.test(typed))) return [];

  const id = typedId(read.id, ids);
  const entry = entries.find((one) => one.id === read.id);
  if (id === undefined || entry === undefined) return [];
  const seconds = second === "ssh" ? [FLAGS.ssh] : sizes(entry);
  return seconds
    .filter(({ label }) => label.startsWith(read.rest.toLowerCase()))
    .map((item) => ({ ...item, value: `${id} ${item.value}` }));
}

const LARGEST: AutocompleteItem = { value: "max", label: "max", description: "the largest that fits" };

/** The largest that fits, then sensible sizes up to the trained window, where that is known, and the one that is set. */
function sizes({ contextTokens, trainedTokens }: Entry): AutocompleteItem[] {
  const sensible = SIZES.filter((tokens) => trainedTokens === undefined || tokens < trainedTokens);
  const known = [contextTokens, trainedTokens].filter((tokens) => tokens !== undefined);
  const figures = [...new Set([...sensible, ...known])]
    .sort((a, b) => a - b)
    .map((tokens) => {
      const marks = [
        ...(tokens === contextTokens ? ["now"] : []),
        ...(tokens === trainedTokens ? ["trained for"] : []),
      ];
      const label = sizeWord(tokens);
      return { value: label, label, description: [`${tokens} tokens`, ...marks].join(" · ") };
    });
  return [LARGEST, ...figures];
}

/** A size as `parseSize` reads it, as short as it goes without rounding. */
function sizeWord(tokens: number): string {
  if (tokens % 1024 ** 2 === 0) return `${tokens / 1024 ** 2}m`;
  return tokens % 1024 === 0 ? `${tokens / 1024}k` : String(tokens);
}

const FRESH_MS = 5000;
const READ_LIMIT_MS = 5000;
const FIRST_WAIT_MS = 1000;

/** The models for completion, read again in the background while the user completes. */
export class LiveIds {
  readonly #read: (signal: AbortSignal) => Promise<readonly Entry[]>;
  readonly #clock: Clock;
  readonly #closed = new AbortController();
  #known: readonly Entry[] | undefined;
  #askedAt = Number.NEGATIVE_INFINITY;
  #reading: Promise<void> | undefined;

  /**
   * @param read asks the server; given up after 5 s, and the earlier list stays when it fails
   * @param known the models known without asking; may be empty
   */
  constructor(
    read: (signal: AbortSignal) => Promise<readonly Entry[]>,
    clock: Clock,
    known: readonly Entry[],
  ) {
    this.#read = read;
    this.#clock = clock;
    this.#known = known.length === 0 ? undefined : known;
  }

  /** What is known, at once; when that is older than 5 s, it is read again meanwhile. */
  entries(): readonly Entry[] {
    const isDue = this.#clock.now() - this.#askedAt > FRESH_MS;
    if (isDue && this.#reading === undefined && !this.#closed.signal.aborted) {
      this.#askedAt = this.#clock.now();
      this.#reading = this.#refresh().finally(() => {
        this.#reading = undefined;
      });
    }
    return this.#known ?? [];
  }

  /**
   * The same, but the very first list is waited for: a second at most, and no longer than until `signal` is aborted.
   *
   * pi inserts a key before it asks for suggestions, so this delays no key, only the list below the editor. But
   * it asks one after another: what does not end when aborted would delay the suggestions for all later keys.
   */
  async suggestions(signal: AbortSignal): Promise<readonly Entry[]> {
    const entries = this.entries();
    if (this.#known !== undefined || this.#reading === undefined || signal.aborted) return entries;
    const done = new AbortController();
    const end = AbortSignal.any([signal, done.signal]);
    await Promise.race([this.#reading, this.#clock.sleep(FIRST_WAIT_MS, end).catch(() => {})]);
    done.abort();
    return this.#known ?? [];
  }

  /** Ends a reading under way; after it `entries` never changes. */
  close(): void {
    this.#closed.abort();
  }

  async #refresh(): Promise<void> {
    const late = (): Error => new Error("The server took too long.");
    const read = (stop: AbortSignal): Promise<readonly Entry[]> => abortable(this.#read(stop), stop);
    try {
      this.#known = await within(READ_LIMIT_MS, this.#closed.signal, this.#clock, late, read);
    } catch {
      // The earlier list is still the best there is.
    }
  }
}

function contextWords({ context: { value, source } }: Pick<ModelFacts, "context">): string | undefined {
  if (source === "default") return undefined;
  return source === "live" ? shortTokens(value) : `${shortTokens(value)} ${source}`;
}

/** A model of the catalogue; how it is at this moment, only the server knows. */
function knownEntry({ id, aiServer: { context } }: ServedModel): Entry {
  return { id, state: "unknown", loaded: false, context: contextWords({ context }) };
}

async function readEntries(
  aiServer: AiServer,
  ctx: Pick<ExtensionContext, "modelRegistry">,
  signal: AbortSignal,
): Promise<Entry[]> {
  const server = await serverFor({ aiServer, ctx });
  const models = await server.discover(await aiServer.rememberedFacts(server.config), { signal });
  const running = new Map((await server.running(signal))?.map((model) => [model.id, model]));
  const loads = (await server.backend(signal)).load !== undefined;
  return models.map((model) => {
    const { id, runsAs, state, problem } = model;
    const command = running.get(runsAs ?? id)?.commandLine;
    return {
      id,
      state,
      loaded: state === "ready" || state === "starting" || state === "stopping",
      isFixed: !loads || runsAs === undefined || problem !== undefined,
      context: problem === undefined ? contextWords(model) : `[${problem}]`,
      contextTokens: command === undefined ? undefined : readCommandLine(command).contextSize,
      trainedTokens: model.trainedContext?.value,
    };
  });
}

/** Read when it is first needed. */
async function hubCompletion(aiServer: AiServer): Promise<HubCompletion> {
  const [{ HubCompletion }, { openHub }] = await Promise.all([
    import("./add/completion.ts"),
    import("../huggingface/hub.ts"),
  ]);
  return new HubCompletion(() => openHub(aiServer.variables), REAL_CLOCK);
}

/**
 * What Tab offers, read from the server in the background; typing never waits for it.
 *
 * @param ended the session's end
 */
export function completer(
  aiServer: AiServer,
  ctx: Pick<ExtensionContext, "modelRegistry">,
  ended: AbortSignal,
): Complete {
  const live = new LiveIds(
    (signal) => readEntries(aiServer, ctx, signal),
    REAL_CLOCK,
    aiServer.models.map(knownEntry),
  );
  ended.addEventListener("abort", () => live.close(), { once: true });
  let hub: Promise<HubCompletion> | undefined;
  return async (command, argument, signal) => {
    if (command === "ai-server-add") {
      if (isOffline(aiServer.variables)) return [];
      hub ??= hubCompletion(aiServer);
      return (await hub).suggestions(argument, signal);
    }
    if (command === "ai-server-devices") return completeDevices(aiServer.remembered.deviceNames, argument);
    // A command without a model is no reason to ask the server.
    if (!takesId(command)) return complete([], command, argument);
    const entries = await live.suggestions(signal);
    // The first entries are those of the catalogue, which does not know the server.
    const server = await aiServer.openServer().catch(() => undefined);
    if (OFFERS.get(command)?.isOfConfig && server?.hasConfigFile === false) return [];
    const isFixed = server?.canLoad === false;
    return complete(
      entries.map((entry) => (isFixed ? { ...entry, isFixed } : entry)),
      command,
      argument,
    );
  };
}
