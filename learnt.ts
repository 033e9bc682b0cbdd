/** What discoveries learn of models, kept on this machine for the time when nobody tells it. */
import {
  baseUrlOf,
  learntFrom,
  processOf,
  readLearnt,
  rememberedFacts,
  restoredModels,
  type ServedModel,
} from "./catalog.ts";
import type { Config } from "./config.ts";
import type { Memory } from "./memory/memory.ts";
import type { LearntFacts } from "./server/models.ts";

/**
 * What was learnt of a server's models, by the id under which each runs: by this process or another one, and where
 * that was never written down, what stands in the catalogue.
 *
 * @param models the catalogue
 */
export async function learntFacts(
  memory: Memory,
  models: readonly ServedModel[],
  config: Pick<Config, "origin" | "basePath">,
): Promise<Map<string, LearntFacts>> {
  const url = baseUrlOf(config);
  const facts = rememberedFacts(restoredModels(models, url));
  for (const [id, stored] of await memory.allFacts(url)) {
    const learnt = readLearnt(stored);
    const known = facts.get(id);
    const isOther =
      learnt.command !== undefined && known?.command !== undefined && learnt.command !== known.command;
    facts.set(id, isOther ? learnt : { ...known, ...learnt });
  }
  return facts;
}

/**
 * Keeps what a discovery has just told of models; what is kept already is not written again.
 *
 * @param models as they were read at this moment
 * @param now Unix time in milliseconds
 */
export async function learn(memory: Memory, models: readonly ServedModel[], now: number): Promise<void> {
  const url = models[0]?.baseUrl;
  if (url === undefined) return;
  const kept = await memory.allFacts(url);
  await Promise.all(
    models.map(async (model) => {
      const id = processOf(model);
      const news = learntFrom(model.aiServer);
      const old: Record<string, unknown> = kept.get(id) ?? {};
      const isKnown = Object.entries(news).every(
        ([name, value]) => JSON.stringify(old[name]) === JSON.stringify(value),
      );
      if (!isKnown) await memory.remember(url, id, { ...news, seenAt: now });
    }),
  );
}
