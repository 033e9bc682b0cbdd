import { splitShell, type Word } from "./command-words.ts";
import { type Arguments, looksLikeLlama } from "./server-flags.ts";
import { sliceTraced, type TracedText } from "./traced-text.ts";

/** The llama-server that a command line starts, and what is said to it. */
export interface ServerCommand extends Arguments {
  /** All words of the command line; a script's own words in the place of its string. */
  readonly words: readonly Word[];
  /** `NAME=value` as given to `env`, to a container or in a script. */
  readonly assignments: readonly TracedText[];
  /** What is started, without its folder. */
  readonly program: string;
  /** Whether it sees the variables that llama-swap sets. */
  readonly inheritsEnvironment: boolean;
  /** Whether it stands in the string of a `sh -c`. */
  readonly isInScript: boolean;
  /** Behind this word an argument may be added. */
  readonly addAfter: Word | undefined;
}

const SERVER = /(^|[-_.])llama[-_.]?server([-_.].*)?$/i;
const FILE = /\.(log|jsonl?|ya?ml|ini|txt|conf|gguf|service|pid|sock)$/i;
const SHELLS = new Set(["sh", "bash", "zsh", "dash", "ash", "ksh", "fish"]);
const CONTAINERS = new Set(["docker", "podman", "nerdctl"]);

/** Programs that start another one: which of their options take the next word, how many words come before it. */
const WRAPPERS: Readonly<Record<string, { values: string; operands: number }>> = {
  env: { values: "-u --unset -C --chdir", operands: 0 },
  sudo: { values: "-u --user -g --group -h --host -p --prompt -C -r -t -T -U -D -R", operands: 0 },
  doas: { values: "-u -C", operands: 0 },
  nice: { values: "-n --adjustment", operands: 0 },
  ionice: { values: "-c --class -n --classdata", operands: 0 },
  taskset: { values: "", operands: 1 },
  chrt: { values: "-T -P -D", operands: 1 },
  numactl: {
    values: "-C --physcpubind -N --cpunodebind -m --membind -i --interleave -p --preferred",
    operands: 0,
  },
  timeout: { values: "-k --kill-after -s --signal", operands: 1 },
  stdbuf: { values: "-i --input -o --output -e --error", operands: 0 },
  time: { values: "-f --format -o --output", operands: 0 },
  exec: { values: "-a", operands: 0 },
  nohup: { values: "", operands: 0 },
  setsid: { values: "", operands: 0 },
  tini: { values: "", operands: 0 },
  "dumb-init": { values: "", operands: 0 },
  "su-exec": { values: "", operands: 1 },
  gosu: { values: "", operands: 1 },
  prlimit: { values: "", operands: 0 },
  "systemd-run": {
    values:
      "-p --property -u --unit -E --setenv -M --machine --slice --description --working-directory --uid --gid --nice",
    operands: 0,
  },
  "systemd-inhibit": { values: "--what --who --why --mode", operands: 0 },
};

/** Options whose value may be spelled like a program. */
const NAMING = new Set([
  "--name",
  "--unit",
  "-u",
  "--hostname",
  "--description",
  "--label",
  "-l",
  "--network",
]);

/** The flags of `docker run` and `podman run` that take no value. */
const CONTAINER_SWITCH =
  /^(-[ditPq]+|--(detach|interactive|tty|rm|init|privileged|publish-all|quiet|read-only|sig-proxy|no-healthcheck|oom-kill-disable|disable-content-trust|replace|rmi|env-host|http-proxy|no-hosts|no-hostname|passwd|read-only-tmpfs|tls-verify))$/;

function nameOf(word: Word): string {
  return word.value.text.replace(/^.*[/\\]/, "");
}

function isServer(word: Word): boolean {
  const name = nameOf(word);
  return SERVER.test(name) && !FILE.test(name) && !name.startsWith("-");
}

interface Start {
  /** The index of the program, or of the image whose program takes all that follows. */
  readonly at: number;
  readonly kind: "server" | "image" | "shell" | "unknown";
}

interface Prefix {
  readonly assignments: TracedText[];
  inContainer: boolean;
  passed: Set<string>;
}

/** The index of a container's image, and what its options set; undefined when nothing is run. */
function imageAfter(words: readonly Word[], at: number, prefix: Prefix): number | undefined {
  let index = at + 1;
  while (index < words.length && !/^(run|exec)$/.test(words[index]?.value.text ?? "")) {
    if (/^(start|restart|up|attach)$/.test(words[index]?.value.text ?? "")) return undefined;
    index += 1;
  }
  for (index += 1; index < words.length; index += 1) {
    const word = words[index];
    if (!word?.value.text.startsWith("-")) return index;
    const text = word.value.text;
    const joined = /^(--env=|-e(?==?[A-Z_]))/.exec(text)?.[0];
    const value = joined ? sliceTraced(word.value, joined.length) : words[index + 1]?.value;
    if ((joined || text === "-e" || text === "--env") && value) {
      if (value.text.includes("=")) prefix.assignments.push(value);
      else prefix.passed.add(value.text);
    }
    if (/^--entrypoint(=|$)/.test(text)) {
      const entry = text === "--entrypoint" ? words[index + 1] : word;
      if (entry && SHELLS.has(nameOf(entry).replace(/^.*=/, ""))) return undefined;
    }
    const isAttached = text.includes("=") || /^-[acehlmpuvw]./.test(text);
    if (!isAttached && !CONTAINER_SWITCH.test(text)) index += 1;
  }
  return undefined;
}

function afterOptions(words: readonly Word[], at: number, values: string): number {
  const takesNext = new Set(values.split(" "));
  let index = at + 1;
  while (words[index]?.value.text.startsWith("-")) {
    const text = words[index]?.value.text ?? "";
    if (text === "--") return index + 1;
    index += takesNext.has(text) ? 2 : 1;
  }
  return index;
}

const ASSIGNMENT = /^[A-Za-z_][A-Za-z0-9_]*=/;

/** Follows wrappers and containers to the program that is finally started, or a sentence why it cannot. */
function programOf(words: readonly Word[], prefix: Prefix): Start | string {
  for (let at = 0; at < words.length; ) {
    const word = words[at];
    if (!word) break;
    const name = nameOf(word);
    const wrapper = Object.hasOwn(WRAPPERS, name) ? WRAPPERS[name] : undefined;
    if (isServer(word)) return { at, kind: "server" };
    if (ASSIGNMENT.test(word.value.text)) {
      prefix.assignments.push(word.value);
      at += 1;
    } else if (SHELLS.has(name)) return { at, kind: "shell" };
    else if (CONTAINERS.has(name)) {
      const image = imageAfter(words, at, prefix);
      if (image === undefined) return `what ${name} starts there cannot be told from the command`;
      prefix.inContainer = true;
      const first = words[image + 1]?.value.text;
      if (first === undefined || first.startsWith("-")) return { at: image, kind: "image" };
      at = image + 1;
    } else if (wrapper) {
      at = afterOptions(words, at, wrapper.values);
      while (ASSIGNMENT.test(words[at]?.value.text ?? "")) {
        const assignment = words[at]?.value;
        if (assignment) prefix.assignments.push(assignment);
        at += 1;
      }
      at += wrapper.operands;
    } else {
      const later = words.findIndex(
        (candidate, index) =>
          index > at && isServer(candidate) && !NAMING.has(words[index - 1]?.value.text ?? ""),
      );
      return later > 0 ? { at: later, kind: "server" } : { at, kind: "unknown" };
    }
  }
  return "no program is named in it";
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

/** The single commands of a script. */
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

function scriptServer(words: readonly Word[], at: number, prefix: Prefix): ServerCommand | string {
  const option = words.findIndex((word, index) => index > at && /^-[a-z]*c$/.test(word.value.text));
  const operand = words.findIndex((word, index) => index > at && !word.value.text.startsWith("-"));
  const string = words[option + 1];
  if (option < 0 || (operand >= 0 && operand < option) || !string) {
    const script = words[operand];
    if (!script) return "it starts a shell without saying what it runs";
    return describe(words, { at: operand, kind: isServer(script) ? "server" : "unknown" }, prefix);
  }
  const inner = splitShell(string.value);
  if (!inner) return "a quote is left open inside the string that it gives to a shell";
  const found = commandsOf(inner).flatMap((command) => {
    const server = serverOf(command);
    return typeof server !== "string" && server.isLlamaServer && !server.isInScript ? [server] : [];
  });
  const [server] = found;
  if (!server || found.length > 1) {
    return "the string that it gives to a shell does not start exactly one llama-server in plain words";
  }
  const settings = inner.filter((word) => word.value.text.includes("LLAMA_ARG_CTX_SIZE"));
  if (settings.length > server.assignments.length) {
    return "the string that it gives to a shell sets LLAMA_ARG_CTX_SIZE in a way of its own";
  }
  const outer = words.indexOf(string);
  const expanding = server.args.map((word) => word.value.text.replace(LLAMA_SWAP_REFERENCE, ""));
  if (outer < words.length - 1 && expanding.some((text) => /\$\{?[@*1-9]/.test(text))) {
    return "the string that it gives to a shell takes further arguments from behind it";
  }
  const isPlain = !expanding.some((text) => /[$`]/.test(text));
  const all = [...words.slice(0, outer), ...inner, ...words.slice(outer + 1)];
  const [first] = server.args;
  const program = first && inner[inner.indexOf(first) - 1];
  return {
    ...server,
    words: all,
    assignments: [...prefix.assignments, ...server.assignments],
    isInScript: true,
    // Behind the program itself no quote, redirection or operator of the script can come in between.
    // What the shell puts in may hold the flag already, and would win.
    addAfter: isPlain ? (program ?? server.addAfter) : undefined,
  };
}

function describe(words: readonly Word[], start: Start, prefix: Prefix): ServerCommand {
  const args = words.slice(start.at + 1);
  const program = words[start.at];
  const name = program ? nameOf(program) : "";
  const isNamed =
    start.kind === "server" || (start.kind === "image" && /llama/i.test(program?.value.text ?? ""));
  return {
    words,
    args,
    assignments: prefix.assignments,
    program: name,
    isLlamaServer: isNamed || looksLikeLlama(args),
    inheritsEnvironment: !prefix.inContainer || prefix.passed.has("LLAMA_ARG_CTX_SIZE"),
    isInScript: false,
    addAfter: words.at(-1),
  };
}

/**
 * Finds the llama-server that a command line starts: directly, through wrappers such as `env` or `taskset`, in a
 * container, or in the string of a `sh -c`. The flags of those others are not its arguments.
 *
 * @returns a clause that says why it cannot be told
 */
export function serverOf(words: readonly Word[]): ServerCommand | string {
  const prefix: Prefix = { assignments: [], inContainer: false, passed: new Set() };
  const start = programOf(words, prefix);
  if (typeof start === "string") return start;
  return start.kind === "shell" ? scriptServer(words, start.at, prefix) : describe(words, start, prefix);
}
