/** What adding a model to the config, and removing one, is asked with and gives. Plain data. */
import type { ContextSetting } from "./context-setting.ts";
import type { Edit } from "./traced-text.ts";

/** A model that the config is to get. */
export interface NewModel {
  /** As requests will name it. */
  readonly id: string;
  /** The model whose block is the pattern; absent for a `llama-server` command of its own. */
  readonly from?: string | undefined;
  /** The `llama-server` to start where no model is the pattern; absent for the one on the path. */
  readonly program?: string | undefined;
  /**
   * The GGUF's absolute path on the server, of several shards the first. Absent for a model that llama.cpp's router
   * finds itself: its section then says the size alone.
   */
  readonly file?: string | undefined;
  /** The absolute path of its projector on the server; absent for none. */
  readonly mmproj?: string | undefined;
  /** For all slots together, as `--ctx-size` takes it; absent for that of the pattern, or none. */
  readonly context?: number | undefined;
}

/** A new text that was proven to have one model more and to be the same otherwise. */
export interface Addition {
  readonly text: string;
  /** What turns the old text into the new one. */
  readonly edits: readonly Edit[];
  /** The new model's context size. */
  readonly setting: ContextSetting;
  /** Sentences: what of the pattern was left out, and what was taken over that may not fit. */
  readonly warnings: readonly string[];
}

/** A new text that was proven to lack one model and what names it, and to be the same otherwise. */
export interface Removal {
  readonly text: string;
  /** Sentences: what else of the config changes with it. */
  readonly alsoChanged: readonly string[];
  /** Sentences: what stays as it is and may surprise. */
  readonly notes: readonly string[];
  /**
   * Absolute paths on the server, each of a GGUF that this model's command names and no other one, all shards of each.
   * Links are not followed here.
   */
  readonly files: readonly string[];
}

/** Another file of the same folder, which llama-swap reads together with this one. */
export interface OtherFile {
  readonly name: string;
  readonly text: string;
}
