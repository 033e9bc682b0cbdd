import { randomUUID } from "node:crypto";
import { type ChatRequest, readChatRequest, readControl, renderPrompt } from "./chat-request.ts";
import { generate, type Step } from "./generation.ts";
import type { Exchange } from "./http.ts";
import { LlamaError, replyLlamaJson } from "./llama-replies.ts";
import { type Fault, makePlan, type Plan } from "./script.ts";
import { ProcessGone, type Upstream } from "./upstream.ts";

/**
 * Answers `POST /v1/chat/completions` with llama-server's bytes: a stream of chunks or one object.
 * @throws {LlamaError} for a refused request, including a prompt beyond the window
 * @throws {ProcessGone} when the model dies before the answer is complete
 */
export async function chat(exchange: Exchange, upstream: Upstream): Promise<void> {
  const { behaviour } = upstream;
  const request = readChatRequest(exchange.body, behaviour);
  const prompt = renderPrompt(request);
  const n_ctx = behaviour.slotContext;
  if (prompt.length >= n_ctx) {
    const sizes = `(${prompt.length} tokens) exceeds the available context size (${n_ctx} tokens)`;
    const extra = { n_prompt_tokens: prompt.length, n_ctx };
    throw new LlamaError(400, "exceed_context_size_error", `request ${sizes}, try increasing it`, extra);
  }
  const plan = makePlan(request, behaviour);
  const free = await upstream.takeSlot(exchange.gone);
  if (!free) return;
  const answer = new Answer(exchange, upstream, request, plan);
  try {
    if (plan.fault?.kind === "crash" && plan.fault.after === 0) {
      upstream.kill();
      throw new ProcessGone();
    }
    const running = { hasControl: request.hasControl, isThinkingEnded: false };
    const steps = generate(upstream, prompt, plan, running, request.maxTokens, exchange.gone);
    upstream.answers.set(answer.id, running);
    if (request.stream) await answer.stream(steps);
    else await answer.collect(steps);
  } finally {
    upstream.answers.delete(answer.id);
    free();
  }
}

/**
 * Answers `POST /v1/chat/completions/control`, which ends the thinking of an answer that is being written.
 * @throws {LlamaError} for a request that names no answer, or something else to do
 */
export function control(exchange: Exchange, upstream: Upstream): void {
  const { id, action } = readControl(exchange.body);
  if (id === "") throw new LlamaError(400, "invalid_request_error", "missing completion id");
  if (action !== "reasoning_end")
    throw new LlamaError(400, "invalid_request_error", "unknown control action");
  const running = upstream.answers.get(id);
  if (running?.hasControl) {
    running.isThinkingEnded = true;
    replyLlamaJson(exchange, 200, { success: true });
    return;
  }
  const message = running
    ? "reasoning control not enabled for this completion"
    : "no active completion for this id";
  replyLlamaJson(exchange, 200, { success: false, message });
}

/** One answer on its way out, in either form. */
class Answer {
  readonly #exchange: Exchange;
  readonly #upstream: Upstream;
  readonly #request: ChatRequest;
  readonly #plan: Plan;
  readonly #created = Math.floor(Date.now() / 1000);
  readonly id = `chatcmpl-${randomUUID().replaceAll("-", "")}`;
  readonly #model: string;
  readonly #extras: Record<string, string>;
  /** The part of a chunk after its choices. Built once: a stream may have a million chunks. */
  readonly #tail: string;
  #lastWrite = 0;

  constructor(exchange: Exchange, upstream: Upstream, request: ChatRequest, plan: Plan) {
    this.#exchange = exchange;
    this.#upstream = upstream;
    this.#request = request;
    this.#plan = plan;
    this.#model = request.model ?? upstream.behaviour.alias ?? upstream.behaviour.modelPath;
    this.#extras = upstream.behaviour.onlyOpenAi ? {} : FINGERPRINT;
    const fixed = { created: this.#created, id: this.id, model: this.#model, ...this.#extras };
    this.#tail = `${JSON.stringify({ ...fixed, object: "chat.completion.chunk" }).slice(1, -1)}`;
  }

  async stream(steps: AsyncGenerator<Step>): Promise<void> {
    const { response, gone } = this.#exchange;
    if (!response.headersSent) {
      const type = { "Content-Type": "text/event-stream" };
      const own = { Server: "llama.cpp", "X-Accel-Buffering": "no" };
      response.writeHead(200, { ...(this.#upstream.behaviour.onlyOpenAi ? {} : own), ...type });
      response.flushHeaders();
    }
    const done = new AbortController();
    void this.#ping(done.signal);
    try {
      for await (const step of steps) {
        if (gone.aborted) return;
        if (step.type === "fault") {
          if (this.#plan.fault) await this.#breakOff(this.#plan.fault);
          return;
        }
        await this.#writeStep(step);
      }
      if (!this.#plan.noDone) await this.#write("data: [DONE]\n\n");
      response.end();
    } finally {
      done.abort();
    }
  }

  async collect(steps: AsyncGenerator<Step>): Promise<void> {
    const calls: { type: "function"; function: { name: string; arguments: string }; id: string }[] = [];
    const texts = { reasoning: "", content: "" };
    const { onlyOpenAi, reasoningKey } = this.#upstream.behaviour;
    for await (const step of steps) {
      if (this.#exchange.gone.aborted) return;
      if (step.type === "fault" && this.#plan.fault) return this.#breakOff(this.#plan.fault);
      if (step.type === "token") texts[step.kind] += step.text;
      if (step.type === "call") {
        const named = { name: step.name, arguments: step.text };
        calls.push({ type: "function", function: named, id: callId() });
      }
      const call = step.type === "arguments" ? calls[step.index] : undefined;
      if (step.type === "arguments" && call) call.function.arguments += step.text;
      if (step.type !== "end") continue;
      this.#exchange.record.timings = step.timings;
      const message = {
        role: "assistant",
        content: texts.content,
        ...(texts.reasoning === "" ? {} : { [reasoningKey]: texts.reasoning }),
        ...(calls.length === 0 ? {} : { tool_calls: calls }),
      };
      replyLlamaJson(this.#exchange, 200, {
        choices: [{ finish_reason: step.finish, index: 0, message }],
        created: this.#created,
        model: this.#model,
        ...this.#extras,
        object: "chat.completion",
        usage: step.usage,
        id: this.id,
        ...(onlyOpenAi ? {} : { timings: step.timings }),
      });
    }
  }

  #writeStep(step: Exclude<Step, { type: "fault" }>): Promise<void> {
    const { onlyOpenAi, reasoningKey } = this.#upstream.behaviour;
    switch (step.type) {
      case "progress": {
        const { type: _, ...progress } = step;
        if (!this.#request.returnProgress || onlyOpenAi) return Promise.resolve();
        return this.#chunk(ROLE, null, { prompt_progress: progress });
      }
      case "begin":
        return this.#chunk(ROLE);
      case "token":
        return this.#token({ [step.kind === "reasoning" ? reasoningKey : "content"]: step.text });
      case "call": {
        const named = { name: step.name, arguments: step.text };
        const call = { index: step.index, id: callId(), type: "function", function: named };
        return this.#token({ tool_calls: [call] });
      }
      case "arguments":
        return this.#token({ tool_calls: [{ index: step.index, function: { arguments: step.text } }] });
      case "end":
        return this.#end(step);
    }
  }

  async #end(step: Extract<Step, { type: "end" }>): Promise<void> {
    const { usage, timings } = step;
    this.#exchange.record.timings = timings;
    const withUsage = this.#request.includeUsage;
    const extra = this.#upstream.behaviour.onlyOpenAi ? {} : { timings };
    if (!this.#plan.noFinish) await this.#chunk({}, step.finish, withUsage ? {} : extra);
    if (withUsage) {
      const totals = JSON.stringify({ usage, ...extra }).slice(1);
      await this.#write(`data: {"choices":[],${this.#tail},${totals}\n\n`);
    }
  }

  #token(delta: unknown): Promise<void> {
    const { record, gone } = this.#exchange;
    record.tokens++;
    if (gone.aborted) record.tokensAfterDisconnect++;
    return this.#chunk(delta);
  }

  #chunk(delta: unknown, finish: string | null = null, extra?: Record<string, unknown>): Promise<void> {
    const choice = JSON.stringify({ finish_reason: finish, index: 0, delta });
    const more = extra && Object.keys(extra).length > 0 ? `,${JSON.stringify(extra).slice(1, -1)}` : "";
    return this.#write(`data: {"choices":[${choice}],${this.#tail}${more}}\n\n`);
  }

  async #write(text: string): Promise<void> {
    const { response, gone } = this.#exchange;
    if (gone.aborted) return;
    this.#lastWrite = this.#upstream.clock.now();
    if (response.write(text)) return;
    await new Promise<void>((resolve) => {
      const done = () => {
        response.off("drain", done).off("close", done);
        resolve();
      };
      response.on("drain", done).on("close", done);
    });
  }

  /** Comments while there is nothing else to send (`--sse-ping-interval`). */
  async #ping(done: AbortSignal): Promise<void> {
    const { clock, behaviour } = this.#upstream;
    const over = AbortSignal.any([done, this.#exchange.gone]);
    this.#lastWrite = clock.now();
    while (behaviour.pingMs > 0 && !over.aborted) {
      const quiet = clock.now() - this.#lastWrite;
      if (quiet >= behaviour.pingMs) await this.#write(":\n\n");
      else await clock.sleep(behaviour.pingMs - quiet, over);
    }
  }

  async #breakOff(fault: Fault): Promise<void> {
    const { response } = this.#exchange;
    if (fault.kind === "cut") {
      // What was written before must arrive: a destroyed socket drops what is still buffered.
      await new Promise((resolve) => setImmediate(resolve));
      response.destroy();
      return;
    }
    if (fault.kind === "crash") {
      this.#upstream.kill();
      throw new ProcessGone();
    }
    if (!this.#request.stream) throw new LlamaError(500, "server_error", fault.text);
    const error = { error: { code: 500, message: fault.text, type: "server_error" } };
    await this.#write(fault.kind === "bare" ? fault.text : `data: ${JSON.stringify(error)}\n\n`);
    response.end();
  }
}

const ROLE = { role: "assistant", content: null };
const FINGERPRINT = { system_fingerprint: "b11669-Debian" };

function callId(): string {
  return randomUUID().replaceAll("-", "");
}
