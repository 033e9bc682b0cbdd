import type { Capabilities, Config, ModelConfig } from "./config.ts";
import type { Model } from "./model.ts";

/** The `/v1/models` answer: local models, sorted by id, with aliases of their own where the config asks for it. */
export function listModels(config: Config, models: Map<string, Model>): unknown {
  const created = Math.floor(Date.now() / 1000);
  const data: { id: string; [key: string]: unknown }[] = [];
  for (const model of models.values()) {
    if (model.config.unlisted) continue;
    const { id, aliases } = model.config;
    const status = { value: model.state === "stopped" ? "unloaded" : "loaded" };
    const meta = { ...(aliases.length > 0 ? { aliases } : {}), type: "model" };
    data.push(record(id, created, model.config, meta, status));
    if (!config.includeAliasesInList) continue;
    for (const alias of aliases) {
      data.push(record(alias, created, model.config, { modelID: id, type: "alias" }, status));
    }
  }
  const shared = { object: "model", created, owned_by: "llama-swap", status: { value: "unloaded" } };
  for (const { id, peerId } of config.peers.values()) {
    data.push({ id, ...shared, meta: { llamaswap: { peerID: peerId, type: "peer" } } });
  }
  for (const { id, strategy, targets } of config.selectors.values()) {
    data.push({ id, ...shared, meta: { llamaswap: { strategy, targets, type: "selector" } } });
  }
  return { data: data.sort((a, b) => (a.id < b.id ? -1 : 1)), object: "list" };
}

/** The payload of a `modelStatus` event: every model, unlisted ones too, then those of the peers. */
export function modelStatus(config: Config, models: Map<string, Model>): unknown {
  const peers = [...config.peers.values()].map(({ id, peerId }) => {
    return { id, name: "", description: "", state: "", unlisted: false, peerID: peerId };
  });
  return [...localStatus(models), ...peers];
}

function localStatus(models: Map<string, Model>): unknown[] {
  return [...models.values()].map(({ config, state }) => {
    const caps = renderCapabilities(config.capabilities);
    return {
      id: config.id,
      name: config.name,
      description: config.description,
      state,
      unlisted: config.unlisted,
      peerID: "",
      ...(config.aliases.length > 0 ? { aliases: config.aliases } : {}),
      ...("capabilities" in caps ? { capabilities: caps.capabilities } : {}),
      ...("context_length" in caps ? { context_length: caps.context_length } : {}),
    };
  });
}

/** The `/running` answer: every model that is not stopped. */
export function listRunning(models: Map<string, Model>): unknown {
  const running = [...models.values()].filter((model) => model.state !== "stopped");
  return {
    running: running.map(({ id, state, config }) => {
      const { cmd, proxy, ttl, name, description } = config;
      return { model: id, state, cmd, proxy, ttl, name, description };
    }),
  };
}

const RENDERED = ["architecture", "capabilities", "supported_parameters", "context_length"];

function record(id: string, created: number, config: ModelConfig, own: object, status: object) {
  const caps = renderCapabilities(config.capabilities);
  // What capabilities say is not said again, or otherwise, by the user's metadata.
  const metadata = Object.entries(config.metadata).filter(
    ([key]) => config.capabilities === undefined || !RENDERED.includes(key),
  );
  const llamaswap = { ...Object.fromEntries(metadata), ...own };
  const context = "context_length" in caps ? { n_ctx: caps.context_length } : {};
  const name = config.name.trim();
  const description = config.description.trim();
  return {
    id,
    object: "model",
    created,
    owned_by: "llama-swap",
    ...(name === "" ? {} : { name }),
    ...(description === "" ? {} : { description }),
    ...caps,
    meta: { llamaswap, ...context },
    status,
  };
}

function renderCapabilities(caps: Capabilities | undefined) {
  if (!caps) return {};
  const takes = (modality: string) => caps.in.includes(modality);
  const gives = (modality: string) => caps.out.includes(modality);
  const flags = {
    ...(takes("audio") && gives("text") ? { audio_transcriptions: true } : {}),
    ...(takes("text") && gives("audio") ? { audio_speech: true } : {}),
    ...(takes("text") && gives("image") ? { image_generation: true } : {}),
    ...(takes("image") && gives("image") ? { image_to_image: true } : {}),
    ...(caps.tools ? { function_calling: true } : {}),
    ...(caps.reranker ? { reranker: true } : {}),
    ...(takes("image") ? { vision: true } : {}),
  };
  const modality = `${caps.in.join("+")}->${caps.out.join("+")}`;
  const architecture = {
    ...(caps.in.length > 0 ? { input_modalities: caps.in } : {}),
    ...(caps.in.length > 0 && caps.out.length > 0 ? { modality } : {}),
    ...(caps.out.length > 0 ? { output_modalities: caps.out } : {}),
  };
  return {
    ...(Object.keys(architecture).length > 0 ? { architecture } : {}),
    ...(Object.keys(flags).length > 0 ? { capabilities: flags } : {}),
    ...(caps.tools ? { supported_parameters: ["tools", "tool_choice"] } : {}),
    ...(caps.context > 0 ? { context_length: caps.context } : {}),
  };
}
