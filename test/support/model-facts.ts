import type { ModelFacts } from "../../server/models/models.ts";

/** A loaded model with every fact known. */
export function facts(more: Partial<ModelFacts> = {}): ModelFacts {
  return {
    id: "a",
    name: "A",
    state: "ready",
    ttlSeconds: 300,
    kind: "model",
    runsAs: "a",
    problem: undefined,
    failure: undefined,
    context: { value: 131_072, source: "live" },
    outputLimit: { value: 1, source: "default" },
    vision: { value: true, source: "live" },
    thinking: { value: { kind: "switch" }, source: "live" },
    keepsThinking: false,
    keptBy: undefined,
    tools: { value: true, source: "live" },
    needsAlternation: false,
    needsShortCallIds: false,
    trainedContext: undefined,
    sizeBytes: undefined,
    quantization: undefined,
    command: undefined,
    refuted: {},
    ...more,
  };
}
