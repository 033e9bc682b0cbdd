/** One turn through this extension, as pi asks for it. */
import type { Api, AssistantMessage, AssistantMessageEvent, Model, Provider } from "@earendil-works/pi-ai";
import { normalizeContext, type SimpleStreamOptions, type TranscriptContext } from "@earendil-works/pi-ai";
import { Activities } from "../activity/activities.ts";
import { AiServer } from "../provider/ai-server.ts";
import { createProvider } from "../provider/provider.ts";
import { charactersOf, fixtureOf } from "./fixtures.ts";

/** A short conversation: its cost is the turn's, not the delta's. */
export const CONTEXT: TranscriptContext = normalizeContext({
  systemPrompt: "You are a coding agent.",
  messages: [
    { role: "user", content: "Say what the file does, then change it.", timestamp: 1_795_187_080_000 },
  ],
});

export function modelOf<A extends Api>(id: string, api: A, provider: string, baseUrl: string): Model<A> {
  return {
    id,
    name: id,
    api,
    provider,
    baseUrl,
    reasoning: false,
    input: ["text"],
    cost: { input: 0, output: 0, cacheRead: 0, cacheWrite: 0 },
    contextWindow: 2_097_152,
    maxTokens: 1_048_576,
  };
}

/**
 * Reads a turn to its end as pi does.
 *
 * @param onEvent called for each event that came
 * @returns the finished message
 * @throws {Error} when the turn failed, or did not bring every character of its fixture
 */
export async function readTurn(
  stream: AsyncIterable<AssistantMessageEvent>,
  modelId: string,
  onEvent?: () => void,
): Promise<AssistantMessage> {
  let characters = 0;
  let message: AssistantMessage | undefined;
  for await (const event of stream) {
    onEvent?.();
    if (event.type === "text_delta" || event.type === "toolcall_delta") characters += event.delta.length;
    else if (event.type === "error") throw new Error(`A turn failed: ${event.error.errorMessage}`);
    else if (event.type === "done") message = event.message;
  }
  checkCharacters(characters, modelId);
  if (message === undefined) throw new Error("A turn ended without its last event");
  return message;
}

const expected = new Map<string, number>();

/** Counted once for each answer, before the first measurement of it, so that no measurement counts this. */
export function expectedCharacters(modelId: string): number {
  const known = expected.get(modelId) ?? charactersOf(fixtureOf(modelId));
  expected.set(modelId, known);
  return known;
}

export function checkCharacters(characters: number, modelId: string): void {
  const wanted = expectedCharacters(modelId);
  if (characters !== wanted) throw new Error(`${modelId} brought ${characters} characters, not ${wanted}`);
}

/** The extension's provider without pi's registry around it. */
export class ExtensionTurns {
  readonly activities = new Activities();
  readonly #aiServer: AiServer;
  readonly #provider: Provider;
  readonly #url: string;

  /** @param env holds `AI_SERVER_URL` and `AI_SERVER_CERTS_DIR` */
  constructor(env: Readonly<Record<string, string>>) {
    this.#url = env.AI_SERVER_URL ?? "";
    this.#aiServer = new AiServer({
      env,
      agentDir: env.AI_SERVER_CERTS_DIR ?? "",
      now: Date.now,
      onChanged: () => {},
    });
    this.#provider = createProvider(this.#aiServer, this.activities);
  }

  async turn(
    modelId: string,
    options: SimpleStreamOptions = {},
    onEvent?: () => void,
  ): Promise<AssistantMessage> {
    return readTurn(this.stream(modelId, CONTEXT, options), modelId, onEvent);
  }

  /** A turn whose answer is none of the fixtures. */
  stream(
    modelId: string,
    context: TranscriptContext,
    options: SimpleStreamOptions,
  ): AsyncIterable<AssistantMessageEvent> {
    const model = modelOf(modelId, "ai-server", "ai-server", this.#url);
    return this.#provider.streamSimple(model, context, options);
  }

  close(): Promise<void> {
    return this.#aiServer.close();
  }
}
