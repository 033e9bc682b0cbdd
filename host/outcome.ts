/** What a change is asked, what it asks, and how it can end. Plain data. */
import type { RunningModel } from "../server/models/models.ts";
import type { Slots } from "./config/context-setting.ts";
import type { ContextVerdict } from "./probe.ts";
import type { HostFile, UnitStatus, Written } from "./ssh/machine.ts";
import type { Expected, Report, StepName } from "./steps.ts";

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

/** What is to be written. */
export interface Draft<P extends Plan = Plan> {
  readonly file: HostFile;
  readonly plan: P;
  readonly newHash: string;
  write(signal: AbortSignal | undefined): Promise<Written>;
  /** Whether the new text changes a model. */
  isChanged(id: string): boolean;
  /** The models whose command lines show that the server has read the new text. */
  readonly expected: readonly Expected[];
  /** Absent where no single model is changed, as when a backup is restored. */
  readonly modelId?: string;
}

/** A change before it is applied, and what it would do: what a user needs to see before agreeing. */
export interface Planned<P extends Plan = Plan> extends Draft<P> {
  readonly loaded: readonly RunningModel[];
  /** Whether the change unloads this one; a reload keeps the models that it does not change. */
  isUnloaded(id: string): boolean;
  readonly unit: UnitStatus;
  /** The server is asked to read the file again, and restarted only if it does not know how. */
  readonly reloads: boolean;
}

export interface Options {
  report?: Report | undefined;
  signal?: AbortSignal | undefined;
}

/** In which state the file is: `other` is what somebody else wrote meanwhile. */
export type FileState = "old" | "new" | "other" | "unknown";

export type ChangeOutcome =
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
