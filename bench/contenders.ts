/** Who reads the same bytes: this extension, pi's own stream, and the least that any reader has to do. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { type SimpleStreamOptions, streamSimple } from "@earendil-works/pi-ai/compat";
import { createParser } from "eventsource-parser";
import { Agent, fetch as fetchOfUndici } from "undici";
import { CONTEXT, checkCharacters, ExtensionTurns, modelOf, readTurn } from "./turns.ts";

export type ContenderName = "extension" | "built-in" | "floor";

/** Reads one prepared answer to its end. */
export type Contender = (modelId: string) => Promise<void>;

type Env = Readonly<Record<string, string>>;

function agentFor(env: Env): Agent {
  const pem = (name: string): string => readFileSync(join(env.AI_SERVER_CERTS_DIR ?? "", name), "utf8");
  return new Agent({
    connect: { ca: pem("root-ca.pem"), cert: pem("client.pem"), key: pem("client-key.pem") },
    allowH2: false,
    keepAliveTimeout: 60_000,
  });
}

/** What pi's `openai-completions` stream needs for mutual TLS: a fetch that presents the certificate. */
function builtIn(env: Env, options: SimpleStreamOptions): Contender {
  const agent = agentFor(env);
  const fetch = ((input: string, init: object) =>
    fetchOfUndici(input, { ...init, dispatcher: agent })) as unknown as typeof globalThis.fetch;
  return async (modelId) => {
    const model = modelOf(modelId, "openai-completions", "bench", `${env.AI_SERVER_URL}/v1`);
    await readTurn(streamSimple(model, CONTEXT, { ...options, apiKey: "none", fetch }), modelId);
  };
}

interface Chunk {
  choices: { delta: { content?: string | null } }[];
}

/** undici, parser and JSON.parse without anything around them. */
function floor(env: Env): Contender {
  const agent = agentFor(env);
  return async (modelId) => {
    const { body } = await agent.request({
      origin: env.AI_SERVER_URL ?? "",
      path: "/v1/chat/completions",
      method: "POST",
      body: JSON.stringify({ model: modelId }),
    });
    let characters = 0;
    const parser = createParser({
      onEvent: ({ data }) => {
        if (data === "[DONE]") return;
        const chunk = JSON.parse(data) as Chunk;
        characters += chunk.choices[0]?.delta.content?.length ?? 0;
      },
    });
    const utf8 = new TextDecoder();
    for await (const bytes of body as AsyncIterable<Uint8Array>) {
      parser.feed(utf8.decode(bytes, { stream: true }));
    }
    checkCharacters(characters, modelId);
  };
}

/** @param options what pi passes with each turn; both streams get the same */
export function makeContender(name: ContenderName, env: Env, options: SimpleStreamOptions): Contender {
  if (name === "built-in") return builtIn(env, options);
  if (name === "floor") return floor(env);
  const turns = new ExtensionTurns(env);
  return async (modelId) => {
    await turns.turn(modelId, options);
  };
}
