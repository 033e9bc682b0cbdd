/** One change's papers: what shall be written, what was found about it, and how it is told when it failed. */
import { ServerError, sentenceOf } from "../lib/errors.ts";
import type { ChangeOutcome, FileState, Plan } from "./outcome.ts";
import type { HostFile, UnitStatus, Written } from "./ssh/machine.ts";
import { HostError } from "./ssh/ssh-faults.ts";
import { type Expected, StepFailed } from "./steps.ts";

/** What was found out about the file after a write whose answer was lost. */
export interface Found {
  state: FileState;
  backup: string | undefined;
}

/** What is to be written, before anybody has agreed to it. */
export interface Draft<P extends Plan = Plan> {
  file: HostFile;
  plan: P;
  newHash: string;
  write(signal: AbortSignal | undefined): Promise<Written>;
  /** Whether a model comes out of the new text as another. */
  isChanged(id: string): boolean;
  /** By what it shows that the server has read the new text. */
  expected: readonly Expected[];
  /** Absent where no single model is changed, as when a backup is put back. */
  model?: { id: string; plan: Plan };
}

export interface Job extends Omit<Draft, "plan"> {
  unit: UnitStatus;
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
