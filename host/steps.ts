/** The steps of a change, what is told of them, and how long each may take. */

/** The steps of a change, in their order; `restore` begins the way back. */
export type StepName =
  | "read"
  | "plan"
  | "status"
  | "write"
  | "reload"
  | "await reload"
  | "restart"
  | "answer"
  | "load"
  | "verify"
  | "load again"
  | "restore";

/** One step as it begins or ends. */
export interface Progress {
  step: StepName;
  state: "begun" | "done" | "failed";
  /** The model that is loaded. */
  id: string | undefined;
  /** Milliseconds since the step began. */
  elapsedMs: number;
  /** On the way back to the old configuration. */
  isGoingBack: boolean;
}

export type Report = (progress: Progress) => void;

/** In milliseconds. */
export interface Limits {
  /** For a restart, and again for the server to answer. */
  restartTimeoutMs: number;
  /** For one model to load. */
  loadTimeoutMs: number;
  /** Between two questions whether the server answers again. Default 500. */
  pollMs?: number;
  /** For llama-swap to notice a changed file by itself. Default 10000: it looks every 2 s. */
  reloadTimeoutMs?: number;
  /** Between two attempts to load while a reload may still be stopping old processes. Default 5000. */
  retryMs?: number;
  /** How long after a reload a process of before may hold its model's port. Default 35000: it is killed after 30 s. */
  portHeldMs?: number;
}

export interface Clock {
  now(): number;
  sleep(ms: number, signal?: AbortSignal): Promise<void>;
}

/** By which a model of a new configuration is known. */
export interface Expected {
  readonly id: string;
  isNew(commandLine: string): boolean;
}

/** Which step failed; the reason is the cause. */
export class StepFailed extends Error {
  readonly step: StepName;

  constructor(step: StepName, cause: unknown) {
    super(`${step} failed`, { cause });
    this.step = step;
  }
}
