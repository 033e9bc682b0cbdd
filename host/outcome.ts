/** What a change is asked, what it asks, and how it can end. Plain data. */
import type { RunningModel } from "../server/models/models.ts";
import type { Slots } from "./config/context-setting.ts";
import type { ContextVerdict } from "./probe.ts";
import type { HostFile, UnitStatus } from "./ssh/machine.ts";
import type { Report, StepName } from "./steps.ts";

/** What shall stand in the file, and how it shows in the server. */
export interface Plan {
  /** The whole new text. */
  text: string;
  /** Whether a command line that `/running` shows comes from the new text. */
  isNew(commandLine: string): boolean;
  /** The `--ctx-size` that the text sets, when the live window is to be compared with it. */
  contextSize?: number;
  /** What the text says of the slots, which the environment or a script may hide from the command line. */
  slots?: Slots;
}

export interface ChangeRequest<P extends Plan = Plan> {
  /** The id under which `/running` lists the model. */
  modelId: string;
  /** Which of a folder's files defines the model. Default: the only one. @throws {ServerError} */
  pick?(files: readonly HostFile[]): HostFile;
  /** @throws {ServerError} a refusal, with nothing done yet */
  plan(text: string, file: HostFile): P;
}

/** What the user is asked about. */
export interface Preview<P extends Plan = Plan> {
  file: HostFile;
  plan: P;
  loaded: readonly RunningModel[];
  /** Whether one of them is unloaded by the change; a reload leaves alone what it does not change. */
  isUnloaded(id: string): boolean;
  unit: UnitStatus;
  /** The server is asked to read the file again, and restarted only if it does not know how. */
  reloads: boolean;
}

export interface ChangeHooks<P extends Plan = Plan> {
  confirm(preview: Preview<P>): Promise<boolean>;
  report?: Report;
  signal?: AbortSignal | undefined;
}

/** In which state the file is: `other` is what somebody else wrote meanwhile. */
export type FileState = "old" | "new" | "other" | "unknown";

export type ChangeOutcome =
  /** The file already says so; nothing was done. */
  | { kind: "unchanged" }
  | { kind: "declined" }
  /** Nothing was written. `current` is the file as somebody else changed it meanwhile. */
  | { kind: "refused"; reason: string; current: HostFile | undefined }
  | {
      kind: "changed";
      backup: string | undefined;
      context: ContextVerdict | undefined;
      notes: string[];
      /** Nothing shows whether the server has read the new text. */
      isUnseen?: boolean;
    }
  /** A step failed. `file` tells whether the old text is back, `isHealthy` whether the server answers with it. */
  | {
      kind: "rolled back";
      failed: StepName;
      reason: string;
      /** The server's own words about it; not cleared of secrets. */
      log: readonly string[];
      file: FileState;
      isHealthy: boolean;
      /** What went wrong on the way back, empty when nothing did. */
      trouble: string;
      backup: string | undefined;
      notes: string[];
    }
  /** The caller's signal ended it during `during`. The file is whole in either state. */
  | { kind: "cancelled"; during: StepName; file: FileState; backup: string | undefined };
