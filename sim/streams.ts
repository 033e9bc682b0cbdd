import { type EventHub, eventFrame } from "./events.ts";
import { type Exchange, SwapError } from "./http.ts";
import type { Log } from "./log.ts";

/**
 * `/api/events`: first both logs' histories and the state of everything, then whatever happens.
 * @param closing ends the stream, as a reload does
 */
export function streamEvents(
  exchange: Exchange,
  sources: { hub: EventHub; proxyLog: Log; upstreamLog: Log },
  status: unknown,
  closing: AbortSignal,
): void {
  const { hub, proxyLog, upstreamLog } = sources;
  const { response } = exchange;
  response.writeHead(200, { "Content-Type": "text/event-stream", "Cache-Control": "no-cache" });
  const send = (frame: string) => {
    response.write(frame);
  };
  const sendLog = (source: string) => (data: string) => send(eventFrame("logData", { data, source }));
  sendLog("proxy")(proxyLog.history);
  sendLog("upstream")(upstreamLog.history);
  send(eventFrame("modelStatus", status));
  const session_id = ["X-Session-ID", "X-Litellm-Session-Id"];
  send(eventFrame("uiConfig", { activity: { session_id } }));
  send(eventFrame("profileChanged", { active: null }));
  send(eventFrame("inflight", hub.snapshot()));
  const subscriptions = [
    hub.subscribe(send),
    proxyLog.follow(sendLog("proxy")),
    upstreamLog.follow(sendLog("upstream")),
  ];
  untilClosed(exchange, closing, () => {
    for (const end of subscriptions) end();
  });
}

/**
 * `/logs/stream/…`: the history unless `?no-history`, then live. Without history not even the headers go out
 * before the first line.
 * @throws {SwapError} 400 for an unknown log
 */
export function streamLog(exchange: Exchange, log: Log | undefined, closing: AbortSignal): void {
  const { response } = exchange;
  response.setHeader("X-Accel-Buffering", "no");
  response.setHeader("X-Content-Type-Options", "nosniff");
  if (!log) throw new SwapError(400, "invalid logger. Use 'proxy', 'upstream' or a model's ID");
  response.setHeader("Content-Type", "text/plain");
  if (!exchange.path.includes("no-history") && log.history !== "") response.write(log.history);
  untilClosed(
    exchange,
    closing,
    log.follow((text) => {
      response.write(text);
    }),
  );
}

function untilClosed({ response }: Exchange, closing: AbortSignal, end: () => void): void {
  const close = () => {
    end();
    response.end();
  };
  closing.addEventListener("abort", close, { once: true });
  response.once("close", () => {
    closing.removeEventListener("abort", close);
    end();
  });
}
