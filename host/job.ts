/** What was found out about a change that failed, as data. */
import { ServerError, sentenceOf } from "../lib/errors.ts";
import type { ChangeOutcome, FileState } from "./outcome.ts";
import type { HostFile } from "./ssh/machine.ts";
import { HostError } from "./ssh/ssh-faults.ts";
import { StepFailed } from "./steps.ts";

/** What was found out about the file after a write whose answer was lost. */
export interface Found {
  state: FileState;
  backup: string | undefined;
}

/** The errors that say for sure that the file is still the old one, or somebody else's: the script answered. */
export function isAnswered(error: unknown): error is HostError {
  return error instanceof HostError && !["unanswered", "timeout", "ssh"].includes(error.code);
}

export function rolledBack(
  error: StepFailed,
  log: readonly string[],
  found: Found,
  end: { isHealthy: boolean; trouble: string; notes: string[] },
): ChangeOutcome {
  const reason = sentenceOf(error.cause);
  return {
    kind: "rolled back",
    failed: error.step,
    reason,
    log,
    file: found.state,
    backup: found.backup,
    ...end,
  };
}

export function causeOf(error: unknown): unknown {
  return error instanceof StepFailed ? error.cause : error;
}

export function onlyFile(files: readonly HostFile[]): HostFile {
  const [file, ...others] = files;
  if (file !== undefined && others.length === 0) return file;
  const how = file === undefined ? "holds no config file" : "holds several files";
  throw new ServerError(`AI_SERVER_PRESET_PATH is a folder that ${how}. Set it to the file itself.`, {
    link: "config file",
    remedy: "none",
  });
}
