/**
 * The part of the way to the model at which something failed, in the order in which a request travels.
 * `/ai-server-status` names it.
 */
export type Link =
  | "configuration"
  | "certificates"
  | "DNS"
  | "TCP"
  | "TLS"
  | "Caddy"
  | "server"
  | "model"
  | "stream"
  | "ssh"
  | "config file"
  | "unit"
  | "Hugging Face";

/**
 * What helps: `none` (asking again gives the same answer), `retry` (it may pass), `compact` (the prompt is
 * larger than the context window).
 */
export type Remedy = "none" | "retry" | "compact";

/** A sentence, or one around the server's own words: what comes before them, the words, and what comes after. */
export type Sentence = string | readonly [before: string, quote: string, after?: string];

export interface FaultDetails {
  link: Link;
  /** Default: `none`. */
  remedy?: Remedy;
  /** What failed, without cause and next step, for a line that has no room for more. Default: the whole sentence. */
  what?: string | undefined;
  /** The variable to correct, also where `/login` has stored it. */
  variable?: string | undefined;
  /** The server's own words, where nothing else shows what the fault is: pi's rules may find an overflow in them. */
  undecided?: string | undefined;
  /** The real context window in tokens, where an overflow error names it. */
  contextWindow?: number | undefined;
  /** HTTP status of the answer, where there was one. */
  status?: number | undefined;
  /** Whether the sentence quotes the end of the model's log. */
  quotesLog?: boolean;
  cause?: unknown;
}

/**
 * The one error that leaves `server/`, `host/` and `config.ts`. Its message is a sentence for the user: what failed, the
 * likely cause, the next step. What code needs to know of it is in fields; the original error is the `cause`, and is
 * never shown.
 */
export class ServerError extends Error {
  readonly sentence: Sentence;
  readonly link: Link;
  readonly remedy: Remedy;
  readonly what: string;
  readonly variable: string | undefined;
  readonly undecided: string | undefined;
  readonly contextWindow: number | undefined;
  readonly status: number | undefined;
  readonly quotesLog: boolean;

  constructor(sentence: Sentence, details: FaultDetails) {
    super(typeof sentence === "string" ? sentence : sentence.join(""), { cause: details.cause });
    this.name = "ServerError";
    this.sentence = sentence;
    this.link = details.link;
    this.remedy = details.remedy ?? "none";
    this.what = details.what ?? this.message;
    this.variable = details.variable;
    this.undecided = details.undecided;
    this.contextWindow = details.contextWindow;
    this.status = details.status;
    this.quotesLog = details.quotesLog ?? false;
  }

  /** What the sentence quotes of the server's words; undefined where it quotes nothing. */
  get quote(): string | undefined {
    return typeof this.sentence === "string" ? undefined : this.sentence[1];
  }
}

/** The sentence of any thrown value; for errors that are not ours, their message without a stack. */
export function sentenceOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** What the work returns, or the fault that it ends with. @throws any other error */
export function orFault<T>(work: () => T): T | ServerError {
  try {
    return work();
  } catch (error) {
    if (error instanceof ServerError) return error;
    throw error;
  }
}

/** The `code` of a Node, undici or OpenSSL error, looked for along the causes. */
export function codeOf(error: unknown): string {
  for (let at = error; at instanceof Error; at = at.cause) {
    const code: unknown = "code" in at ? at.code : undefined;
    if (typeof code === "string" && code !== "") return code;
    // undici's own, for an answer that is no HTTP: it is meant to have a code, and comes without.
    if (at.name === "HTTPParserError") return at.name;
  }
  return "";
}
