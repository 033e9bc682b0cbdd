/** The body of a request, by the way on which pi's hooks may change it. */
import type { Api, Model, SimpleStreamOptions, TranscriptContext } from "@earendil-works/pi-ai";
import { type JsonRecord, record } from "../lib/json.ts";
import { chatRequest, type ModelTraits } from "../messages.ts";
import { mayEndThinking } from "../server/kinds/llama-cpp/requests.ts";
import type { ModelServer } from "../server/model-server.ts";

/** What a body depends on besides the conversation. */
export interface BodyParts {
  traits(model: Model<Api>): ModelTraits;
  /** The id under which `/running` lists the model; undefined where it runs elsewhere. */
  runsAs(model: Model<Api>): string | undefined;
}

/** @param slot the slot of llama-server to ask for */
export async function turnBody(
  { traits, runsAs }: BodyParts,
  server: Pick<ModelServer, "lastKind" | "refusedFields">,
  model: Model<Api>,
  context: TranscriptContext,
  options: SimpleStreamOptions,
  slot?: number,
): Promise<unknown> {
  const isEndable = runsAs(model) !== undefined && mayEndThinking(server.lastKind);
  const asked = { ...options, slot, isEndable };
  const body = chatRequest(context, model, traits(model), asked, server.refusedFields);
  return (await options.onPayload?.(body, model)) ?? body;
}

/** Fields that ask for an answer, or for several. */
const ANSWER_FIELDS = ["max_completion_tokens", "n_predict", "n"];

/**
 * The body of a request that has llama-server read a prompt and write nothing: with `max_tokens: 0` it ends after the
 * prompt (seen in b11669).
 *
 * @returns undefined where a hook makes something else of the body
 */
export async function readingBody(...parts: Parameters<typeof turnBody>): Promise<JsonRecord | undefined> {
  const body = record(await turnBody(...parts));
  if (body === undefined) return undefined;
  const asked = Object.entries(body).filter(([name]) => !ANSWER_FIELDS.includes(name));
  return { ...Object.fromEntries(asked), max_tokens: 0 };
}
