/**
 * Runs `ai-server-admin` on the server's machine: through ssh, or here when the server is this machine. Nothing that
 * a user, a file or the server wrote is ever part of a command line.
 */
import { type ChildProcess, spawn as nodeSpawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { KEPT_VARIABLES } from "../../config.ts";
import { SharedConnection } from "./control-socket.ts";
import {
  type Answer,
  type DirectSettings,
  directScript,
  type HostRequest,
  readAnswer,
  remoteText,
  requestText,
  verbLine,
} from "./protocol.ts";
import { adminFunctions, caFunctions, downloadFunctions, examineFunctions } from "./scripts.ts";
import { type HostError, lateFault, type SshTarget, spawnFault, sshError, sshFault } from "./ssh-faults.ts";

/** Bytes of standard output that are read at most: a file of 4 MiB as base64, and a chatty login. */
const MAX_OUTPUT = 8 * 1024 * 1024;
/** Of standard error: characters that are kept, and bytes after which the program is ended. */
const MAX_STDERR = 16 * 1024;
const MAX_NOISE = 8 * 1024 * 1024;

/** How long output is awaited after the program has ended: a helper of ssh may keep the pipe open. */
const DRAIN_MS = 500;

/** How long a program may take to end after a signal, and ssh to end the shared connection. */
const ENDING_MS = 5000;
const CLOSING_MS = 2000;

export interface ShellSettings extends DirectSettings, SshTarget {
  /** How long the shared connection stays after the last call if nothing closes it. */
  keepMs: number;
}

export interface AskLimits {
  /** Milliseconds for the script itself; the time to connect comes on top. */
  timeoutMs: number;
  signal?: AbortSignal | undefined;
}

export type Spawn = typeof nodeSpawn;

/** How the first call that was answered went: over ssh it opened the connection. */
export interface FirstCall {
  ms: number;
  /** The first words of what a startup file there printed; empty where it printed nothing. */
  noise: string;
}

interface Finished {
  code: number | null;
  stdout: string;
  /** The end of it, safe to show. */
  stderr: string;
  /** It was ended since it took too long. */
  isLate: boolean;
}

/** One way to one machine. Opens nothing before the first call; `close` leaves nothing over. */
export class Shell {
  readonly settings: ShellSettings;
  readonly #spawn: Spawn;
  readonly #connection: SharedConnection;
  readonly #children = new Set<ChildProcess>();
  readonly #env = withoutSecrets(process.env);
  #functions: string | undefined;
  /** The call that opens the shared connection: a second one at the same time would open another. */
  #opening: Promise<Answer> | undefined;
  #firstCall: FirstCall | undefined;

  constructor(
    settings: ShellSettings,
    spawn: Spawn = nodeSpawn,
    connection = new SharedConnection(settings.connectTimeoutMs, settings.keepMs),
  ) {
    this.settings = settings;
    this.#spawn = spawn;
    this.#connection = connection;
  }

  /**
   * Runs one verb and gives its answer, also when that is an error of the script's own.
   *
   * @throws {HostError} when there was no complete answer: then the script may have run to any point
   * @throws the signal's reason; what had been sent may still be carried out
   */
  async ask(request: HostRequest, limits: AskLimits): Promise<Answer> {
    limits.signal?.throwIfAborted();
    if (this.settings.host === "local") return this.#askOnce(request, limits);
    if (this.#opening === undefined) {
      this.#opening = this.#askOnce(request, limits);
      return this.#opening;
    }
    await this.#opening.catch(() => undefined);
    limits.signal?.throwIfAborted();
    return this.#askOnce(request, limits);
  }

  /** Undefined before the first answer. */
  get firstCall(): FirstCall | undefined {
    return this.#firstCall;
  }

  /** Ends what still runs and the shared connection. Idempotent; a later call opens a new one. */
  async close(): Promise<void> {
    for (const child of this.#children) this.#end(child);
    const options = this.#connection.closingOptions();
    if (options !== undefined) {
      const args = [...options, "--", this.settings.host];
      const child = this.#spawn("ssh", args, { stdio: "ignore", env: this.#env });
      const limit = AbortSignal.timeout(CLOSING_MS);
      await once(child, "exit", { signal: limit }).catch(() => child.kill("SIGKILL"));
    }
    this.#connection.removeFolder();
    this.#opening = undefined;
  }

  async #askOnce(request: HostRequest, limits: AskLimits): Promise<Answer> {
    const { settings } = this;
    const nonce = randomBytes(16).toString("hex");
    const isLocal = settings.host === "local";
    const isDirect = isLocal || settings.mode === "direct";
    const text = requestText(nonce, request, isDirect ? settings : undefined);
    const input = isDirect ? this.#script(request, nonce, text) : text;
    const command = isDirect ? "sh -s" : verbLine(request.verb);
    const [program, args] = isLocal
      ? ["sh", ["-s"]]
      : ["ssh", [...this.#connection.options(), "--", settings.host, command]];
    const timeoutMs = limits.timeoutMs + (isLocal ? 0 : settings.connectTimeoutMs);
    const started = performance.now();
    const finished = await this.#run(program, args, input, { ...limits, timeoutMs });
    const { begun, answer, noise } = readAnswer(finished.stdout, nonce);
    if (answer !== undefined) {
      this.#firstCall ??= { ms: performance.now() - started, noise };
      return answer;
    }
    if (finished.isLate) throw lateFault(settings, timeoutMs, begun);
    if (!begun && finished.code === 255 && this.#leavesOut(args, finished.stderr)) {
      limits.signal?.throwIfAborted();
      return this.#askOnce(request, limits);
    }
    if (begun || isLocal) {
      throw sshError("The step on the server ended before it answered.", "unanswered");
    }
    throw sshFault(settings, finished.code, finished.stderr, finished.stdout);
  }

  /** Whether ssh refused, before a session began, what the next call does without. */
  #leavesOut(args: readonly string[], stderr: string): boolean {
    const unknown = /^command-line:? line 0: Bad configuration option: (\w+)/im.exec(stderr)?.[1];
    if (unknown !== undefined) return this.#connection.leaveOut(unknown);
    if (!isMultiplexFault(stderr) || !args.includes("-oControlMaster=auto")) return false;
    this.#connection.switchOff();
    return true;
  }

  #script(request: HostRequest, nonce: string, text: string): string {
    if (request.download !== undefined) {
      return directScript(downloadFunctions(), nonce, text, "download_main");
    }
    if (request.isExamine) return directScript(examineFunctions(), nonce, text, "examine_main");
    if (request.ca !== undefined) return directScript(caFunctions(), nonce, text, "ca_main");
    this.#functions ??= adminFunctions();
    return directScript(this.#functions, nonce, text);
  }

  /** A group of its own, so that helpers of ssh (ProxyCommand) end with it and a Ctrl-C here does not reach it. */
  #run(program: string, args: string[], input: string, limits: AskLimits): Promise<Finished> {
    return new Promise((resolve, reject) => {
      const child = this.#spawn(program, args, { detached: true, stdio: "pipe", env: this.#env });
      this.#children.add(child);
      const stdout: Buffer[] = [];
      let stderr = Buffer.alloc(0);
      let size = 0;
      let noise = 0;
      let isOver = false;
      let drain: NodeJS.Timeout | undefined;
      const settle = (outcome: () => void): void => {
        if (isOver) return;
        isOver = true;
        clearTimeout(limit);
        clearTimeout(drain);
        limits.signal?.removeEventListener("abort", onAbort);
        outcome();
      };
      const giveUp = (reason: unknown): void =>
        settle(() => {
          this.#end(child);
          reject(reason);
        });
      const onAbort = (): void => giveUp(limits.signal?.reason);
      const finish = (code: number | null, isLate = false): void =>
        settle(() => {
          if (isLate) this.#end(child);
          const said = remoteText(stderr, MAX_STDERR);
          resolve({ code, stdout: Buffer.concat(stdout).toString("latin1"), stderr: said, isLate });
        });
      const limit = setTimeout(() => finish(null, true), limits.timeoutMs);
      limits.signal?.addEventListener("abort", onAbort, { once: true });

      child.stdout?.on("data", (piece: Buffer) => {
        size += piece.length;
        if (size > MAX_OUTPUT) giveUp(tooMuchFault());
        else stdout.push(piece);
      });
      child.stderr?.on("data", (piece: Buffer) => {
        noise += piece.length;
        if (noise > MAX_NOISE) giveUp(tooMuchFault());
        else stderr = Buffer.concat([stderr, piece]).subarray(-MAX_STDERR);
      });
      for (const stream of [child.stdin, child.stdout, child.stderr]) stream?.on("error", () => undefined);
      child.stdin?.end(input);
      child.once("error", (error) => {
        this.#children.delete(child);
        settle(() => reject(spawnFault(program, error)));
      });
      child.once("close", (code) => finish(code));
      child.once("exit", (code) => {
        this.#children.delete(child);
        // Where this process was busy for so long, what has come meanwhile is still read first.
        if (!isOver) drain = setTimeout(() => setImmediate(() => finish(code)), DRAIN_MS);
      });
    });
  }

  /**
   * Ends a program whose answer is no longer needed. On this machine the signal goes to the shell alone, which
   * finishes its command and tidies up. On both machines the script stops when it cannot write its answer.
   */
  #end(child: ChildProcess): void {
    this.#children.delete(child);
    child.stdin?.destroy();
    child.stdout?.destroy();
    child.stderr?.destroy();
    if (child.pid === undefined) return;
    const isLocal = this.settings.host === "local";
    signalQuietly(isLocal ? child.pid : -child.pid, "SIGTERM");
    const last = setTimeout(() => signalQuietly(-(child.pid ?? 0), "SIGKILL"), ENDING_MS).unref();
    child.once("exit", () => clearTimeout(last));
  }
}

/** Words of ssh about its own control socket, when it does not go on without. */
function isMultiplexFault(stderr: string): boolean {
  return /ControlPath|ControlSocket|unix_listener|muxserver|mux_client|Session open refused/i.test(stderr);
}

/** What ssh, its helpers and a restart command start may outlive this process, and needs no credentials of ours. */
function withoutSecrets(env: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  const kept = { ...env };
  for (const name of KEPT_VARIABLES) delete kept[name];
  return kept;
}

function tooMuchFault(): HostError {
  const message = "The server's machine sent far more text than expected; the rest was not read.";
  return sshError(message, "unanswered");
}

function signalQuietly(pid: number, signal: NodeJS.Signals): void {
  if (pid === 0) return;
  try {
    process.kill(pid, signal);
  } catch {
    // It has ended meanwhile.
  }
}
