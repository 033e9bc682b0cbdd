import { join } from "node:path";
import { expect, test } from "vitest";
import { type Answer, type HostRequest, sha256 } from "../../host/ssh/protocol.ts";
import type { Shell } from "../../host/ssh/shell.ts";
import { InProcessShell } from "./in-process-shell.ts";
import { FILE, LocalHost } from "./local-host.ts";

const OLD = "models: {}\n";
const NEW = "models: { a: {} }\n";

/** One verb after the other, with every answer. A stamp is replaced by its place among the answers. */
async function answersOf(host: LocalHost, shell: Pick<Shell, "ask">): Promise<Answer[]> {
  const answers: Answer[] = [];
  const ask = async (...verb: [string, ...string[]]): Promise<Answer> => {
    const request: HostRequest = { verb, name: FILE };
    if (verb[0] === "write") request.content = Buffer.from(NEW);
    const answer = await shell.ask(request, { timeoutMs: 15_000 });
    answers.push(answer);
    return answer;
  };
  await ask("read");
  await ask("write", "0".repeat(64));
  const { lines } = await ask("write", sha256(OLD));
  const stamp = lines.find(({ key }) => key === "stamp")?.value ?? "";
  await ask("write", sha256(NEW));
  await ask("list");
  await ask("read", stamp);
  await ask("read", "20200101T000000Z");
  await ask("restore", stamp, sha256(OLD));
  await ask("restore", stamp, sha256(NEW));
  expect(host.text).toBe(OLD);
  await ask("status");
  await ask("logs", "5");
  await ask("restart");
  await ask("pwd");
  const stamps = host.backups.map((name) => name.split(".bak-")[1] ?? "");
  const text = stamps.reduce((all, each, at) => all.replaceAll(each, `<${at}>`), JSON.stringify(answers));
  return JSON.parse(text) as Answer[];
}

test.each(["", "Job failed."])("answers each verb as the script does (restart: '%s')", async (fault) => {
  const real = new LocalHost(OLD);
  const copy = new LocalHost(OLD);
  try {
    const shell = new InProcessShell(copy);
    if (fault !== "") shell.restartFault = fault;
    real.hurryClock();
    const restart = fault === "" ? `printf r >>'${join(real.tools, "restarts")}'` : `echo '${fault}'; exit 1`;
    real.tool("systemctl", `case $2 in show) printf '%s\\n' '${shell.unit}' ;; restart) ${restart} ;; esac`);
    real.tool("journalctl", `echo '${shell.journal}'`);
    const expected = (await answersOf(real, real.shell())).map(comparable);
    expect((await answersOf(copy, shell)).map(comparable)).toEqual(expected);
  } finally {
    real.remove();
    copy.remove();
  }
});

/** Without what only a machine of its own has: whether services run without a login, and the file's name in a backup. */
function comparable({ error, detail, lines }: Answer): unknown {
  return {
    error,
    detail,
    lines: lines
      .filter(({ key }) => key !== "linger" && key !== "alive")
      .map(({ key, value, text, body }) => [key, key === "file" ? "" : value, text?.trimEnd(), body]),
  };
}
