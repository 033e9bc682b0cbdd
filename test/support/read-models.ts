import { parseListed, parseRunning } from "../../server/kinds/llama-swap/list.ts";
import {
  type Discovery,
  type LiveFacts,
  type ModelFacts,
  modelsOf,
  type RememberedFacts,
} from "../../server/models/models.ts";

export const NO_LIVE: LiveFacts = {
  context: undefined,
  vision: undefined,
  thinking: undefined,
  keepsThinking: undefined,
  keptBy: undefined,
  tools: undefined,
  needsAlternation: undefined,
  needsShortCallIds: undefined,
};

interface Known {
  running?: unknown;
  live?: Record<string, Partial<LiveFacts>>;
  last?: Record<string, RememberedFacts>;
}

/** What is known of the models in an answer of `/v1/models`, beside what `/running` and `/props` said. */
export function read(
  models: unknown,
  { running = { running: [] }, live = {}, last = {} }: Known = {},
): ModelFacts[] {
  const discovery: Discovery = {
    listed: parseListed(models),
    running: running === null ? undefined : parseRunning(running),
    live: new Map(Object.entries(live).map(([id, facts]) => [id, { ...NO_LIVE, ...facts }])),
  };
  return modelsOf(discovery, new Map(Object.entries(last)));
}

export function only(models: readonly ModelFacts[], id?: string): ModelFacts {
  const found = id === undefined ? models : models.filter((model) => model.id === id);
  const [model, ...more] = found;
  if (model === undefined || more.length > 0) throw new Error(`${found.length} models ${id ?? ""}`);
  return model;
}

export const one = (entry: object, known?: Known): ModelFacts =>
  only(read({ data: [{ id: "m", ...entry }] }, known));
export const ids = (models: readonly ModelFacts[]): string[] => models.map(({ id }) => id);
