import { readConfig, routeFor } from "../../config.ts";
import type { LiveContext, ServerProbe } from "../../host/probe.ts";
import { answerFault } from "../../server/faults.ts";
import { readText } from "../../server/http.ts";
import { count, list, record } from "../../server/json.ts";
import { LlamaSwap } from "../../server/llama-swap.ts";
import { parseProps, parseRunning, type RunningModel } from "../../server/models.ts";

/** The HTTP side of a change, on a stand-in. */
export class HttpProbe implements ServerProbe {
  readonly #server: LlamaSwap;

  constructor(url: string) {
    this.#server = new LlamaSwap(readConfig({ AI_SERVER_URL: url }, {}, "/nowhere"));
  }

  async answers(signal: AbortSignal): Promise<boolean> {
    try {
      await this.running(signal);
      return true;
    } catch {
      return false;
    }
  }

  async running(signal: AbortSignal): Promise<RunningModel[]> {
    return parseRunning(await this.#server.http.json("/running", { signal, timeoutMs: 5000 }));
  }

  async load(id: string, signal: AbortSignal): Promise<void> {
    const path = routeFor("/upstream/<id>/health", id);
    const { status, body } = await this.#server.http.request({ method: "GET", path, signal });
    const text = await readText(body, 100_000);
    if (status !== 200) throw answerFault(status, text, path);
  }

  async liveContext(id: string, signal: AbortSignal): Promise<LiveContext> {
    const ask = (route: string) =>
      this.#server.http.json(routeFor(`/upstream/<id>/${route}`, id), { signal, timeoutMs: 5000 });
    const [props, models] = await Promise.all([ask("props"), ask("v1/models")]);
    const meta = record(record(list(record(models)?.data)[0])?.meta);
    return { tokens: parseProps(props).context, trained: count(meta?.n_ctx_train) };
  }

  log(id: string | undefined, signal: AbortSignal): Promise<string[]> {
    return this.#server.logTail(id ?? "proxy", 20, signal);
  }

  close(): Promise<void> {
    return this.#server.close();
  }
}
