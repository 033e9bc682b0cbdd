import type { Exchange } from "./http.ts";

const DEFAULT_LIMIT = 25;
const MOST = 999;

/** One row of `/api/metrics/activity`. */
interface Row {
  id: number;
  model: string;
  [key: string]: unknown;
}

/** llama-swap's record of answered requests, kept across reloads. */
export class ActivityLog {
  readonly #rows: Row[] = [];

  /** @returns the row's id */
  add({ response, record }: Exchange, path: string, model: string): number {
    const id = this.#rows.length + 1;
    const status = response.headersSent ? response.statusCode : 502;
    this.#rows.push({
      id,
      timestamp: new Date().toISOString().replace(/\.\d+/, ""),
      model,
      req_path: path,
      resp_content_type: String(response.getHeader("content-type") ?? ""),
      resp_status_code: status,
      tokens: tokensOf(record.timings),
      duration_ms: Date.now() - record.at,
      has_capture: true,
      ...(status < 400 ? {} : { error_msg: `${status} ${response.statusMessage ?? ""}`.trim() }),
    });
    return id;
  }

  /** Answers a query with `limit`, `page` and `model`, newest first. */
  page(query: URLSearchParams): unknown {
    const limit = Math.min(MOST, Math.max(1, Number(query.get("limit")) || DEFAULT_LIMIT));
    const page = Math.max(1, Number(query.get("page")) || 1);
    const models = query.getAll("model");
    const rows = this.#rows.filter(({ model }) => models.length === 0 || models.includes(model)).reverse();
    const { length: total } = rows;
    const data = rows.slice((page - 1) * limit, page * limit);
    return { data, page, limit, total, total_pages: Math.ceil(total / limit) };
  }
}

/** An aborted answer has no measurements. */
function tokensOf(timings: Readonly<Record<string, number>> | undefined): Record<string, number> {
  return {
    cache_tokens: timings?.cache_n ?? 0,
    draft_tokens: timings ? -1 : 0,
    draft_acc_tokens: timings ? -1 : 0,
    input_tokens: timings?.prompt_n ?? 0,
    output_tokens: timings?.predicted_n ?? 0,
    prompt_per_second: timings?.prompt_per_second ?? 0,
    tokens_per_second: timings?.predicted_per_second ?? 0,
  };
}
