/** The server over HTTP, as far as a change needs it, and what its figures mean. */
import { lastValue, splitWords } from "../lib/split-words.ts";
import type { Slots } from "./config/context-setting.ts";

/** A model that is loaded or loading, as `/running` lists it. */
export interface LoadedModel {
  id: string;
  state: string;
  commandLine?: string | undefined;
}

/** The window of a loaded model, in tokens; undefined where it does not report it. */
export interface LiveContext {
  /** For one request: `n_ctx` of `/props`. */
  tokens: number | undefined;
  /** What it was trained for: `n_ctx_train`. */
  trained: number | undefined;
}

/** The HTTP side of a change. All methods obey the signal; `load` and `liveContext` may load a model. */
export interface ServerProbe {
  /** Whether the server answers at this moment; false, not an error, while it is down. */
  answers(signal: AbortSignal): Promise<boolean>;
  /** What is loaded or loading, asked now and not remembered. */
  running(signal: AbortSignal): Promise<readonly LoadedModel[]>;
  /**
   * Makes the server read its configuration again without a restart, which unloads the models that it changes and no
   * others. Absent where the kind of server cannot.
   *
   * @throws {ServerError} where the server refuses the new configuration, and keeps the old one
   */
  reload?(signal: AbortSignal): Promise<"reloaded" | "not understood">;
  /** The command line with which a model would be started now, loaded or not; undefined where it is unknown. */
  startLine(id: string, signal: AbortSignal): Promise<string | undefined>;
  /** Whether the server offers a model now, loaded or not; undefined where its list is not understood. */
  lists(id: string, signal: AbortSignal): Promise<boolean | undefined>;
  /** Resolves when the model is ready. @throws {ServerError} with the server's own reason */
  load(id: string, signal: AbortSignal): Promise<void>;
  /** Only called for a model that is ready. */
  liveContext(id: string, signal: AbortSignal): Promise<LiveContext>;
  /** The last lines of a model's log, or of the server's own (id undefined), where they are available. */
  log(id: string | undefined, signal: AbortSignal): Promise<readonly string[]>;
}

export interface ContextVerdict {
  kind: "as asked" | "less" | "unknown";
  /** Tokens that one request may use. */
  tokens: number | undefined;
  /** Tokens that the flag should give one request. */
  expected: number;
  /** Why it is less, as far as it is known; empty where it is not. */
  why: string;
  /** Less, and nothing on the command line or in the model explains it. */
  isFault: boolean;
}

/** llama-server rounds contexts up to a multiple of 256. */
function roundUp(tokens: number): number {
  return Math.ceil(tokens / 256) * 256;
}

function words(commandLine: string): string[] {
  try {
    return splitWords(commandLine.replace(/\\\r?\n/g, " "));
  } catch {
    return [];
  }
}

/**
 * Compares the window that a loaded model has with the one that its `--ctx-size` should give: rounded up, divided
 * among the slots, capped at the trained window, fitted to the memory.
 *
 * @param asked the value of `--ctx-size`, 0 for the trained window
 * @param commandLine as `/running` shows it
 * @param declared what the config says of the slots; counts where the command line says nothing
 */
export function judgeContext(
  asked: number,
  commandLine: string,
  live: LiveContext,
  declared?: Slots,
): ContextVerdict {
  const args = words(commandLine);
  const slots = Number(lastValue(args, ["--parallel", "-np"]) ?? declared?.parallel ?? 1);
  const perSlot = Number(lastValue(args, ["--kv-unified-per-slot"]) ?? declared?.perSlot ?? 0);
  const isShared = args.includes("--kv-unified") || args.includes("-kvu") || declared?.kvUnified === true;
  const total = asked === 0 ? (live.trained ?? 0) : roundUp(asked);
  const isDivided = !isShared && slots > 1;
  const share = isDivided ? roundUp(total / slots) : total;
  // A limit, taken as it is and not rounded; above the share it has no effect.
  const expected = perSlot > 0 ? Math.min(perSlot, share) : share;
  const { tokens, trained } = live;
  const verdict = (kind: ContextVerdict["kind"], why: string, isFault = false): ContextVerdict => ({
    kind,
    tokens,
    expected,
    why,
    isFault,
  });
  if (tokens === undefined) return verdict("unknown", "the model does not report its context");
  // What is no llama-server, as KoboldCpp, rounds nothing.
  const unrounded = asked === 0 ? expected : Math.floor(isDivided ? asked / slots : asked);
  if (tokens >= Math.min(expected, unrounded)) return verdict("as asked", "");
  if (trained !== undefined && total > trained && tokens >= Math.min(expected, trained)) {
    return verdict("less", `the model was trained for ${trained} tokens and gets no more`);
  }
  if (trained === undefined) return verdict("less", "the model may have been trained for no more");
  if (!/^(off|0|false|disabled)$/.test(lastValue(args, ["--fit", "-fit"]) ?? "")) {
    return verdict("less", "llama-server fitted it to the free memory (--fit)");
  }
  return verdict("less", "the reason is unknown", true);
}
