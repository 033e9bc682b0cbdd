/** The fault table's rows about a turn: answers that are none, loads, crashes, silence, broken streams. */
import { chunk, events, recording } from "../support/decoding.ts";
import type { Answer } from "../support/turns.ts";
import { answered, type FaultRow, refused } from "./rows.ts";

const recorded = (status: number, name: string): Answer => ({ status, pieces: [recording(name)] });
const half = events(chunk({ content: "Half" }));
const said = (message: string): string => events({ error: { code: 500, message, type: "server_error" } });

const FAILED = refused(500, {
  message: "unspecific error: upstream command exited prematurely",
  type: "server_error",
});

/** Faults of a turn: answers that are none, loads, crashes, silence. */
export const ANSWERS: FaultRow[] = [
  answered(
    "401",
    [refused(401, "unauthorized: invalid or missing API key")],
    "The server demands an API key, and the one in AI_SERVER_API_KEY is missing or wrong.",
    "none",
  ),
  answered("403", [{ status: 403 }], "Caddy denies access to this client (HTTP 403).", "none"),
  answered(
    "404 of Caddy's",
    [{ status: 404, pieces: ["404 page not found\n"] }],
    "The server does not know /v1/chat/completions (HTTP 404). Check AI_SERVER_URL and its path, and that Caddy passes this route on.",
    "none",
  ),
  answered(
    "404 for a model that is gone",
    [refused(404, { message: "no router for requested model" })],
    "The server does not have this model any more. Run /ai-server-refresh and choose another in /model.",
    "none",
  ),
  answered(
    "a redirect",
    [{ status: 301, headers: { location: "https://x.example" } }],
    "The server answers /v1/chat/completions with a redirect, which this extension does not follow. Set AI_SERVER_URL to its target.",
    "none",
  ),
  answered(
    "413",
    [{ status: 413 }],
    "context_length_exceeded: the request is larger than Caddy allows (request_body max_size).",
    "compact",
  ),
  answered(
    "http: to a port that speaks TLS",
    [{ status: 400, pieces: ["Client sent an HTTP request to an HTTPS server.\n"] }],
    "The server speaks TLS at this port: write https: in AI_SERVER_URL.",
    "none",
  ),
  answered(
    "421",
    [{ status: 421 }],
    "Caddy does not serve this name (HTTP 421). Set AI_SERVER_URL to the site's name as in the Caddyfile, not to an address.",
    "none",
  ),
  answered(
    "400",
    [recorded(400, "s04-err-assistant-last-2.json")],
    "The server refused the request (HTTP 400). It says: Cannot have 2 or more assistant messages at the end of the list.",
    "none",
  ),
  answered(
    "400 in hostile words",
    [refused(400, { message: "Field 'timeout': 500 is too many tokens, rate limit; terminated" })],
    "The server refused the request (HTTP 400). It says: Field 'timeout': 500 is too many tokens, rate limit; terminated",
    "none",
  ),
  answered(
    "an image for a model that sees none",
    [recorded(500, "s04-err-image.json")],
    "The server refused the request. It says: image input is not supported - hint: if this is unexpected, you may need to provide the mmproj",
    "none",
  ),
  answered(
    "call arguments that are no JSON",
    [refused(500, { message: "Failed to parse tool call arguments as JSON: x", type: "server_error" })],
    "The server refused the request. It says: Failed to parse tool call arguments as JSON: x",
    "none",
  ),
  answered(
    "tools that cannot be parsed",
    [refused(500, { message: "Failed to parse tools: Missing tool function", type: "server_error" })],
    "The server refused the request. It says: Failed to parse tools: Missing tool function",
    "none",
  ),
  answered(
    "a call that the server cannot parse",
    [refused(500, { message: "Failed to parse input at pos 12: <tool_call>", type: "server_error" })],
    "The server could not read the tool call that the model wrote (server error). It says: Failed to parse input at pos 12: <tool_call> If this happens often, start llama-server with --jinja and check that the chat template fits the model.",
    "retry",
  ),
  answered(
    "500 of another kind",
    [refused(500, { message: "Compute error." })],
    "The server failed (server error, HTTP 500). It says: Compute error.",
    "retry",
  ),
  answered(
    "502 of Caddy's",
    [{ status: 502 }],
    "Caddy answers, but the model server behind it does not (HTTP 502). It may be stopped or restarting.",
    "retry",
    { state: new Error("502") },
  ),
  answered(
    "502 of a peer of llama-swap's",
    [{ status: 502, pieces: ["peer proxy error: dial tcp 10.0.0.2:8080: connect: connection refused\n"] }],
    "llama-swap cannot reach the other server (peer) that runs this model (HTTP 502). It says: peer proxy error: dial tcp 10.0.0.2:8080: connect: connection refused",
    "retry",
    { state: undefined },
  ),
  answered(
    "503 of Caddy's",
    [{ status: 503, pieces: ["upstream timeout, billing"] }],
    "The server is not available at the moment (HTTP 503). It says: upstream timeout, billing",
    "retry",
    { state: new Error("503") },
  ),
  answered(
    "504",
    [{ status: 504 }],
    "Caddy answers, but the model server behind it does not (HTTP 504). It may be stopped or restarting.",
    "retry",
    { state: "ready" },
  ),
  answered(
    "a page instead of a stream",
    [{ headers: { "content-type": "text/html" }, pieces: ["<html>"] }],
    "The server answered a chat request with text/html instead of a stream. Check that AI_SERVER_URL leads to the model server.",
    "none",
  ),
  answered(
    "an overflow with the window",
    [recorded(400, "s04-err-context-stream.json")],
    "context_length_exceeded: the conversation (8,619 tokens) no longer fits into the model's context (4,096 tokens).",
    "compact",
  ),
  ...[
    "the request exceeds the available context size. try increasing the context size or enable context shift",
    "Context size has been exceeded.",
    "Input prompt is too big compared to KV size. Please try increasing KV size.",
  ].map((message) =>
    answered(
      `an overflow worded ${message}`,
      [refused(500, { message, type: "server_error" })],
      "context_length_exceeded: the conversation no longer fits into the model's context.",
      "compact",
    ),
  ),
  answered(
    "an overflow whose words name the numbers",
    [refused(500, "input (9739 tokens) is larger than the max context size (8192 tokens). skipping")],
    "context_length_exceeded: the conversation (9,739 tokens) no longer fits into the model's context (8,192 tokens).",
    "compact",
  ),
  answered(
    "an overflow in the stream",
    [{ pieces: [half, said("Context size has been exceeded.")] }],
    "context_length_exceeded: the conversation no longer fits into the model's context.",
    "compact",
  ),
  answered(
    "a load that failed",
    [FAILED],
    "thinker could not be loaded: unspecific error: upstream command exited prematurely",
    "none",
    { state: "gone" },
  ),
  answered(
    "a load that failed, in hostile words",
    [FAILED],
    "llama 500 timeout could not be loaded: unspecific error: upstream command exited prematurely\nIts log ends with:\nfetch failed: timeout, rate limit\nerror 500: too many tokens; terminated",
    "none",
    {
      state: "gone",
      name: "llama 500 timeout",
      log: ["fetch failed: timeout, rate limit", "error 500: too many tokens; terminated"],
    },
  ),
  answered(
    "a health check that timed out",
    [refused(500, "unspecific error: health check timed out after 15s")],
    "thinker could not be loaded: unspecific error: health check timed out after 15s\nhealthCheckTimeout in llama-swap's config is 15 s: raise it if the model needs longer to load.",
    "none",
    { state: "gone" },
  ),
  answered(
    "a crash that comes again",
    [{ status: 502 }, { status: 502 }],
    "thinker gave no answer, twice: its process ended or could not be reached\nIts log ends with:\nCUDA error: connection terminated",
    "none",
    { state: "gone", log: ["CUDA error: connection terminated"] },
  ),
  answered(
    "a load that lasts too long",
    Array.from({ length: 9 }, () => ({ status: 503 })),
    "thinker was not loaded within AI_SERVER_LOAD_TIMEOUT_MS (timed out). See /ai-server-status for what the server is doing.",
    "retry",
    { env: { AI_SERVER_LOAD_TIMEOUT_MS: "5000" } },
  ),
  answered(
    "400 of an older llama-swap without the model",
    [{ status: 400, pieces: ["could not find real modelID for thinker"] }],
    "The server does not have this model any more. Run /ai-server-refresh and choose another in /model.",
    "none",
  ),
  answered(
    "500 as a page with a style and a script",
    [
      {
        status: 500,
        pieces: [
          "<!DOCTYPE html><html><head><title>x | 500</title><style>a{b:c}</style></head><body><script>d()</script>\n<h1>It broke</h1> <p>Sorry.</p></body></html>",
        ],
      },
    ],
    "The server failed (server error, HTTP 500). It says: It broke Sorry.",
    "retry",
  ),
  answered(
    "408",
    [{ status: 408, pieces: ["Request Timeout"] }],
    "The server did not get the request in time (server error, HTTP 408). It says: Request Timeout",
    "retry",
  ),
  answered(
    "429 for too long",
    Array.from({ length: 9 }, () => ({ status: 429 })),
    "thinker has had too many requests at once for longer than AI_SERVER_LOAD_TIMEOUT_MS allows (timed out).",
    "retry",
    { env: { AI_SERVER_LOAD_TIMEOUT_MS: "5000" } },
  ),
  answered(
    "429 for too long, of a model with a hostile name",
    Array.from({ length: 9 }, () => ({ status: 429 })),
    "billing model has had too many requests at once for longer than AI_SERVER_LOAD_TIMEOUT_MS allows (timed out).",
    "retry",
    { env: { AI_SERVER_LOAD_TIMEOUT_MS: "5000" }, name: "billing model" },
  ),
  answered(
    "silence",
    [{ silent: true }],
    "The server was silent for 300 s (timed out). The model is loaded but is not working on this request.",
    "retry",
  ),
  answered(
    "silence while the model loads",
    [{ silent: true }],
    "The server was silent for 600 s (timed out). The model is still not loaded; see AI_SERVER_LOAD_TIMEOUT_MS.",
    "retry",
    { state: "starting" },
  ),
  answered(
    "silence of everything",
    [{ silent: true }],
    "The server was silent for 300 s (timed out). Neither Caddy nor the model server answers.",
    "retry",
    { state: new Error("down") },
  ),
];

/** Faults inside a stream. */
export const STREAMS: FaultRow[] = [
  answered(
    "a connection lost in the answer",
    [{ pieces: [half], end: "lost" }],
    "The answer broke off: the connection was lost (connection error). The server may have been restarted, or the model unloaded.",
    "retry",
  ),
  answered(
    "a stream that just ends",
    [{ pieces: [half] }],
    "The answer broke off: the stream ended without its last event (connection error). The server may have been restarted, or the model unloaded.",
    "retry",
  ),
  answered(
    "an event that is no JSON",
    [{ pieces: [half, "data: {]\n\n"] }],
    "The answer broke off: an event of the stream is not JSON (connection error). The server may have been restarted, or the model unloaded.",
    "retry",
  ),
  answered(
    "nothing but [DONE], twice",
    [{ pieces: ["data: [DONE]\n\n"] }, { pieces: ["data: [DONE]\n\n"] }],
    "The answer broke off: the stream ended without content (connection error). The server may have been restarted, or the model unloaded.",
    "retry",
  ),
  answered(
    "an error event",
    [{ pieces: [half, said("Invalid input batch.")] }],
    "The server ended the answer with an error (server error). It says: Invalid input batch.",
    "retry",
  ),
  answered(
    "an error event in hostile words",
    [{ pieces: [half, said("billing: too many tokens, quota exceeded")] }],
    "The server ended the answer with an error (server error). It says: billing: too many tokens, quota exceeded",
    "retry",
  ),
  answered(
    "a bare JSON line",
    [{ pieces: [half, '{"src":"llama-swap","error":{"message":"gone"}}\n'] }],
    "The server ended the answer with an error (server error). It says: gone",
    "retry",
  ),
  answered(
    "bare text",
    [{ pieces: [half, "proxy error: Failed to read connection"] }],
    "The model's process ended while it answered (server error). It says: proxy error: Failed to read connection",
    "retry",
  ),
  answered(
    "a call in the stream that cannot be parsed",
    [{ pieces: [half, said("Failed to parse input at pos 3: x")] }],
    "The server could not read the tool call that the model wrote (server error). It says: Failed to parse input at pos 3: x If this happens often, start llama-server with --jinja and check that the chat template fits the model.",
    "retry",
  ),
  answered(
    "a content filter",
    [{ pieces: [events(chunk({ content: "A" }, "content_filter")), "data: [DONE]\n\n"] }],
    "The server withheld the rest of the answer (content filter).",
    "none",
  ),
  answered(
    "a failed load behind the banner",
    [
      {
        pieces: [
          events({ choices: [{ delta: { reasoning_content: "loading" } }] }),
          '{"src":"llama-swap","error":{"message":"unspecific error: upstream command exited prematurely"}}',
        ],
      },
    ],
    "thinker could not be loaded: unspecific error: upstream command exited prematurely",
    "none",
    { state: "gone" },
  ),
];
