import { type Exchange, reply } from "./http.ts";

/** An error that llama-server itself answers with; `extra` is added to code, message and type. */
export class LlamaError extends Error {
  readonly status: number;
  readonly type: string;
  readonly extra: Record<string, number>;

  constructor(status: number, type: string, message: string, extra: Record<string, number> = {}) {
    super(message);
    this.status = status;
    this.type = type;
    this.extra = extra;
  }
}

/** JSON with llama-server's headers. */
export function replyLlamaJson(exchange: Exchange, status: number, value: unknown): void {
  const type = { "Content-Type": "application/json; charset=utf-8" };
  reply(exchange, status, { Server: "llama.cpp", ...type }, JSON.stringify(value));
}

export function replyLlamaError(
  exchange: Exchange,
  { status: code, message, type, extra }: LlamaError,
): void {
  replyLlamaJson(exchange, code, { error: { code, message, type, ...extra } });
}

/** llama-server's answer to a path that it does not have. */
export function fileNotFound(exchange: Exchange): void {
  replyLlamaJson(exchange, 404, { error: { message: "File Not Found", type: "not_found_error", code: 404 } });
}

/** llama-server's answer to a missing or wrong `--api-key`. */
export function invalidKey(exchange: Exchange): void {
  const error = { message: "Invalid API Key", type: "authentication_error", code: 401 };
  replyLlamaJson(exchange, 401, { error });
}
