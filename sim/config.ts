import { parseDocument } from "yaml";
import { Fields } from "./fields.ts";
import {
  ConfigError,
  expand,
  expandEnvironment,
  isMap,
  type Macros,
  mergeMacros,
  readMacros,
  rejectUnknownMacros,
} from "./macros.ts";

import { type PeerModel, readPeers, readSelectors, type Selector } from "./peers.ts";

export { ConfigError } from "./macros.ts";

const PORT = `\${PORT}`;

/** Declared input and output of a model (`capabilities:`). */
export interface Capabilities {
  in: string[];
  out: string[];
  tools: boolean;
  reranker: boolean;
  /** Declared context window in tokens, 0 when not declared. */
  context: number;
}

/** One model of llama-swap's config.yaml, its macros expanded. Times are in seconds. */
export interface ModelConfig {
  id: string;
  /** The command line as `/running` shows it: expanded, without full-line comments, line breaks kept. */
  cmd: string;
  /** `NAME=value` */
  env: string[];
  proxy: string;
  aliases: string[];
  /** Idle seconds until it is unloaded; 0 = never. */
  ttl: number;
  name: string;
  description: string;
  unlisted: boolean;
  useModelName: string;
  concurrencyLimit: number;
  sendLoadingState: boolean;
  /** `none` = ready as soon as the process runs. */
  checkEndpoint: string;
  metadata: Record<string, unknown>;
  capabilities: Capabilities | undefined;
}

export interface Config {
  /** Sorted by id. */
  models: Map<string, ModelConfig>;
  /** By id. */
  peers: Map<string, PeerModel>;
  selectors: Map<string, Selector>;
  healthCheckTimeout: number;
  includeAliasesInList: boolean;
  logToStdout: string;
  apiKeys: string[];
  preload: string[];
  ignorePaths: RegExp[];
}

/**
 * Reads llama-swap's config.yaml as its HEAD does, as far as the stand-in needs it; unknown keys are ignored.
 * @throws {ConfigError} for what llama-swap refuses to start with
 */
export function readConfig(text: string, environment: NodeJS.ProcessEnv = process.env): Config {
  const used = JSON.stringify(parseYaml(text));
  const raw = parseYaml(expandEnvironment(text, used, environment));
  const macros = readMacros(raw.macros);
  const top = new Fields(
    "",
    Object.fromEntries(Object.entries(raw).map(([k, v]) => [k, expandTop(k, v, macros)])),
  );
  const startPort = top.number("startPort", 5800);
  if (startPort < 1) throw new ConfigError("startPort must be greater than 1");
  const defaults = { ttl: top.number("globalTTL", 0), sendLoadingState: top.flag("sendLoadingState", false) };
  const models = new Map<string, ModelConfig>();
  let port = startPort;
  for (const [id, value] of Object.entries(top.map("models")).sort(([a], [b]) => (a < b ? -1 : 1))) {
    if (!isMap(value)) throw new ConfigError(`model ${id}: cannot unmarshal into ModelConfig`);
    const expanded = expandModel(id, value, macros, port);
    if (expanded.usesPort) port++;
    models.set(id, readModel(id, new Fields(`model ${id}: `, expanded.model), defaults));
  }
  const config: Config = {
    models,
    peers: readPeers(top.map("peers")),
    selectors: readSelectors(top.map("selectors")),
    healthCheckTimeout: Math.max(15, top.number("healthCheckTimeout", 120)),
    includeAliasesInList: top.flag("includeAliasesInList", false),
    logToStdout: top.text("logToStdout", "proxy"),
    apiKeys: top.list("apiKeys"),
    preload: [],
    ignorePaths: new Fields("", top.map("upstream"))
      .list("ignorePaths")
      .map((pattern) => new RegExp(pattern)),
  };
  if (config.ignorePaths.length === 0) config.ignorePaths = [/.*\.(js|json|css|png|gif|jpg|jpeg|ico|txt)$/];
  rejectDoubles(config, top.map("groups"));
  const preload = new Fields("", new Fields("", top.map("hooks")).map("on_startup")).list("preload");
  config.preload = preload.map((name) => findModel(config, name.trim())?.id ?? "").filter((id) => id !== "");
  return config;
}

/** The model with this id or alias. */
export function findModel(config: Config, name: string): ModelConfig | undefined {
  const models = [...config.models.values()];
  return config.models.get(name) ?? models.find((model) => model.aliases.includes(name));
}

/**
 * Finds the model that a decoded path like `/org/model/v1/props` starts with; the longest name wins.
 * @returns the name as spelled in the path, its model, and the rest of the path (`/` when nothing is left)
 */
export function findModelInPath(config: Config, path: string): [string, ModelConfig, string] | undefined {
  const parts = path.replace(/^\//, "").split("/");
  for (let length = parts.length; length > 0; length--) {
    const name = parts.slice(0, length).join("/");
    const model = findModel(config, name);
    if (model) return [name, model, `/${parts.slice(length).join("/")}`];
  }
  return undefined;
}

function parseYaml(text: string): Record<string, unknown> {
  const document = parseDocument(text, { merge: true });
  const problem = document.errors[0];
  if (problem) throw new ConfigError(`yaml: ${problem.message.split("\n")[0]}`);
  const value: unknown = document.toJS();
  if (value === null) return {};
  if (!isMap(value)) throw new ConfigError("yaml: unmarshal errors: cannot unmarshal into config.Config");
  return value;
}

function expandTop(key: string, value: unknown, macros: Macros): unknown {
  return key === "models" || key === "macros" ? value : expand(value, macros);
}

function expandModel(id: string, raw: Record<string, unknown>, global: Macros, port: number) {
  const { macros: ownMacros, ...fields } = raw;
  if (typeof fields.cmd === "string") fields.cmd = stripComments(fields.cmd);
  fields.proxy ??= `http://localhost:${PORT}`;
  let model = expand(fields, mergeMacros(id, global, readMacros(ownMacros))) as Record<string, unknown>;
  const usesPort = String(model.cmd).includes(PORT);
  if (!usesPort && String(model.proxy).includes(PORT)) {
    throw new ConfigError(
      `model ${id}: proxy uses \${PORT} but cmd does not - \${PORT} is only available when used in cmd`,
    );
  }
  if (usesPort) model = expand(model, [["PORT", port]]) as Record<string, unknown>;
  rejectUnknownMacros(id, model);
  return { model, usesPort };
}

function stripComments(cmd: string): string {
  const lines = cmd.split("\n");
  return lines.filter((line) => !line.trim().startsWith("#")).join("\n");
}

function readModel(
  id: string,
  model: Fields,
  defaults: { ttl: number; sendLoadingState: boolean },
): ModelConfig {
  const ttl = model.number("ttl", -1);
  if (ttl < -1) throw new ConfigError(`model ${id}: invalid TTL value ${ttl}`);
  const caps = model.map("capabilities");
  return {
    id,
    cmd: model.text("cmd", ""),
    env: model.list("env"),
    proxy: model.text("proxy", ""),
    aliases: model.list("aliases"),
    ttl: ttl === -1 ? defaults.ttl : ttl,
    name: model.text("name", ""),
    description: model.text("description", ""),
    unlisted: model.flag("unlisted", false),
    useModelName: model.text("useModelName", ""),
    concurrencyLimit: model.number("concurrencyLimit", 0) || 10,
    sendLoadingState: model.flag("sendLoadingState", defaults.sendLoadingState),
    checkEndpoint: model.text("checkEndpoint", "/health").trim(),
    metadata: model.map("metadata"),
    capabilities:
      Object.keys(caps).length === 0 ? undefined : readCapabilities(new Fields(`model ${id}: `, caps)),
  };
}

function readCapabilities(caps: Fields): Capabilities {
  for (const key of ["in", "out"]) {
    for (const modality of caps.list(key)) {
      if (!["text", "audio", "image"].includes(modality)) {
        throw caps.error(
          `capabilities.${key}: invalid modality "${modality}", must be one of: text, audio, image`,
        );
      }
    }
  }
  return {
    in: caps.list("in"),
    out: caps.list("out"),
    tools: caps.flag("tools", false),
    reranker: caps.flag("reranker", false),
    context: caps.number("context", 0),
  };
}

function rejectDoubles(config: Config, groups: Record<string, unknown>): void {
  const aliases = new Set<string>();
  for (const model of config.models.values()) {
    for (const alias of model.aliases) {
      if (aliases.has(alias)) throw new ConfigError(`duplicate alias ${alias} found in model: ${model.id}`);
      aliases.add(alias);
    }
  }
  for (const group of Object.values(groups)) {
    for (const member of new Fields("", isMap(group) ? group : {}).list("members")) {
      if (!config.models.has(member)) throw new ConfigError(`no model config for "${member}"`);
    }
  }
}
