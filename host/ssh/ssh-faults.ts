/** Turns what `ssh` says, or the way in which it ended, into sentences. */
import { quote } from "shlex";
import { ServerError } from "../../lib/errors.ts";
import { wholeSeconds } from "../../lib/figures.ts";
import { cleanText } from "../../lib/text.ts";
import { MISREAD } from "./protocol.ts";

/** An error of the server's machine; `code` is for programs what the sentence is for the user. */
export class HostError extends ServerError {
  /** A code of `ai-server-admin`, or of `ssh` (`ssh`), a limit (`timeout`) or a lost answer (`unanswered`). */
  readonly code: string;

  constructor(message: string, code: string, details: ConstructorParameters<typeof ServerError>[1]) {
    super(message, details);
    this.name = "HostError";
    this.code = code;
  }
}

/** @param code as in {@link HostError} */
export function sshError(message: string, code = "ssh", cause?: unknown): HostError {
  return new HostError(message, code, { link: "ssh", cause });
}

export interface SshTarget {
  /** As given in AI_SERVER_SSH_HOST: `[user@]host` for ssh, or `local` for this machine. */
  host: string;
  connectTimeoutMs: number;
  /** `wrapper`: the key there runs `ai-server-admin` and nothing else. Does not matter for `local`. */
  mode: "direct" | "wrapper";
}

type Sentence = (at: SshTarget, stderr: string) => string;

const login = (at: SshTarget): string => `ssh ${quote(at.host)}`;

/** The name or address without user and scheme, in the form in which known_hosts has it. */
function known(at: SshTarget, stderr: string): string {
  const named = /host key (?:is known )?for (\S+)(?: has changed|\s+and you have)|-R "?([^"\s]+)"?/i.exec(
    stderr,
  );
  return (named?.[1] ?? named?.[2])?.slice(0, 255) ?? at.host.slice(at.host.lastIndexOf("@") + 1);
}

/** What a key's forced command of this project's says of the script that it got in the place of a verb. */
const FORCED: readonly (readonly [RegExp, string, string])[] = [
  [
    /ai-server-admin: /,
    "This ssh key may only run ai-server-admin. Set AI_SERVER_SSH_MODE=wrapper, or use a key without a forced command.",
    "forced-admin",
  ],
  [
    /ai-server-ca: /,
    "This ssh key may only run ai-server-ca. Use it in AI_SERVER_CA_HOST alone, and another one for AI_SERVER_SSH_HOST.",
    "forced-ca",
  ],
];

/** In the order in which they are looked for: the words of OpenSSH's clients, 7.4 to 10. */
const SENTENCES: readonly (readonly [RegExp, Sentence])[] = [
  [
    /REMOTE HOST IDENTIFICATION HAS CHANGED|host key for .* has changed/i,
    (at, stderr) =>
      `The host key of ${at.host} is not the one in known_hosts. Unless the server was reinstalled, this may be a man-in-the-middle attack. On the server itself, "ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub" shows the right fingerprint; only if it is new, run: ssh-keygen -R ${quote(known(at, stderr))} && ${login(at)}`,
  ],
  [
    /Host key verification failed|No .* host key is known/i,
    (at) =>
      `This machine does not know the host key of ${at.host} yet. Run "${login(at)}" once in a terminal and compare the fingerprint with what "ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub" shows on the server.`,
  ],
  [
    /Could not resolve hostname|Name or service not known|nodename nor servname/i,
    (at, stderr) => {
      const name = /resolve hostname (\S+?):/i.exec(cleanText(stderr))?.[1] ?? at.host;
      const which = at.host.endsWith(name)
        ? `The name in AI_SERVER_SSH_HOST (${at.host})`
        : `The name ${name.slice(0, 255)}, which ~/.ssh/config gives for ${at.host} (HostName, ProxyJump),`;
      return `${which} is not known. Check it, and this machine's network.`;
    },
  ],
  [
    /No route to host|Network is unreachable|Host is down/i,
    (at) => `${at.host} is unreachable. Check this machine's network or VPN.`,
  ],
  [
    // A banner of the server's may speak of time-outs too.
    /(Connection|Operation|port \d+) timed out|^Timeout, server/im,
    (at) =>
      `${at.host} did not answer ssh within ${at.connectTimeoutMs / 1000} s. The machine may be off, or a firewall drops the packets.`,
  ],
  [
    /Connection refused/i,
    (at) =>
      `${at.host} refuses ssh connections. The ssh server may be stopped, or listen on another port (set Port in ~/.ssh/config).`,
  ],
  [
    /Bad configuration option|terminating, \d+ bad|Bad owner or permissions|invalid .*configuration/i,
    (_at, stderr) => `ssh refuses its own configuration on this machine: ${lastLines(stderr)}`,
  ],
  [
    /UNPROTECTED PRIVATE KEY FILE|bad permissions/i,
    (at) =>
      `ssh ignores a private key that others can read. Run chmod 600 on the key file; "${login(at)}" names it.`,
  ],
  [
    /Too many authentication failures/i,
    (at) =>
      `${at.host} gave up after too many keys. Name the right one in ~/.ssh/config with IdentityFile and IdentitiesOnly yes.`,
  ],
  [
    /Load key .*: (?:invalid format|error in libcrypto)/i,
    (_at, stderr) =>
      `ssh cannot read a private key of this machine: the file is damaged, or in a format that it does not know. It says: ${lastLines(stderr)}`,
  ],
  [
    /Permission denied(?:,| \()|sign_and_send_pubkey|no such identity/i,
    (at) =>
      `${at.host} does not accept this user's key (permission denied). Try "${login(at)}": add the key with ssh-copy-id, load it with ssh-add if it has a passphrase, or set the right user in AI_SERVER_SSH_HOST.`,
  ],
  [
    /: (?:command )?not found|command not found: /i,
    (at, stderr) =>
      `The ProxyCommand for ${at.host} in ~/.ssh/config starts a program that this machine does not have. Install it, or take the line out. It says: ${lastLines(stderr)}`,
  ],
  [
    /Unprivileged users are not permitted/i,
    (at) => `${at.host} is starting or shutting down, and lets only root in. Try again in a minute.`,
  ],
  [
    /Unable to negotiate/i,
    (at, stderr) =>
      `ssh on this machine and ${at.host} have no algorithm in common. Update the older of the two, or allow what it offers in ~/.ssh/config. It says: ${lastLines(stderr)}`,
  ],
  [
    /kex_exchange_identification|Connection (?:closed|reset) by|banner exchange/i,
    (at) =>
      `${at.host} ended the ssh connection before the login. It may have blocked this address for a while, or have too many connections.`,
  ],
  [
    /Broken pipe|closed by remote host|connection lost|client_loop|mux_client/i,
    (at) => `The ssh connection to ${at.host} broke off.`,
  ],
];

function lastLines(stderr: string): string {
  const lines = cleanText(stderr, 400)
    .split("\n")
    .filter((line) => line.trim() !== "");
  return lines.slice(-3).join(" ");
}

/** Files that a login shell reads also for a single command, as far as it is known which shell that is. */
const STARTUP_FILES =
  "~/.bashrc of bash, ~/.zshenv of zsh, ~/.cshrc of csh, ~/.config/fish/config.fish of fish";

/** What a shell of Windows says of a command that it does not find; the first is cmd.exe's in three languages. */
const WINDOWS =
  /operable program or batch file|Batch-?datei|fichier de commandes|CommandNotFoundException|as (?:a|the) name of a cmdlet/i;

/** By what another program shows itself that reads what was meant for `sh`, and its name. */
const OTHERS: readonly (readonly [RegExp, string])[] = [
  [/\bfish: /, "fish"],
  [/\bnu::/, "nu"],
  [/^tmux: |open terminal failed/m, "tmux"],
  [/not a (?:terminal|tty)|connected to a terminal/i, "a program for terminals"],
  // The first line of a request, taken for a command.
  [/\bai-server-1\b.*not found|(?:not found|unknown command).*\bai-server-1\b/i, "another shell"],
];

/** The sentence for a login that did not lead to `sh`, or undefined. */
function loginFault({ host }: SshTarget, code: number | null, stderr: string): string | undefined {
  if (WINDOWS.test(stderr)) {
    return `${host} is a Windows machine: its login shell is cmd.exe or PowerShell, and there is no sh. Set AI_SERVER_SSH_HOST to the Linux or macOS system that runs the model server; with WSL, to an ssh server inside it.`;
  }
  const other = code === MISREAD ? "another program" : OTHERS.find(([pattern]) => pattern.test(stderr))?.[1];
  if (other === undefined) return undefined;
  return `On ${host}, ${other} received the commands meant for sh, and nothing was run: a startup file of the login shell there starts it with exec, or reads the input itself. It must do so only in a terminal: in ~/.bashrc put "case $- in *i*) ;; *) return ;; esac" before it (the files are ${STARTUP_FILES}).`;
}

/** What a server says to an account that is let in and gets no command run; nologin writes it to its output. */
const NO_COMMANDS =
  /account is currently not available|(?:password|account) has expired|sftp connections only|(?:exec|shell) request failed on channel|restricted: cannot specify/i;

/**
 * The sentence for an `ssh` that ended without the script's answer.
 *
 * @param stdout what came in place of the answer
 */
export function sshFault(target: SshTarget, code: number | null, stderr: string, stdout = ""): HostError {
  const { host, mode } = target;
  const refusal = [stderr, stdout.slice(0, 2000)].find((text) => NO_COMMANDS.test(text));
  if (refusal !== undefined) {
    return sshError(
      `${host} runs no commands for this account. Check on the server whether it has a login shell, and whether it has expired. It says: ${lastLines(refusal)}`,
    );
  }
  const forced = FORCED.find(([pattern]) => pattern.test(stderr));
  if (forced !== undefined) return sshError(forced[1], forced[2]);
  const row = SENTENCES.find(([pattern]) => pattern.test(stderr));
  if (row !== undefined && code === 255) return sshError(row[1](target, stderr));
  const there = loginFault(target, code, stderr);
  if (there !== undefined) return sshError(there);
  if (code === 127) {
    const what =
      mode === "wrapper"
        ? "AI_SERVER_SSH_MODE is wrapper, but the key that is used there has no forced command, or it was not found"
        : "its login shell found no sh";
    return sshError(`${host} could not run the command: ${what}.`);
  }
  const said = lastLines(stderr);
  if (code === 255 && said !== "")
    return sshError(
      `ssh opened no session on ${host}. Try "${login(target)}" in a terminal. It says: ${said}`,
    );
  const how = code === null ? "was ended" : `ended with ${code}`;
  const quoted = said === "" ? "" : ` It says: ${said}`;
  return sshError(
    `ssh to ${host} ${how} without an answer from the script. If a startup file of the login shell there (${STARTUP_FILES}) reads the input, ends the shell or starts another one, it must do so only in a terminal.${quoted}`,
    "unanswered",
  );
}

/**
 * The sentence for a call that took too long.
 *
 * @param begun whether the script there had begun its answer
 */
export function lateFault({ host }: SshTarget, timeoutMs: number, begun: boolean): HostError {
  const limit = wholeSeconds(timeoutMs);
  const sentence =
    host === "local" || begun
      ? `${host === "local" ? "This machine" : host} did not finish the step within ${limit}. It may be overloaded, or a command there waits for something.`
      : `${host} did not begin the step within ${limit}. A startup file of the login shell there (${STARTUP_FILES}) may be waiting for something, which it must do only in a terminal; or the machine is overloaded.`;
  return sshError(sentence, "timeout");
}

/** The sentence for an `ssh` or `sh` that could not be started here. */
export function spawnFault(program: string, error: unknown): HostError {
  const hint =
    program === "ssh"
      ? "Install OpenSSH's client (on Debian: apt-get install openssh-client)."
      : "Check PATH.";
  return sshError(`This machine cannot start ${program}. ${hint}`, "ssh", error);
}
