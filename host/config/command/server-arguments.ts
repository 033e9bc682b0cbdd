import { Scalar } from "yaml";
import { wordSet } from "../../../lib/text.ts";
import { CONTEXT_VARIABLE } from "../context-setting.ts";
import type { TracedText } from "../traced-text.ts";
import { type Program, sizeIn } from "./programs.ts";
import { type Arguments, contextFlags } from "./server-flags.ts";
import { type Prefix, type Script, type Start, startOf } from "./started-program.ts";
import { splitCommand, splitShell, type Word } from "./words.ts";

/** The program that a command line starts, and what is said to it. */
export interface ServerCommand extends Arguments {
  /** All words of the command line; a script's own words in the place of its string. */
  readonly words: readonly Word[];
  /** `NAME=value` as given to `env`, to a container or in a script. */
  readonly assignments: readonly TracedText[];
  readonly program: Program;
  /** How the program is called, without its folder, or the image that starts it. */
  readonly name: string;
  /** The program as the command names it: a path, or a name to be found on the path. */
  readonly path: string;
  /** Where it runs, if not as a process of this machine. */
  readonly place: "a container" | "another machine" | undefined;
  /** Whether it sees the variables that llama-swap sets. */
  readonly inheritsEnvironment: boolean;
  /** Whether a shell reads it: in the string of a `sh -c`, or at the other end of `ssh`. */
  readonly isInScript: boolean;
  /** After this word an argument may be added. */
  readonly addAfter: Word | undefined;
}

/** Leaves out redirections, which belong to the shell. */
function withoutRedirections(command: readonly Word[]): Word[] {
  return command.filter((word, index) => {
    const [before, after] = [command[index - 1], command[index + 1]];
    const isDescriptor =
      /^\d$/.test(word.value.text) && after?.raw.traces[0]?.own.start === word.raw.traces.at(-1)?.own.end;
    const follows = before?.isOperator && /^[<>]/.test(before.value.text);
    return !word.isOperator && !follows && !(isDescriptor && after?.isOperator);
  });
}

function commandsOf(script: readonly Word[]): Word[][] {
  const commands: Word[][] = [[]];
  for (const word of script) {
    if (word.isOperator && !/^[<>]/.test(word.value.text)) commands.push([]);
    else commands.at(-1)?.push(word);
  }
  return commands.map(withoutRedirections).filter((command) => command.length > 0);
}

/** What llama-swap replaces before any shell sees it. */
const LLAMA_SWAP_REFERENCE = /\$\{(PORT|PID|MODEL_ID|env\.\w+)\}/g;

/** Whether a shell leaves the arguments as they are written. */
function isPlain(args: readonly Word[]): boolean {
  return !args.some((word) => /[$`]/.test(word.value.text.replace(LLAMA_SWAP_REFERENCE, "")));
}

/** What a script does beside starting its server. */
const BESIDE = wordSet(
  "cd source . export set unset ulimit umask echo printf sleep mkdir rm trap wait test [ true : tee ts grep sed awk cat",
);

/** The servers that a script starts; where none of them is known, whatever it starts. */
function serversOf(script: readonly Word[]): ServerCommand[] {
  const started = commandsOf(script).flatMap((command) => {
    const server = serverOf(command);
    return typeof server === "string" || server.isInScript ? [] : [server];
  });
  const known = started.filter(({ program }) => program.kind !== "unknown");
  return known.length > 0 ? known : started.filter(({ name }) => !BESIDE.has(name));
}

/** The one server that the string of a shell starts. */
function scriptServer(
  words: readonly Word[],
  { script, hasArguments }: Script,
  prefix: Prefix,
): ServerCommand | string {
  const inner = splitShell(script.value);
  if (!inner) return "a quote is left open inside the string that it gives to a shell";
  const found = serversOf(inner);
  const [server] = found;
  // Flags on a line of their own were meant for the command before it, and are not read by that.
  const isCut = inner.some(
    ({ value }, at) => value.text.startsWith("-") && inner[at - 1]?.value.text === "\n",
  );
  if (!server || found.length > 1 || isCut) {
    return "the string that it gives to a shell does not start exactly one llama-server in plain words";
  }
  const settings = inner.filter((word) => word.value.text.includes(CONTEXT_VARIABLE));
  if (settings.length > server.assignments.length) {
    return "the string that it gives to a shell sets LLAMA_ARG_CTX_SIZE in a way of its own";
  }
  const expanding = server.args.map((word) => word.value.text.replace(LLAMA_SWAP_REFERENCE, ""));
  if (hasArguments && expanding.some((text) => /\$\{?[@*1-9]/.test(text))) {
    return "the string that it gives to a shell takes arguments from the words after it";
  }
  const outer = words.indexOf(script);
  const [first] = server.args;
  const program = first && inner[inner.indexOf(first) - 1];
  return {
    ...server,
    words: [...words.slice(0, outer), ...inner, ...words.slice(outer + 1)],
    place: placeOf(prefix) ?? server.place,
    assignments: [...prefix.assignments, ...server.assignments],
    inheritsEnvironment: server.inheritsEnvironment && inherits(prefix),
    isInScript: true,
    // Right after the program no quote, redirection or operator of the script can come in between.
    // What the shell puts in may hold the flag already, and would win.
    addAfter: isPlain(server.args) ? (program ?? server.addAfter) : undefined,
  };
}

/** Only a container and another machine get no more than what is passed to them. */
function placeOf({ passed, isRemote }: Prefix): ServerCommand["place"] {
  if (isRemote) return "another machine";
  return passed === undefined ? undefined : "a container";
}

function inherits({ passed }: Prefix): boolean {
  return passed === undefined || passed.has(CONTEXT_VARIABLE);
}

function describe(words: readonly Word[], start: Start, prefix: Prefix): ServerCommand {
  const [first, ...args] = start.command;
  // The shell at the other end may read the words after it as anything.
  const remote = first && words.includes(first) && isPlain(args) ? first : undefined;
  return {
    words,
    args,
    assignments: prefix.assignments,
    program: start.program,
    name: start.name,
    path: start.path,
    place: placeOf(prefix),
    inheritsEnvironment: inherits(prefix),
    isInScript: prefix.isRemote,
    addAfter: prefix.isRemote ? remote : words.at(-1),
  };
}

/**
 * Finds the program that a command line starts: directly, through wrappers such as `env` or `taskset`, in a container,
 * on another machine, or in the string of a `sh -c`. The flags of those others are not its arguments.
 *
 * @returns a clause that says why it cannot be known
 */
export function serverOf(words: readonly Word[]): ServerCommand | string {
  const prefix: Prefix = { assignments: [], passed: undefined, isRemote: false };
  const start = startOf(words, prefix);
  if (typeof start === "string") return start;
  return "script" in start ? scriptServer(words, start, prefix) : describe(words, start, prefix);
}

/** The program that a command line as `/running` shows it starts; undefined where it does not show that. */
export function startedBy(commandLine: string): ServerCommand | undefined {
  const words = splitCommand(untraced(commandLine));
  const server = words && serverOf(words);
  return typeof server === "string" ? undefined : server;
}

/** A text that stands in no file: every character is its own place. */
function untraced(text: string): TracedText {
  const scalar = new Scalar(text);
  const traces = Array.from({ length: text.length }, (_, start) => {
    const span = { start, end: start + 1 };
    return { own: span, origin: span, scalar };
  });
  return { text, traces };
}

/**
 * The context size that a command line, as `/running` shows it, gives its server: for all slots together.
 *
 * @returns undefined where it gives none, or does not show what it starts
 */
export function contextOfCommand(commandLine: string): number | undefined {
  const server = startedBy(commandLine);
  if (server === undefined) return undefined;
  const flag = contextFlags(server).at(-1)?.value.text;
  const assigned = server.assignments.findLast(({ text }) => text.startsWith(`${CONTEXT_VARIABLE}=`))?.text;
  return sizeIn(server.program, flag ?? assigned?.slice(CONTEXT_VARIABLE.length + 1) ?? "");
}
