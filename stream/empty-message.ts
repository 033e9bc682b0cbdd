import type { Api, AssistantMessage, Model } from "@earendil-works/pi-ai";

/** An answer before anything came of it. */
export function emptyMessage(
  model: Pick<Model<Api>, "api" | "provider" | "id">,
  timestamp: number,
): AssistantMessage {
  return {
    role: "assistant",
    content: [],
    api: model.api,
    provider: model.provider,
    model: model.id,
    usage: {
      input: 0,
      output: 0,
      cacheRead: 0,
      cacheWrite: 0,
      totalTokens: 0,
      cost: { input: 0, output: 0, cacheRead: 0, cacheWrite: 0, total: 0 },
    },
    stopReason: "pending",
    timestamp,
  };
}
