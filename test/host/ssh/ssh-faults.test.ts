import { expect, test } from "vitest";
import { lateFault, spawnFault, sshFault } from "../../../host/ssh/ssh-faults.ts";

const AT = { host: "ai-server@192.0.2.3", connectTimeoutMs: 10_000, mode: "direct" } as const;

test.each([
  ["ssh: Could not resolve hostname nowhere: Name or service not known", /is not known/],
  ["ssh: connect to host 192.0.2.3 port 22: No route to host", /ai-server@192\.0\.2\.3 is unreachable/],
  ["ssh: connect to host 192.0.2.3 port 22: Network is unreachable", /network or VPN/],
  ["ssh: connect to host 192.0.2.3 port 22: Connection timed out", /within 10 s/],
  ["Connection timed out during banner exchange", /within 10 s/],
  ["ssh: connect to host 192.0.2.3 port 22: Operation timed out", /within 10 s/],
  ["Connection to 192.0.2.3 port 22 timed out", /within 10 s/],
  ["Timeout, server 192.0.2.3 not responding.", /within 10 s/],
  [
    "Idle sessions are timed out. Login timeout: 60 s.\nai-server@192.0.2.3: Permission denied (publickey).",
    /permission denied/,
  ],
  ["ssh: connect to host 192.0.2.3 port 22: Connection refused", /refuses ssh connections/],
  [
    "Host key verification failed.",
    /Run "ssh ai-server@192\.0\.2\.3" once .* ssh-keygen -lf|does not know the host key/,
  ],
  [
    "No ED25519 host key is known for 192.0.2.3 and you have requested strict checking.\nHost key verification failed.",
    /compare the fingerprint with what "ssh-keygen -lf/,
  ],
  [
    "@ WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED! @\nHost key for [192.0.2.3]:2222 has changed and you have requested strict checking.\nHost key verification failed.",
    /ssh-keygen -R '\[192\.0\.2\.3\]:2222' && ssh ai-server@192\.0\.2\.3$/,
  ],
  ["ai-server@192.0.2.3: Permission denied (publickey,password).", /ssh-copy-id/],
  ["Received disconnect: Too many authentication failures", /IdentitiesOnly yes/],
  ["kex_exchange_identification: Connection closed by remote host", /before the login/],
  ["client_loop: send disconnect: Broken pipe", /broke off/],
  ["/home/u/.ssh/config: line 3: Bad configuration option: foo", /its own configuration/],
  ["WARNING: UNPROTECTED PRIVATE KEY FILE!\nbad permissions", /chmod 600/],
  [
    "ssh: Could not resolve hostname jump: Name or service not known\nkex_exchange_identification: Connection closed by remote host",
    /^The name jump, which ~\/\.ssh\/config gives for ai-server@192\.0\.2\.3 \(HostName, ProxyJump\), is not known/,
  ],
  [
    "/bin/sh: 1: exec: cloudflared: not found\nkex_exchange_identification: Connection closed by remote host",
    /^The ProxyCommand .* exec: cloudflared: not found/,
  ],
  ["bash: line 1: nc: command not found\nConnection closed by UNKNOWN port 65535", /^The ProxyCommand/],
  [
    "Unable to negotiate with 192.0.2.3 port 22: no matching host key type found. Their offer: ssh-rsa",
    /no algorithm in common.*Their offer: ssh-rsa/,
  ],
  [
    'Load key "/home/u/.ssh/id": invalid format\nai-server@192.0.2.3: Permission denied (publickey).',
    /cannot read a private key.*\.ssh\/id": invalid format/,
  ],
  [
    "System is booting up. Unprivileged users are not permitted to log in yet.\nConnection closed by 192.0.2.3 port 22",
    /is starting or shutting down/,
  ],
  ["unix_listener: cannot bind to path /tmp/x: Permission denied", /opened no session.*cannot bind/],
  [
    "percent_expand: unknown key %Z",
    /opened no session on .*Try "ssh ai-server@192\.0\.2\.3".*unknown key %Z$/,
  ],
])("%s", (stderr, sentence) => {
  expect(sshFault(AT, 255, stderr).message).toMatch(sentence);
  expect(sshFault(AT, 255, stderr)).toMatchObject({ link: "ssh", code: "ssh" });
});

test.each([
  [
    "'sh' is not recognized as an internal or external command,\r\noperable program or batch file.",
    /Windows machine.*there is no sh/,
  ],
  [
    "sh : The term 'sh' is not recognized as the name of a cmdlet, function, script file, or operable program.\n    + FullyQualifiedErrorId : CommandNotFoundException",
    /Windows machine.*there is no sh/,
  ],
  [
    'Der Befehl "sh" ist entweder falsch geschrieben oder\nkonnte nicht gefunden werden. ... Batchdatei',
    /Windows machine/,
  ],
  [
    "fish: Unsupported use of '='. In fish, please use 'set whole 0123'.",
    /fish received the commands meant for sh/,
  ],
  ["open terminal failed: not a terminal", /tmux received/],
  ["Must be connected to a terminal.", /a program for terminals received/],
  ["sh: The term 'sh' is not recognized as a name of a cmdlet, function", /Windows machine/],
  ["Error: nu::parser::parse_mismatch", /nu received the commands meant for sh/],
  ["zsh: command not found: ai-server-1", /another shell received/],
])("what answers in the place of sh is named: %s", (stderr, sentence) => {
  expect(sshFault(AT, 1, stderr).message).toMatch(sentence);
});

test.each([
  [1, "", "motd\nThis account is currently not available.\n"],
  [1, "WARNING: Your password has expired.\nPassword change required but no TTY available.", ""],
  [1, "This service allows sftp connections only.", ""],
  [1, "exec request failed on channel 0", ""],
  [1, "rbash: /bin/sh: restricted: cannot specify `/' in command names", ""],
])("an account that gets no command run is named as the cause: %i %s%s", (code, stderr, stdout) => {
  expect(sshFault(AT, code, stderr, stdout).message).toMatch(/runs no commands for this account.*It says: ./);
});

test("a call that took too long names the startup files where the script had not begun", () => {
  expect(lateFault(AT, 25_000, true).message).toMatch(/did not finish the step within 25 s/);
  expect(lateFault(AT, 25_000, false).message).toMatch(/did not begin the step within 25 s.*~\/\.bashrc/);
  expect(lateFault({ ...AT, host: "local" }, 1, false).message).toMatch(/^This machine did not finish/);
});

test("other ends have sentences too, with what ssh said cleaned and shortened", () => {
  expect(sshFault(AT, 127, "sh: not found").message).toMatch(/found no sh/);
  expect(sshFault({ ...AT, mode: "wrapper" }, 127, "").message).toMatch(/no forced command/);
  expect(sshFault(AT, 1, "ai-server-admin: read, list").message).toMatch(/AI_SERVER_SSH_MODE=wrapper/);
  const odd = sshFault(AT, 3, `\u001b[31mred\u0007 ${"x".repeat(5000)}`);
  expect(odd.message).toMatch(/ended with 3 without an answer/);
  expect(odd.message).not.toContain("\u001b");
  expect(odd.message.length).toBeLessThan(900);
  expect(sshFault(AT, null, "").message).toMatch(/was ended without an answer/);
  expect(spawnFault("ssh", new Error("ENOENT")).message).toMatch(/openssh-client/);
});
