/** Follows a command line through wrappers, containers and interpreters to the program that it finally starts. Pure. */

import { sliceTraced, type TracedText } from "../traced-text.ts";
import { baseName, CONTAINER_ENGINES, type Program, programCalled, programOfImage } from "./programs.ts";
import type { Word } from "./words.ts";

export interface Start {
  /** The program, or the image that starts one by itself; then what is said to it. */
  readonly command: readonly Word[];
  readonly program: Program;
  /** Its name in a sentence: the program without its folder, or the whole name of the image. */
  readonly name: string;
  /** The program as the command names it: a path, or a name to be found on the path. */
  readonly path: string;
}

/** A string that a shell reads, with the words that follow it as its arguments. */
export interface Script {
  readonly script: Word;
  /** Whether words follow it, which the string may take as `$1` or `$@`. */
  readonly hasArguments: boolean;
}

/** What the wrappers on the way add. */
export interface Prefix {
  readonly assignments: TracedText[];
  /** The variables that a container or another machine gets of llama-swap's; undefined where it gets all of them. */
  passed: Set<string> | undefined;
  /** Whether the words are joined and read again by the shell of another machine. */
  isRemote: boolean;
}

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
  command: { values: "", operands: 0 },
  nohup: { values: "", operands: 0 },
  setsid: { values: "", operands: 0 },
  tini: { values: "", operands: 0 },
  "dumb-init": { values: "", operands: 0 },
  caffeinate: { values: "-t -w", operands: 0 },
  firejail: { values: "", operands: 0 },
  gamemoderun: { values: "", operands: 0 },
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

const SHELLS = new Set(["sh", "bash", "zsh", "dash", "ash", "ksh", "fish"]);
const PYTHON = /^(python|pypy)[\d.]*(\.exe)?$/i;
const SSH_VALUES = "-B -b -c -D -E -e -F -I -i -J -L -l -m -O -o -P -p -Q -R -S -W -w";
const ASSIGNMENT = /^[A-Za-z_][A-Za-z0-9_]*=/;

/** The flags of `docker run` and `podman run` that take no value. */
const CONTAINER_SWITCH =
  /^(-[ditPq]+|--(detach|interactive|tty|rm|init|privileged|publish-all|quiet|read-only|sig-proxy|no-healthcheck|oom-kill-disable|disable-content-trust|replace|rmi|env-host|http-proxy|no-hosts|no-hostname|passwd|read-only-tmpfs|tls-verify))$/;

function nameOf(word: Word | undefined): string {
  return baseName(word?.value.text ?? "");
}

function starts(words: readonly Word[], at: number, text: string): boolean {
  return words[at]?.value.text.startsWith(text) === true;
}

/** The program that the first of these words names. */
function named(command: readonly Word[]): Start {
  const path = command[0]?.value.text ?? "";
  return { command, program: programCalled(path), name: baseName(path), path };
}

/** The index after the options that begin at `at`. */
function afterOptions(words: readonly Word[], at: number, values: string): number {
  const takesNext = new Set(values.split(" "));
  let index = at;
  while (starts(words, index, "-")) {
    const text = words[index]?.value.text ?? "";
    if (text === "--") return index + 1;
    index += takesNext.has(text) ? 2 : 1;
  }
  return index;
}

interface Container {
  /** The index of the image, or of the name of a container that runs already. */
  readonly at: number;
  readonly isImage: boolean;
  /** What `--entrypoint` puts in the place of the image's own program. */
  readonly entrypoint: Word | undefined;
}

/** A container's image, and what its options set; undefined when nothing is run. */
function containerAt(words: readonly Word[], from: number, prefix: Prefix): Container | undefined {
  const text = (at: number): string => words[at]?.value.text ?? "";
  let index = from;
  let isImage = true;
  for (; index < words.length && !/^(run|exec)$/.test(text(index)); index += 1) {
    if (/^(start|restart|up|attach)$/.test(text(index))) return undefined;
    // What a service of a compose file starts stands in that file.
    if (text(index) === "compose") isImage = false;
  }
  if (text(index) === "exec") isImage = false;
  prefix.passed ??= new Set();
  let entrypoint: Word | undefined;
  for (index += 1; index < words.length; index += 1) {
    const word = words[index];
    if (!word?.value.text.startsWith("-")) return { at: index, isImage, entrypoint };
    const joined = /^(--env=|-e=?(?=[A-Z_])|--entrypoint=)/.exec(word.value.text)?.[0];
    const value = joined ? sliceTraced(word.value, joined.length) : words[index + 1]?.value;
    const option = joined?.replace(/=$/, "") ?? word.value.text;
    if (option === "--entrypoint" && value) entrypoint = { ...word, value };
    else if ((option === "-e" || option === "--env") && value) {
      if (value.text.includes("=")) prefix.assignments.push(value);
      else prefix.passed.add(value.text);
    }
    const isAttached = word.value.text.includes("=") || /^-[acehlmpuvw]./.test(word.value.text);
    if (!isAttached && !CONTAINER_SWITCH.test(word.value.text)) index += 1;
  }
  return undefined;
}

/** Whether a word after an image can only be the program to start there. */
function isProgram(word: Word | undefined): boolean {
  const name = nameOf(word);
  const isWrapper = Object.hasOwn(WRAPPERS, name) || SHELLS.has(name) || PYTHON.test(name);
  return isWrapper || programCalled(name).kind !== "unknown";
}

/** What runs in a container: its entry point, the program of its image, or the command that is given. */
function inContainer(words: readonly Word[], at: number, prefix: Prefix): Start | Script | string {
  const container = containerAt(words, at + 1, prefix);
  const cannotTell = `the command does not show what ${nameOf(words[at])} starts there`;
  if (!container) return cannotTell;
  const image = words[container.at];
  const rest = words.slice(container.at + 1);
  const { entrypoint } = container;
  if (entrypoint && entrypoint.value.text !== "") return startOf([entrypoint, ...rest], prefix);
  const first = rest[0]?.value.text;
  const own = programOfImage(image?.value.text ?? "", first);
  const isOwn =
    first === undefined || first.startsWith("-") || (own.kind !== "unknown" && !isProgram(rest[0]));
  if (!isOwn) return startOf(rest, prefix);
  // A service of a compose file, or the name of a container, says nothing of the program.
  if (!image || !container.isImage) return cannotTell;
  const name = image.value.text;
  return { command: [image, ...rest], program: own, name, path: name };
}

/** What a shell starts: the string of its `-c`, or a script. */
function byShell(words: readonly Word[], at: number): Start | Script | string {
  const option = words.findIndex((word, index) => index > at && /^-[a-z]*c$/.test(word.value.text));
  const operand = words.findIndex((word, index) => index > at && !word.value.text.startsWith("-"));
  const script = words[option + 1];
  if (option >= 0 && (operand < 0 || operand > option) && script) {
    return { script, hasArguments: option + 2 < words.length };
  }
  if (operand < 0) return "it starts a shell without saying what it runs";
  return named(words.slice(operand));
}

/** What runs on another machine: `ssh` joins the words by blanks, and the shell there reads them again. */
function overSsh(words: readonly Word[], at: number, prefix: Prefix): Start | Script | string {
  const host = afterOptions(words, at + 1, SSH_VALUES);
  const rest = words.slice(afterOptions(words, host + 1, SSH_VALUES));
  prefix.passed ??= new Set();
  prefix.isRemote = true;
  const [only] = rest;
  if (!only) return "ssh starts a shell there without saying what it runs";
  return rest.length === 1 && /\s/.test(only.value.text)
    ? { script: only, hasArguments: false }
    : startOf(rest, prefix);
}

/** The Python module or script that is started. */
function byPython(words: readonly Word[], at: number): Start {
  let index = at + 1;
  for (; starts(words, index, "-"); index += 1) {
    const text = words[index]?.value.text ?? "";
    if (text === "-c") break;
    if (text === "-m") {
      index += 1;
      break;
    }
    if (text === "-X" || text === "-W") index += 1;
  }
  return named(words.slice(index));
}

/** Looks after an unknown program for a known one: the option before a word may take it as its value. */
function laterIn(words: readonly Word[], prefix: Prefix): Start | Script | string | undefined {
  const runsNext = /^nix(-shell)?$/.test(nameOf(words[0]))
    ? /^(--|--command|-c)$/
    : /^--(args|command|exec)?$/;
  const at = words.findIndex((word, index) => {
    const before = words[index - 1]?.value.text ?? "";
    const isValue = /^-[^=]*$/.test(before) && !runsNext.test(before);
    const name = nameOf(word);
    if (index === 0 || isValue || word.value.text.startsWith("-")) return false;
    const isPython = PYTHON.test(name) && /^-[a-zA-Z]*m$/.test(words[index + 1]?.value.text ?? "");
    return isPython || isServeOfLlama(words, index) || programCalled(word.value.text).kind !== "unknown";
  });
  return at > 0 ? startOf(words.slice(at), prefix) : undefined;
}

/** `llama serve`, also `llama server`: the one program that llama.cpp's installer puts there (its `app/llama.cpp`). */
function isServeOfLlama(words: readonly Word[], at: number): boolean {
  return /^llama(\.exe)?$/i.test(nameOf(words[at])) && /^server?$/.test(words[at + 1]?.value.text ?? "");
}

/**
 * Follows wrappers and containers to the program that is finally started.
 *
 * @returns a clause that says why it cannot be known
 */
export function startOf(words: readonly Word[], prefix: Prefix): Start | Script | string {
  for (let at = 0; at < words.length; ) {
    const word = words[at];
    if (!word) break;
    const name = nameOf(word);
    const wrapper = Object.hasOwn(WRAPPERS, name) ? WRAPPERS[name] : undefined;
    if (isServeOfLlama(words, at)) {
      const program = programCalled("llama-server");
      return { command: words.slice(at + 1), program, name: "llama serve", path: word.value.text };
    }
    if (ASSIGNMENT.test(word.value.text)) {
      prefix.assignments.push(word.value);
      at += 1;
    } else if (wrapper) {
      at = afterOptions(words, at + 1, wrapper.values);
      for (; ASSIGNMENT.test(words[at]?.value.text ?? ""); at += 1) {
        const assignment = words[at]?.value;
        if (assignment) prefix.assignments.push(assignment);
      }
      at += wrapper.operands;
    } else {
      const direct = named(words.slice(at));
      if (direct.program.kind !== "unknown") return direct;
      if (SHELLS.has(name)) return byShell(words, at);
      if (CONTAINER_ENGINES.has(name)) return inContainer(words, at, prefix);
      if (name === "ssh") return overSsh(words, at, prefix);
      const start = PYTHON.test(name) ? byPython(words, at) : direct;
      if (start.program.kind !== "unknown") return start;
      return laterIn(start.command, prefix) ?? start;
    }
  }
  return "no program is named in it";
}
