import { chat, control } from "./chat.ts";
import type { Behaviour } from "./flags.ts";
import { type Exchange, reply } from "./http.ts";
import { fileNotFound, LlamaError, replyLlamaError, replyLlamaJson } from "./llama-replies.ts";
import { ProcessGone, type Upstream } from "./upstream.ts";

/**
 * Answers one request as llama-server does.
 * @throws {ProcessGone} when the process does not listen yet or dies meanwhile
 */
export async function answer(exchange: Exchange, upstream: Upstream): Promise<void> {
  if (!upstream.listening) throw new ProcessGone();
  try {
    if (!upstream.loaded) throw new LlamaError(503, "unavailable_error", "Loading model");
    await route(exchange, upstream);
  } catch (error) {
    if (!(error instanceof LlamaError)) throw error;
    replyLlamaError(exchange, error);
  }
  upstream.logRequest(exchange.method, exchange.path, exchange.response.statusCode);
}

async function route(exchange: Exchange, upstream: Upstream): Promise<void> {
  const [path] = exchange.path.split("?");
  const method = exchange.method === "HEAD" ? "GET" : exchange.method;
  switch (`${method} ${path}`) {
    case "POST /v1/chat/completions":
    case "POST /chat/completions":
      return chat(exchange, upstream);
    case "POST /v1/chat/completions/control":
      return upstream.behaviour.hasControl ? control(exchange, upstream) : fileNotFound(exchange);
    case "GET /health":
    case "GET /v1/health":
      return replyLlamaJson(exchange, 200, { status: "ok" });
    case "GET /props":
      return replyLlamaJson(exchange, 200, props(upstream));
    case "GET /v1/models":
    case "GET /models":
      return replyLlamaJson(exchange, 200, models(upstream.behaviour));
    case "GET /slots":
      return replyLlamaJson(exchange, 200, slots(upstream));
    case "GET /":
      return reply(exchange, 200, { "Content-Type": "text/html" }, "<html>stand-in llama ui</html>");
    default:
      return fileNotFound(exchange);
  }
}

function slots({ behaviour, busySlots }: Upstream): unknown {
  return Array.from({ length: behaviour.slots }, (_, id) => {
    return { id, n_ctx: behaviour.slotContext, speculative: false, is_processing: id < busySlots };
  });
}

function props({ behaviour, sleeping }: Upstream): unknown {
  const { slotContext, alias, modelPath, vision, reasoning } = behaviour;
  const template = reasoning ? "{% if enable_thinking is false %}<think>\n\n</think>\n\n{% endif %}" : "";
  return {
    default_generation_settings: {
      n_ctx: slotContext,
      params: { n_predict: -1, reasoning_format: "auto" },
    },
    total_slots: behaviour.slots,
    model_alias: alias ?? modelPath,
    model_path: modelPath,
    modalities: { vision, video: false, audio: false },
    chat_template: `{% for message in messages %}{{ message.content }}{% endfor %}${template}`,
    chat_template_caps: {
      supports_parallel_tool_calls: true,
      supports_preserve_reasoning: true,
      supports_reasoning_effort: false,
      supports_system_role: true,
      supports_tool_calls: true,
      supports_tools: true,
    },
    build_info: "b11669-Debian",
    is_sleeping: sleeping,
  };
}

function models({ contextSize, trainContext, alias, modelPath, vision }: Behaviour): unknown {
  const id = alias ?? modelPath;
  const architecture = {
    input_modalities: vision ? ["text", "image"] : ["text"],
    output_modalities: ["text"],
  };
  const meta = { n_ctx: contextSize, n_ctx_train: trainContext };
  return { object: "list", data: [{ id, object: "model", architecture, owned_by: "llamacpp", meta }] };
}
