import type { SafeChange } from "../../host/change.ts";
import type { ChangeOutcome, ChangeRequest, Options, Planned } from "../../host/outcome.ts";

/** How one change is carried out. */
export interface Hooks extends Options {
  /** Called between the plan and the change itself. */
  seen?(planned: Planned): void;
}

/** Plans a change and applies it. @throws where the file already says so */
export async function changeAt(
  safe: SafeChange,
  request: ChangeRequest,
  hooks: Hooks = {},
): Promise<ChangeOutcome> {
  return applied(safe, await safe.plan(request, hooks), hooks);
}

/** Plans to restore a backup and does it. @throws where the file already says so */
export async function restoreAt(
  safe: SafeChange,
  stamp: string,
  file: string,
  hooks: Hooks = {},
): Promise<ChangeOutcome> {
  return applied(safe, await safe.planRestore(stamp, file, hooks), hooks);
}

function applied(safe: SafeChange, planned: Planned | undefined, hooks: Hooks): Promise<ChangeOutcome> {
  if (planned === undefined) throw new Error("There is nothing to change");
  hooks.seen?.(planned);
  return safe.apply(planned, hooks);
}
