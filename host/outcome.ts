/** What a change is, what the user sees of it, its steps, and how it can end. Plain data. */
import type { Slots } from "./config/context-setting.ts";
import type { ContextVerdict, LoadedModel } from "./probe.ts";
import type { HostFile, UnitStatus } from "./ssh/machine.ts";

/** One file as it was read, and the text that should take its place. */
export interface Edit {
  /** It is replaced only while it still has this text. */
  file: HostFile;
  text: string;
  /** The only model that the text changes or brings in; absent where a backup is restored. */
  model?: ChangedModel;
  /** The only model that the text takes out; `model` is absent then. */
  removed?: RemovedModel;
  /** Time stamp of the backup that has the text; absent where the text is new. */
  backup?: string;
}

export interface ChangedModel {
  /** As `/running` lists it. */
  id: string;
  /** The `--ctx-size` that the text gives it; absent where its window is not to be checked. */
  contextSize?: number;
  /** What the text says about slots: the environment or a script may hide it from the command line. */
  slots?: Slots;
  /** The text brings it in: until the server has read that, it does not know the model. */
  isAdded?: boolean;
}

export interface RemovedModel {
  /** As the server lists it. */
  id: string;
  /** A router may have found the model itself: without its section it may still list it. */
  mayStay?: boolean;
}

/** A change before it is applied, and what it would do: what a user needs to see before agreeing. */
export interface Planned extends Edit {
  unit: UnitStatus;
  /** The server will be asked to read the file again, and restarted only if it cannot. */
  reloads: boolean;
  loaded: readonly LoadedModel[];
  /** Ids of the loaded models that the change unloads. */
  unloads: readonly string[];
}

export interface Options {
  report?: ((progress: Progress) => void) | undefined;
  signal?: AbortSignal | undefined;
}

/** The steps of a change, in their order; `restore` begins the way back. */
export type StepName =
  | "read"
  | "status"
  | "write"
  | "reload"
  | "await reload"
  | "restart"
  | "answer"
  | "load"
  | "verify"
  /** The server no longer offers the model that was taken out. */
  | "verify gone"
  | "load again"
  | "restore";

/** One step as it begins or ends. */
export interface Progress {
  step: StepName;
  state: "begun" | "done" | "failed";
  id: string | undefined;
  /** On the way back to the old configuration. */
  isGoingBack: boolean;
}

/** Which text the file has; `other` is neither the old nor the new one. */
export type FileState = "old" | "new" | "other" | "unknown";

export type ChangeOutcome =
  /** Nothing was written. `current` is the file where another program has changed it meanwhile. */
  | { kind: "refused"; reason: string; current: HostFile | undefined }
  | {
      kind: "changed";
      backup: string | undefined;
      context: ContextVerdict | undefined;
      notes: string[];
      /** Nothing shows whether the server has read the new text. */
      isUnseen?: boolean;
    }
  /** A step failed. `isHealthy`: the server answers with the old text. */
  | {
      kind: "rolled back";
      failed: StepName;
      reason: string;
      /** The server's own words about it, where the reason does not quote them; secrets are not masked. */
      log: readonly string[];
      file: FileState;
      isHealthy: boolean;
      /** What went wrong on the way back, empty when nothing did. */
      trouble: string;
      backup: string | undefined;
      notes: string[];
    }
  /** The caller's signal ended it. The file is whole in either state. */
  | { kind: "cancelled"; file: FileState; backup: string | undefined };
