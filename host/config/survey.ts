/** What a config says of its models and of the server, for a look at it as a whole. Plain data. */
import type { ModelStart } from "./command/model-start.ts";
import type { ContextSetting } from "./context-setting.ts";

/** One model of a config. Whatever is not set, or not understood, is undefined. */
export interface ModelSurvey {
  readonly id: string;
  readonly line: number;
  readonly setting: ContextSetting;
  readonly start: ModelStart | undefined;
  /** `NAME=value` in the command itself. */
  readonly assignments: readonly string[];
  readonly isUnlisted: boolean;
  /** Whether its owner says that it does not chat. */
  readonly isOther: boolean;
  /** `capabilities.context`: what its owner says of the window of one request. */
  readonly declared: number | undefined;
  /** Seconds; undefined where the value for all models holds. */
  readonly ttl: number | undefined;
  /** The address that llama-swap forwards to, where it is not the usual one. */
  readonly proxy: string | undefined;
  /** What keeps llama-swap from starting it, or itself: a clause. */
  readonly fault: string | undefined;
}

/** A name that means two things, as a sentence. */
export interface Clash {
  readonly name: string;
  readonly what: string;
  /** Whether the server does not start with it. */
  readonly isFatal: boolean;
}

/** What llama-swap's config sets for all models. */
export interface SwapSurvey {
  /** Seconds; undefined for llama-swap's own value. */
  readonly healthCheckTimeout: number | undefined;
  /** Seconds; 0 is never. */
  readonly globalTtl: number;
  /** Whether llama-swap writes the progress of a load into the answers of all models, or of some. */
  readonly sendsLoading: boolean;
  /** Whether two models may be loaded at the same time. */
  mayRunTogether(one: string, other: string): boolean;
}

export interface ConfigSurvey {
  readonly models: readonly ModelSurvey[];
  readonly clashes: readonly Clash[];
  /** Sentences about keys that are ignored and were probably meant to be others. */
  readonly slips: readonly string[];
  /** Undefined for a preset. */
  readonly swap: SwapSurvey | undefined;
}
