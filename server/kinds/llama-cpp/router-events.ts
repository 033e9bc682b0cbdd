/** `/models/sse` of llama.cpp's router: the state of its models as it changes. */

import { createParser } from "eventsource-parser";
import type { Clock } from "../../../lib/clock.ts";
import { type JsonRecord, number, record, text } from "../../../lib/json.ts";
import { type Access, ANSWER_TIMEOUT_MS } from "../../http/access.ts";
import type { ModelState } from "../../models/models.ts";
import { idOf, nameOf } from "../../models/names.ts";
import { type EventHooks, keepReading, quiet } from "../llama-swap/events.ts";
import { parseRouterModels, parseRouterRunning, routerState } from "./list.ts";

const PATH = "/models/sse";
const MAX_FRAME_CHARACTERS = 1024 * 1024;

/**
 * Follows the events until the signal is aborted or the server turns out to have none. The stream does not begin with the
 * current state, so each connection reads the list of models as well. Never throws.
 */
export function followRouter(
  access: Access,
  hooks: EventHooks,
  signal: AbortSignal,
  clock: Clock,
): Promise<void> {
  return keepReading(() => readOnce(access, hooks, signal), hooks, signal, clock);
}

async function readOnce(
  { http, config }: Access,
  { onModels, onStage }: EventHooks,
  signal: AbortSignal,
): Promise<"ended" | "unsupported"> {
  const cut = new AbortController();
  const limit = setTimeout(() => cut.abort(), ANSWER_TIMEOUT_MS);
  const stop = AbortSignal.any([signal, cut.signal]);
  try {
    const { status, headers, body } = await http.request({
      method: "GET",
      path: PATH,
      headers: { accept: "text/event-stream" },
      signal: stop,
    });
    const isStream = /event-stream/.test(headers["content-type"] ?? "");
    if (status === 404 || (status === 200 && !isStream)) return "unsupported";
    if (status !== 200) return "ended";
    const models = await http.json(config.modelsPath, { signal: stop, timeoutMs: ANSWER_TIMEOUT_MS });
    clearTimeout(limit);
    const states = new Map<string, ModelState>(
      parseRouterModels(models).map(({ id }): [string, ModelState] => [id, "unloaded"]),
    );
    for (const { id, state } of parseRouterRunning(models)) states.set(id, state);
    const tell = (): void => quiet(onModels)?.(new Map(states));
    tell();
    const parser = createParser({
      maxBufferSize: MAX_FRAME_CHARACTERS,
      onEvent: ({ data }) => {
        const event = eventOf(data);
        if (event === undefined) return;
        if (event.state !== undefined) states.set(event.id, event.state);
        if (event.state !== undefined) tell();
        if (event.stage !== undefined) quiet(onStage)?.(event.id, event.stage);
      },
    });
    const utf8 = new TextDecoder();
    for await (const chunk of body as AsyncIterable<Uint8Array>)
      parser.feed(utf8.decode(chunk, { stream: true }));
    return "ended";
  } finally {
    clearTimeout(limit);
    cut.abort();
  }
}

interface RouterEvent {
  id: string;
  state: ModelState | undefined;
  stage: { name: string; share: number } | undefined;
}

function eventOf(data: string): RouterEvent | undefined {
  let event: JsonRecord | undefined;
  try {
    event = record(JSON.parse(data));
  } catch {
    return undefined;
  }
  const id = idOf(event?.model);
  const told = record(event?.data);
  if (id === undefined || told === undefined) return undefined;
  const progress = record(told.progress);
  const name = nameOf(progress?.current);
  const share = number(progress?.value);
  const isStage = name !== undefined && share !== undefined && share >= 0 && share <= 1;
  return {
    id,
    state: text(told.status) === undefined ? undefined : routerState(told.status),
    stage: isStage ? { name, share } : undefined,
  };
}
