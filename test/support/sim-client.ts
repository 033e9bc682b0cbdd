import { readFileSync } from "node:fs";
import { join } from "node:path";
import { Agent, request } from "undici";
import type { Sim } from "../../sim/server.ts";

export interface Reply {
  status: number;
  headers: Record<string, string>;
  body: string;
}

export interface RequestOptions {
  method?: string;
  headers?: Record<string, string>;
  body?: string | undefined;
  /** Ends the reading of the body, which is then what had come. */
  until?: (body: string) => boolean;
  signal?: AbortSignal;
}

/** A plain client with the stand-in's client certificate. */
export class Client {
  readonly #sim: Pick<Sim, "url" | "certsDir">;
  readonly #agent: Agent;

  constructor(sim: Pick<Sim, "url" | "certsDir">) {
    this.#sim = sim;
    const pem = (name: string) => readFileSync(join(sim.certsDir, name), "utf8");
    this.#agent = new Agent({
      connect: { ca: pem("root-ca.pem"), cert: pem("client.pem"), key: pem("client-key.pem") },
    });
  }

  async send(path: string, options: RequestOptions = {}): Promise<Reply> {
    const { method = "GET", headers = {}, body, signal, until } = options;
    const answer = await request(this.#sim.url + path, {
      dispatcher: this.#agent,
      method,
      headers,
      ...(body === undefined ? {} : { body }),
      ...(signal ? { signal } : {}),
    });
    const decoder = new TextDecoder();
    let text = "";
    for await (const chunk of answer.body) {
      text += decoder.decode(chunk as Buffer, { stream: true });
      if (until?.(text)) break;
    }
    return { status: answer.statusCode, headers: answer.headers as Record<string, string>, body: text };
  }

  chat(body: Record<string, unknown>, options: RequestOptions = {}): Promise<Reply> {
    return this.send("/v1/chat/completions", {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify(body),
      ...options,
    });
  }

  close(): Promise<void> {
    return this.#agent.destroy();
  }
}

/** The chunks of a stream, without `[DONE]` and comments. */
export function chunksOf(body: string): Record<string, unknown>[] {
  const lines = body.split("\n").filter((line) => line.startsWith("data: {"));
  return lines.map((line) => JSON.parse(line.slice("data: ".length)));
}

/** Tries `check` until it no longer throws; after `limitMs` its error stands. */
export async function eventually<T>(check: () => T | Promise<T>, limitMs = 10_000): Promise<T> {
  const end = Date.now() + limitMs;
  for (;;) {
    try {
      return await check();
    } catch (error) {
      if (Date.now() > end) throw error;
    }
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}
