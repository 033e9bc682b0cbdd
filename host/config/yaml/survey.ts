/** llama-swap's YAML as a whole: what is set for each model and for all, and what in it cannot be meant. Pure. */
import { isMap, isScalar } from "yaml";
import { orFault, ServerError } from "../../../lib/errors.ts";
import { startOfServer } from "../command/model-start.ts";
import type { ServerCommand } from "../command/server-arguments.ts";
import { splitCommand } from "../command/words.ts";
import { tokensOf } from "../context-setting.ts";
import { shown } from "../refusals.ts";
import type { Clash, ConfigSurvey, ModelSurvey, SwapSurvey } from "../survey.ts";
import { positionAt } from "../traced-text.ts";
import {
  expand,
  lookUp,
  type Model,
  nodeAt,
  ROUTING_PLACES,
  readYamlConfig,
  scalarsOf,
  type YamlConfig,
} from "./config.ts";
import { aliasesOf, environmentOf, locate, startOf, yamlSettings } from "./context.ts";
import { misspelledKeys, unknownFlag } from "./refusals.ts";
import { textOfScalar } from "./scalar-source.ts";

/** What stands for a port that llama-swap chooses. */
const PORT = "$" + "{PORT}";

/** @throws {ServerError} that names line and column, where the file is not understood as a whole */
export function yamlSurvey(text: string): ConfigSurvey {
  const config = readYamlConfig(text, true);
  const settings = new Map(yamlSettings(text, true).map((setting) => [setting.model, setting]));
  const models = [...config.models.values()].flatMap((model): ModelSurvey[] => {
    const setting = settings.get(model.id);
    return setting === undefined ? [] : [modelSurvey(config, model, setting)];
  });
  return { models, clashes: clashesIn(config), slips: misspelledKeys(config), swap: swapSurvey(config) };
}

function modelSurvey(config: YamlConfig, model: Model, setting: ModelSurvey["setting"]): ModelSurvey {
  const number = (...path: string[]): number | undefined => numberOf(textAt(config, model, path));
  const ttl = number("ttl");
  const located = orFault(() => locate(config, model));
  const server = located instanceof ServerError ? undefined : located.server;
  const environment = environmentOf(config, model).map((entry) => entry.text.text);
  return {
    id: model.id,
    line: positionAt(config.text, startOf(model.key)).line,
    setting,
    start: server && startOfServer(server, environment),
    assignments: server?.assignments.map(({ text }) => text) ?? [],
    isUnlisted: textAt(config, model, ["unlisted"]) === "true",
    isOther: textAt(config, model, ["metadata", "chat"]) === "false",
    declared: number("capabilities", "context"),
    ttl: ttl !== undefined && ttl >= 0 ? ttl : undefined,
    proxy: textAt(config, model, ["proxy"]),
    fault: faultOf(config, model) ?? (server && flagFault(server)),
  };
}

/** A flag that is meant to be one of llama-server's, which ends with an error on it. */
function flagFault(server: ServerCommand): string | undefined {
  const flag = unknownFlag({ server });
  return (
    flag && `starts ${server.name} with ${shown(flag.value.text)}, which it does not know: its load fails`
  );
}

/** What stands at a path of keys below a model, with macros written out. */
function textAt(config: YamlConfig, model: Model, path: readonly string[]): string | undefined {
  let node: unknown = model.mapping;
  for (const key of path) node = isMap(node) ? lookUp(config.anchors, node, key)?.node : undefined;
  return isScalar(node) && node.value !== null ? expand(config, model, node, false)?.text : undefined;
}

/** Digits, with a sign or without. */
function numberOf(text: string | undefined): number | undefined {
  const size = text === undefined ? undefined : tokensOf(text.replace(/^-/, ""));
  return size === undefined ? undefined : text?.startsWith("-") ? -size : size;
}

/**
 * What llama-swap does not start with (`LoadConfigFromReader` in its `internal/config/config.go`), or cannot start the
 * model with.
 */
function faultOf(config: YamlConfig, model: Model): string | undefined {
  const cmd = lookUp(config.anchors, model.mapping, "cmd")?.node;
  if (!isScalar(cmd) || typeof cmd.value !== "string" || cmd.value.trim() === "")
    return "has no `cmd`, and its load fails";
  const command = expand(config, model, cmd, true);
  if (command === undefined) return undefined;
  if (splitCommand(command) === undefined) return "has a `cmd` in which a quote is left open";
  if (command.text.includes(PORT)) return undefined;
  const proxy = textAt(config, model, ["proxy"]);
  if (proxy !== undefined && !proxy.includes(PORT)) return undefined;
  const why = proxy === undefined ? "the model has no `proxy`" : `its \`proxy\` needs the same ${PORT}`;
  return `has a \`cmd\` without ${PORT}, and ${why}: llama-swap does not start with that`;
}

function clashesIn(config: YamlConfig): Clash[] {
  const holders = new Map<string, string>();
  return [...config.models.values()].flatMap((model) =>
    aliasesOf(config, model).flatMap((name): Clash[] => {
      const other = holders.get(name);
      holders.set(name, model.id);
      const alias = `${shown(name)} is an alias of the model ${shown(model.id)}`;
      if (other !== undefined && other !== model.id) {
        return [{ name, what: `${alias} and of ${shown(other)}: llama-swap does not start.`, isFatal: true }];
      }
      if (!config.models.has(name)) return [];
      return [{ name, what: `${alias}, and a model has that id: the alias is never used.`, isFatal: false }];
    }),
  );
}

function swapSurvey(config: YamlConfig): SwapSurvey {
  const plain = (key: string): string | undefined => {
    const node = nodeAt(config, [key]);
    return isScalar(node) ? textOfScalar(node) : undefined;
  };
  const some = [...config.models.values()].some(
    (model) => textAt(config, model, ["sendLoadingState"]) === "true",
  );
  return {
    healthCheckTimeout: numberOf(plain("healthCheckTimeout")),
    globalTtl: numberOf(plain("globalTTL")) ?? 0,
    sendsLoading: some || plain("sendLoadingState") === "true",
    mayRunTogether: togetherIn(config),
  };
}

interface Group {
  readonly members: ReadonlySet<string>;
  readonly isSwapping: boolean;
  readonly isExclusive: boolean;
  readonly isPersistent: boolean;
}

/** All models that are in no group: one of them runs at a time, and nothing beside it. */
const DEFAULT_GROUP: Group = { members: new Set(), isSwapping: true, isExclusive: true, isPersistent: false };

/** By the groups of the file. A matrix is not followed: with one, any two may run together. */
function togetherIn(config: YamlConfig): SwapSurvey["mayRunTogether"] {
  const has = (name: string): boolean =>
    ROUTING_PLACES.some((place) => nodeAt(config, [...place, name]) !== undefined);
  const groups = ROUTING_PLACES.flatMap((place) => groupsAt(config, [...place, "groups"]));
  const groupOf = (id: string): Group => groups.find(({ members }) => members.has(id)) ?? DEFAULT_GROUP;
  return (one, other) => {
    if (has("matrix")) return true;
    const [first, second] = [groupOf(one), groupOf(other)];
    if (first === second) return !first.isSwapping;
    const evicts = (own: Group, rest: Group): boolean => own.isExclusive && !rest.isPersistent;
    return !evicts(first, second) || !evicts(second, first);
  };
}

function groupsAt(config: YamlConfig, path: readonly string[]): Group[] {
  const node = nodeAt(config, path);
  if (!isMap(node)) return [];
  return node.items.flatMap(({ key }): Group[] => {
    const group = isScalar(key) ? lookUp(config.anchors, node, textOfScalar(key))?.node : undefined;
    if (!isMap(group)) return [];
    const at = (name: string) => lookUp(config.anchors, group, name)?.node;
    const flag = (name: string): string | undefined => {
      const value = at(name);
      return isScalar(value) ? textOfScalar(value) : undefined;
    };
    const members = at("members");
    const scalars = members === undefined ? [] : scalarsOf(config.anchors, members);
    return [
      {
        members: new Set(scalars.map(({ scalar }) => textOfScalar(scalar))),
        isSwapping: flag("swap") !== "false",
        isExclusive: flag("exclusive") !== "false",
        isPersistent: flag("persistent") === "true",
      },
    ];
  });
}
