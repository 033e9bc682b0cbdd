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
  | "unit";

/**
 * What helps: `none` (asking again gives the same answer), `retry` (it may pass), `compact` (the prompt is
 * larger than the context window).
 */
export type Remedy = "none" | "retry" | "compact";

export interface FaultDetails {
  link: Link;
  remedy: Remedy;
  /** Text of the server's that the sentence quotes; may be left out or reworded where its words mislead. */
  quote?: string;
  /** The server's own words, where nothing else shows what the fault is: pi's rules may find an overflow in them. */
  undecided?: string;
  /** The real context window in tokens, where an overflow error told it. */
  contextWindow?: number;
  /** HTTP status of the answer, where there was one. */
  status?: number;
  cause?: unknown;
}

/**
 * The one error that leaves `server/` and `config.ts`: its message is a sentence for the user (what failed, the
 * likely cause, the next step); the original error stays as `cause` and is never shown.
 */
export class ServerError extends Error {
  readonly link: Link;
  readonly remedy: Remedy;
  readonly quote: string | undefined;
  readonly undecided: string | undefined;
  readonly contextWindow: number | undefined;
  readonly status: number | undefined;

  constructor(message: string, details: FaultDetails) {
    super(message, { cause: details.cause });
    this.name = "ServerError";
    this.link = details.link;
    this.remedy = details.remedy;
    this.quote = details.quote;
    this.undecided = details.undecided;
    this.contextWindow = details.contextWindow;
    this.status = details.status;
  }
}

/**
 * The same fault in other words.
 *
 * @param quoted changes what it quotes of the server's
 * @param whole changes the whole sentence, the quotation changed already
 */
export function reworded(
  fault: ServerError,
  quoted: (text: string) => string,
  whole: (text: string) => string,
): ServerError {
  const { link, remedy, contextWindow, status, cause } = fault;
  const quote = fault.quote ? quoted(fault.quote) : fault.quote;
  const message = whole(
    fault.quote && quote ? fault.message.replace(fault.quote, () => quote) : fault.message,
  );
  const known = { link, remedy, cause };
  return new ServerError(message, {
    ...known,
    ...(quote === undefined ? {} : { quote }),
    ...(contextWindow === undefined ? {} : { contextWindow }),
    ...(status === undefined ? {} : { status }),
  });
}

/** The sentence of any thrown value; for errors that are not ours, their message without a stack. */
export function sentenceOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
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

/**
 * Makes text from the network safe to show: no terminal control, no escape sequence, at most `limit`
 * characters, line breaks kept as such.
 */
export function cleanText(text: string, limit = 2000): string {
  const plain = text
    // OSC and CSI sequences whole, so that their printable rest does not stay behind.
    // biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what is removed here
    .replace(/(?:\u001b\]|\u009d)[^\u0007\u001b\u009c]*(?:\u0007|\u001b\\|\u009c)?/g, "")
    // biome-ignore lint/suspicious/noControlCharactersInRegex: as above
    .replace(/(?:\u001b\[|\u009b)[0-?]*[ -/]*[@-~]|\u001b./g, "")
    .replace(/\r\n?/g, "\n")
    .replace(/(?![\n\t])[\p{Cc}\p{Bidi_Control}]/gu, "")
    .replace(/\t/g, "  ")
    .toWellFormed()
    .trim();
  // A letter of two units is not cut in half: half of one is no text.
  return plain.length > limit ? `${plain.slice(0, limit).replace(/[\ud800-\udbff]$/, "")}…` : plain;
}
