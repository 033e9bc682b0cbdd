import { split } from "shlex";

/**
 * How a simulated upstream behaves, read from its command line. Times are simulated milliseconds.
 *
 * llama-server's own flags: `--ctx-size/-c N`, `--parallel/-np N`, `--kv-unified`, `--model/-m FILE`,
 * `--alias/-a NAME`, `--mmproj FILE`, `--sse-ping-interval S`. The stand-in's: `--load S`, `--fail-after S`,
 * `--never-healthy`, `--die-after S`, `--stop-delay S`, `--chat-delay S`, `--prompt-rate` and `--token-rate`
 * (tokens per second, unlimited when absent), `--script NAME`, `--no-reasoning`, `--vision`, `--n-ctx-train N`,
 * `--gpu-mb N` (memory that it takes), `--reasoning-key NAME` (the field of a delta that holds thinking),
 * `--only-openai` (an answer without llama.cpp's additions to chat/completions: timings, progress, comments),
 * `--no-control` (an earlier llama-server, which cannot end the thinking of an answer).
 */
export interface Behaviour {
  /** The command line split as a shell would; the program first. */
  args: string[];
  /** `--ctx-size` after llama-server's rounding and capping: the whole KV cache, in tokens. */
  contextSize: number;
  /** The window of one slot, in tokens. */
  slotContext: number;
  trainContext: number;
  slots: number;
  modelPath: string;
  /** What it takes of the GPU's memory. */
  gpuMb: number;
  alias: string | undefined;
  vision: boolean;
  reasoning: boolean;
  reasoningKey: string;
  onlyOpenAi: boolean;
  hasControl: boolean;
  script: string;
  loadMs: number;
  failAfterMs: number | undefined;
  neverHealthy: boolean;
  dieAfterMs: number | undefined;
  stopMs: number;
  chatDelayMs: number;
  promptRate: number | undefined;
  tokenRate: number | undefined;
  /** Silence after which the stream carries a comment; 0 = never. */
  pingMs: number;
}

/** The variable with more flags of the stand-in, so that a command line can be that of a real llama-server. */
const MORE_FLAGS = "STAND_IN=";

/**
 * Reads the flags of an expanded `cmd`; the last of repeated flags wins, unknown flags are ignored.
 *
 * @param env of the model, as `NAME=value`: `STAND_IN` holds more flags
 */
export function readBehaviour(cmd: string, env: readonly string[] = []): Behaviour {
  const more = env.flatMap((entry) => (entry.startsWith(MORE_FLAGS) ? [entry.slice(MORE_FLAGS.length)] : []));
  const args = splitWords([cmd.replace(/\\\s*\n/g, " "), ...more].join(" "));
  const text = (...names: string[]): string | undefined => {
    for (let i = args.length - 1; i > 0; i--) {
      const arg = args[i] ?? "";
      for (const name of names) {
        if (arg === name) return args[i + 1] ?? "";
        if (arg.startsWith(`${name}=`)) return arg.slice(name.length + 1);
      }
    }
    return undefined;
  };
  const number = (...names: string[]): number | undefined => {
    const value = Number.parseFloat(text(...names) ?? "");
    return Number.isNaN(value) ? undefined : value;
  };
  const milliseconds = (name: string): number | undefined => {
    const seconds = number(name);
    return seconds === undefined ? undefined : seconds * 1000;
  };
  const trainContext = number("--n-ctx-train") ?? 131_072;
  const slots = number("--parallel", "-np") ?? 1;
  const asked = number("--ctx-size", "-c") ?? 4096;
  const contextSize = Math.min(asked === 0 ? trainContext : roundUp(asked), trainContext);
  return {
    args,
    contextSize,
    slotContext: args.includes("--kv-unified") ? contextSize : roundUp(contextSize / slots),
    trainContext,
    slots,
    modelPath: text("--model", "-m") ?? "/models/fake.gguf",
    gpuMb: number("--gpu-mb") ?? 6144,
    alias: text("--alias", "-a"),
    vision: args.includes("--vision") || text("--mmproj") !== undefined,
    reasoning: !args.includes("--no-reasoning"),
    reasoningKey: text("--reasoning-key") ?? "reasoning_content",
    onlyOpenAi: args.includes("--only-openai"),
    hasControl: !args.includes("--no-control"),
    script: text("--script") ?? "demo",
    loadMs: milliseconds("--load") ?? 0,
    failAfterMs: milliseconds("--fail-after"),
    neverHealthy: args.includes("--never-healthy"),
    dieAfterMs: milliseconds("--die-after"),
    stopMs: milliseconds("--stop-delay") ?? 0,
    chatDelayMs: milliseconds("--chat-delay") ?? 0,
    promptRate: number("--prompt-rate"),
    tokenRate: number("--token-rate"),
    pingMs: args.includes("--only-openai") ? 0 : (milliseconds("--sse-ping-interval") ?? 30_000),
  };
}

/** llama-swap's own lexer extends an open quote to the end; this one throws. */
function splitWords(cmd: string): string[] {
  try {
    return split(cmd);
  } catch {
    return cmd.split(/\s+/).filter((word) => word !== "");
  }
}

/** llama-server rounds contexts up to a multiple of 256. */
function roundUp(tokens: number): number {
  return Math.ceil(tokens / 256) * 256;
}
