import { applyChange, planChange, planRestore } from "../../host/change.ts";
import type { ChangeOutcome, Edit, Options, Planned } from "../../host/outcome.ts";
import type { ChangeHost } from "../../host/service.ts";
import type { HostFile } from "../../host/ssh/machine.ts";

export interface Hooks extends Options {
  /** Called between the plan and the change itself. */
  seen?(planned: Planned): void;
}

/** Reads the only file, plans a change of it and applies it. @throws where the file already says so */
export async function changeAt(
  host: ChangeHost,
  plan: (file: HostFile) => Edit,
  hooks: Hooks = {},
): Promise<ChangeOutcome> {
  const [file] = await host.machine.read(hooks.signal);
  if (file === undefined) throw new Error("The folder holds no file");
  return applied(host, await planChange(host, plan(file), hooks), hooks);
}

/** Plans to restore a backup and does it. @throws where the file already says so */
export async function restoreAt(
  host: ChangeHost,
  stamp: string,
  file: string,
  hooks: Hooks = {},
): Promise<ChangeOutcome> {
  return applied(host, await planRestore(host, stamp, file, hooks), hooks);
}

function applied(host: ChangeHost, planned: Planned | undefined, hooks: Hooks): Promise<ChangeOutcome> {
  if (planned === undefined) throw new Error("There is nothing to change");
  hooks.seen?.(planned);
  return applyChange(host, planned, hooks);
}
