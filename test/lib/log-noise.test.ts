import { expect, test } from "vitest";
import { isPolling, withoutPolling } from "../../lib/log-noise.ts";

test.each([
  "srv  log_server_r: request: GET /health 127.0.0.1 200",
  "srv  log_server_r: done request: GET /v1/models 127.0.0.1 200",
  'srv  log_server_r: request: "GET /health HTTP/1.1" 503 -',
  '[INFO] Request 127.0.0.1 "GET /running HTTP/1.1" 200 120 "node" 11.3us',
  '[INFO] Request 127.0.0.1 "GET /v1/models HTTP/1.1" 200 120 "node" 11.3us',
  '[INFO] Request 127.0.0.1 "GET /upstream/org%2Fm/slots HTTP/1.1" 200 120 "node" 11.3us',
  '[INFO] Request ::1 "GET /upstream/org/m/props?autoload=false HTTP/1.1" 200 9 "node" 1ms',
  'INFO:     127.0.0.1:53844 - "GET /health HTTP/1.1" 200 OK',
  '127.0.0.1 - - [29/Nov/2026 10:00:00] "GET /health HTTP/1.1" 200 -',
  '[GIN] 2026/11/29 - 10:00:00 | 200 |  12.1us | 127.0.0.1 | GET      "/health"',
  'Nov 29 10:00:00 box llama-swap[12]: [INFO] Request 127.0.0.1 "GET /logs/stream/m HTTP/1.1" 200 1 "x" 1s',
  "[DEBUG] <m> Health check error on http://localhost:5800/health, connection refused (normal during startup)",
])("is a look: %s", (line) => {
  expect(isPolling(line)).toBe(true);
});

test.each([
  'srv  log_server_r: request: "POST /v1/chat/completions HTTP/1.1" 200 -',
  "srv  log_server_r: request: GET /healthy 127.0.0.1 404",
  "cannot GET /health from the proxy: connection refused",
  "[WARN] failed to reload config: yaml: line 3",
  "[ERROR] <m> health check timed out after 15s",
  "load_model: failed to load /models/slots.gguf",
])("is none: %s", (line) => {
  expect(isPolling(line)).toBe(false);
});

test("what is left keeps its order", () => {
  expect(withoutPolling(["a", "request: GET /slots 127.0.0.1 200", "b"])).toEqual(["a", "b"]);
});
