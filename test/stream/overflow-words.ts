/** What servers write when a prompt does not fit, as reported of them, and what is said to the user. */
export interface OverflowWords {
  server: string;
  /** The body of an answer 400, or the data of an event. */
  body: unknown;
  prompt?: string;
  window?: string;
}

const openAi = (message: string, more: object = {}): unknown => ({
  error: { message, type: "invalid_request_error", param: null, code: null, ...more },
});

export const OVERFLOWS: OverflowWords[] = [
  { server: "Ollama", body: openAi("prompt too long; exceeded max context length by 918 tokens") },
  { server: "Ollama, embedding", body: { error: "the input length exceeds the context length" } },
  {
    server: "Ollama with llama.cpp",
    body: openAi(
      "request (40213 tokens) exceeds the available context size (32768 tokens), try increasing it",
    ),
    prompt: "40,213",
    window: "32,768",
  },
  {
    server: "llama-server of 2025",
    body: openAi("the request exceeds the available context size. try increasing the context size"),
  },
  {
    server: "LM Studio",
    body: {
      error: {
        message:
          "The number of tokens to keep from the initial prompt is greater than the context length. Try to load the model with a larger context length, or provide a shorter input",
      },
    },
  },
  {
    server: "LM Studio before 0.4",
    body: {
      error:
        "Trying to keep the first 111490 tokens when context the overflows. However, the model is loaded with context length of only 32768 tokens, which is not enough.",
    },
    prompt: "111,490",
    window: "32,768",
  },
  {
    server: "LM Studio in mid-answer",
    body: {
      error:
        "Reached context length of 32000 tokens with model (arch: gpt-oss) that does not currently support mid-generation context overflow.",
    },
    window: "32,000",
  },
  { server: "LM Studio with MLX", body: { error: "Context size has been exceeded." } },
  {
    server: "LM Studio, n_keep",
    body: { error: "Cannot truncate prompt with n_keep (9000) >= n_ctx (8192)" },
    prompt: "9,000",
    window: "8,192",
  },
  {
    server: "SGLang",
    body: {
      object: "error",
      message: "The input (61709 tokens) is longer than the model's context length (40960 tokens).",
      type: "BadRequestError",
      param: null,
      code: 400,
    },
    prompt: "61,709",
    window: "40,960",
  },
  {
    server: "SGLang, of its memory",
    body: openAi("Input length (160062 tokens) exceeds the maximum allowed length (59862 tokens)."),
    prompt: "160,062",
    window: "59,862",
  },
  {
    server: "oMLX",
    body: openAi("Prompt too long: 41911 tokens exceeds max context window of 32768 tokens"),
    prompt: "41,911",
    window: "32,768",
  },
  { server: "mlx-serve", body: openAi("Prompt exceeds maximum context length") },
  {
    server: "vMLX",
    body: openAi("prompt_too_long: tokenized VLM text prompt has 20767 tokens"),
    prompt: "20,767",
  },
  {
    server: "vLLM before 0.10",
    body: {
      object: "error",
      message:
        "This model's maximum context length is 16384 tokens. However, you requested 122946 tokens (112946 in the messages, 10000 in the completion). Please reduce the length of the messages or completion. None",
      type: "BadRequestError",
      param: null,
      code: 400,
    },
    prompt: "112,946",
    window: "16,384",
  },
  {
    server: "vLLM",
    body: openAi(
      "This model's maximum context length is 200 tokens. However, your request has 203 input tokens. Please reduce the length of the input messages. None",
      { type: "BadRequestError", code: 400 },
    ),
    prompt: "203",
    window: "200",
  },
  {
    server: "vLLM, of its own length",
    body: openAi(
      "The decoder prompt (length 40000) is longer than the maximum model length of 32768. Make sure that `max_model_len` is no smaller than the number of text tokens.",
      { type: "BadRequestError", code: 400 },
    ),
    prompt: "40,000",
    window: "32,768",
  },
  {
    server: "vLLM with pictures",
    body: openAi(
      "The prompt (total length 40000) is too long to fit into the model (context length 32768). Make sure that `max_model_len` is no smaller than the number of text tokens plus multimodal tokens.",
      { type: "BadRequestError", code: 400 },
    ),
    prompt: "40,000",
    window: "32,768",
  },
  {
    server: "vLLM without a length of the answer",
    body: openAi("max_tokens must be at least 1, got -7232. (parameter=max_tokens, value=-7232)", {
      code: 400,
    }),
  },
  {
    server: "vLLM of 2026",
    body: openAi(
      "You passed 40001 input tokens and requested 1000 output tokens. However, the model's context length is only 32768 tokens, resulting in a maximum input length of 31768 tokens.",
    ),
    prompt: "40,001",
    window: "32,768",
  },
  {
    server: "llama-cpp-python",
    body: openAi("Requested tokens (5000) exceed context window of 4096"),
    prompt: "5,000",
    window: "4,096",
  },
  {
    server: "llama-cpp-python, with its code",
    body: openAi("It does not fit", { param: "messages", code: "context_length_exceeded" }),
  },
  {
    server: "llama-cpp-python, of its own size",
    body: openAi("Prompt tokens (9000) exceed n_ctx (4096)"),
    window: "4,096",
  },
  { server: "Bedrock behind a proxy", body: openAi("Input too long for requested model") },
  { server: "a proxy", body: openAi("Context overflow: the prompt does not fit") },
  {
    server: "xAI behind a proxy",
    body: openAi("This model's maximum prompt length is 131072 but the request contains 537812 tokens."),
    prompt: "537,812",
    window: "131,072",
  },
  {
    server: "TabbyAPI",
    body: { detail: "Prompt length 5000 is greater than max_seq_len 4096" },
    prompt: "5,000",
    window: "4,096",
  },
  {
    server: "text-generation-inference",
    body: {
      error: "Input validation error: `inputs` must have less than 1024 tokens. Given: 1168",
      error_type: "validation",
    },
    prompt: "1,168",
    window: "1,024",
  },
  {
    server: "text-generation-inference, with the answer",
    body: {
      error:
        "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 2048. Given: 3474 `inputs` tokens and 60 `max_new_tokens`",
      error_type: "validation",
    },
    prompt: "3,474",
    window: "2,048",
  },
  {
    server: "LiteLLM",
    body: openAi(
      "litellm.ContextWindowExceededError: litellm.BadRequestError: ContextWindowExceededError: OpenAIException - too long",
      { type: null, code: "400" },
    ),
  },
  {
    server: "LiteLLM before the call",
    body: openAi("Context Window exceeded for given call. No context window fallback group found."),
  },
  {
    server: "OpenRouter",
    body: {
      error: {
        message: "Provider returned error",
        code: 400,
        metadata: {
          raw: '{"error":{"message":"This endpoint\'s maximum context length is 131,072 tokens. However, you requested about 140,000 tokens (139000 of text input, 1000 in the output)."}}',
        },
      },
    },
    prompt: "139,000",
    window: "131,072",
  },
  { server: "a name alone", body: { error: { message: "x", type: "exceed_context_size_error" } } },
  { server: "a name without an object", body: { error: "x", error_code: "context_length_exceeded" } },
  {
    server: "DashScope",
    body: { code: "InvalidParameter", message: "Range of input length should be [1, 30720]" },
  },
  { server: "Groq", body: openAi("Please reduce the length of the messages or completion.") },
  {
    server: "a server of pi's own list",
    body: { detail: "Your request exceeded model token limit: 1 (requested: 2)" },
  },
];

/** What speaks of tokens, windows or limits, and is no overflow. */
export const NO_OVERFLOWS: { server: string; status: number; body: unknown }[] = [
  {
    server: "Bedrock",
    status: 400,
    body: openAi("Too many tokens, rate limit: please wait before trying again."),
  },
  {
    server: "a limit per minute",
    status: 429,
    body: openAi("Rate limit reached: too many tokens per minute"),
  },
  {
    server: "a limit per minute, without its name",
    status: 429,
    body: openAi("too many tokens: try again later"),
  },
  { server: "money", status: 400, body: openAi("token limit exceeded: check your billing") },
  { server: "an empty queue", status: 503, body: openAi("server busy: too many tokens wait") },
  { server: "a wrong field", status: 400, body: openAi("max_tokens: must be a number") },
];
