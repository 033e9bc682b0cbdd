import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import { fileURLToPath } from "node:url";
import { onTestFinished } from "vitest";

/** What systemd 252's own programs printed for a unit `llama-swap.service` of the user's in one of these states. */
type UnitState = "good" | "disabled" | "stopped" | "broken" | "none" | "masked" | "static";

export function recordedSystemd(name: string): string {
  return readFileSync(fileURLToPath(new URL(`../fixtures/systemd-252/${name}`, import.meta.url)), "utf8");
}

/** A machine's programs, in the place of the real ones; what is left out is as it should be. */
export interface SystemdParts {
  state?: UnitState;
  /** In the place of what is recorded. */
  show?: string;
  unit?: string;
  verify?: string;
  /** What the machine's own systemd says of a unit of that name. */
  system?: string;
  linger?: string;
  journal?: string;
  kernel?: string;
  /** What the user's journal has of the unit's own processes. */
  unitKernel?: string;
  /** `total used available` in KiB. */
  disk?: string;
  /** What `enable`, `enable-linger` and `daemon-reload` run, after a line in the file `asked`. */
  does?: string;
  /** More for the script of systemctl: cases of its second word. */
  systemctl?: string;
}

const UNIT_FILES: Partial<Record<UnitState, string>> = { broken: "broken.cat", static: "static.cat" };
const NO_UNIT = new Set<UnitState>(["none", "masked"]);

/** A block of a script that prints a text as it is. */
function printing(text: string): string {
  return text === "" ? ":" : `cat <<'END_OF_RECORDING'\n${text.replace(/\n$/, "")}\nEND_OF_RECORDING\n`;
}

/** Puts programs that print what real ones printed before all others on a machine's path. */
export function installSystemd(host: { tool(name: string, script: string): void }, parts: SystemdParts = {}) {
  const { state = "good", does = ":" } = parts;
  const show = parts.show ?? recordedSystemd(`${state}.show`);
  const unit = parts.unit ?? (NO_UNIT.has(state) ? "" : recordedSystemd(UNIT_FILES[state] ?? "good.cat"));
  const verify = parts.verify ?? (state === "broken" ? recordedSystemd("broken.verify") : "");
  const cat = unit === "" ? "exit 1" : printing(unit);
  host.tool(
    "systemctl",
    `case $1:$2 in
show:*) ${printing(parts.system ?? "LoadState=not-found\nActiveState=inactive")} ;;
--user:show) ${printing(show)} ;;
--user:cat) ${cat} ;;
${parts.systemctl ?? ""}
--user:*) ${does} ;;
esac`,
  );
  host.tool("systemd-analyze", `${printing(verify)}[ -z '${verify === "" ? "" : "x"}' ]`);
  host.tool(
    "loginctl",
    `case $1 in show-user) ${printing(parts.linger ?? "Linger=yes")} ;; *) ${does} ;; esac`,
  );
  const journal = parts.journal ?? "2026-11-30T19:00:00+0000 host llama-swap[4711]: listening on :8080";
  host.tool(
    "journalctl",
    `case $1:$2 in
-k:*) ${printing(parts.kernel ?? "2026-11-30T18:00:00+0000 host kernel: Linux version 6.1.0")} ;;
--user:-u) ${printing(journal)} ;;
*) ${printing(parts.unitKernel ?? "")} ;;
esac`,
  );
  host.tool("dmesg", "exit 1");
  const disk = parts.disk ?? "1000000000 400000000 600000000";
  const [total = "", used = "", free = ""] = disk.split(" ");
  host.tool(
    "df",
    `echo 'Filesystem 1024-blocks Used Available Capacity Mounted on'; echo '/dev/mapper/a disk  ${total} ${used} ${free}  40% /srv/the models'`,
  );
}

/** The same for this machine, until the test is over. */
export function installSystemdHere(parts: SystemdParts = {}): void {
  const tools = mkdtempSync(join(tmpdir(), "systemd-tools-"));
  const before = process.env.PATH ?? "";
  process.env.PATH = `${tools}${delimiter}${before}`;
  onTestFinished(() => {
    process.env.PATH = before;
    rmSync(tools, { recursive: true, force: true });
  });
  const tool = (name: string, script: string): void =>
    writeFileSync(join(tools, name), `#!/bin/sh\n${script}\n`, { mode: 0o755 });
  installSystemd({ tool }, parts);
}
