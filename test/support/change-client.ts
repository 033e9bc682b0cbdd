// One change as a process of its own, for tests that kill it: node change-client.ts JOB
import { spawn } from "node:child_process";
import { writeSync } from "node:fs";
import { flushCompileCache } from "node:module";
import { delimiter } from "node:path";
import { RemoteMachine } from "../../host/ssh/machine.ts";
import { Shell, type ShellSettings, type Spawn } from "../../host/ssh/shell.ts";
import { FakeServer, fakePlan } from "./fake-server.ts";
import { changeAt } from "./whole-change.ts";

/** The process's orders, as JSON. */
export interface ClientJob {
  settings: ShellSettings;
  /** Programs that come first on PATH, for a server that is this machine. */
  tools?: string;
  /** The file in which the fake systemctl counts. */
  restarts: string;
  /** The file itself, where `settings` name it otherwise. */
  config?: string;
  /** For ssh. */
  sshConfig?: string;
}

// A process that is killed writes no cache at its end.
flushCompileCache();
const job = JSON.parse(process.argv[2] ?? "") as ClientJob;
if (job.tools !== undefined) process.env.PATH = `${job.tools}${delimiter}${process.env.PATH}`;
const options = job.sshConfig === undefined ? [] : ["-F", job.sshConfig];
const here = ((program: string, args: string[], how: object) =>
  spawn(program, [...options, ...args], how)) as Spawn;
const host = {
  machine: new RemoteMachine(new Shell(job.settings, here), 5000),
  probe: new FakeServer(job.config ?? job.settings.presetPath, job.restarts),
  limits: { restartTimeoutMs: 5000, loadTimeoutMs: 500, pollMs: 20 },
};
writeSync(1, "read begun\n");
const outcome = await changeAt(host, fakePlan(2048), {
  report: ({ step, state }) => writeSync(1, `${step} ${state}\n`),
});
writeSync(1, `${outcome.kind}\n`);
process.exit();
