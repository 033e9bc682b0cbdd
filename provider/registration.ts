/** How pi comes to know the provider and its models when it starts. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { Provider } from "@earendil-works/pi-ai";
import type { ExtensionAPI } from "@earendil-works/pi-coding-agent";
import {
  API,
  addressIn,
  isSetUp,
  PLACEHOLDER_API_KEY,
  PROVIDER_ID,
  type Variables,
} from "../config/set-up.ts";
import { count, list, parsed, record, text } from "../lib/json.ts";
import type { AiServer } from "./ai-server.ts";
import type { ServedModel } from "./pi-models.ts";

type Registry = Pick<ExtensionAPI, "registerProvider">;

/**
 * Registers the provider; first by name with a key, where that makes a difference: pi then takes it for configured at
 * once, and not only when the last of the overlapping checks of a start has ended, before which pi may choose the
 * session's model (`markProvisionallyConfigured` and `availabilityRefreshSeq` in pi's model-runtime.js). A stored login has
 * the same effect. With each registration pi refreshes all of its providers, which takes as long as loading this one.
 */
export function registerProvider(
  pi: Registry,
  provider: Provider,
  aiServer: AiServer,
  agentDir: string,
): void {
  const canBeUsed = aiServer.isSetUp(undefined) || aiServer.isOnlyClaimed;
  if (canBeUsed && takesName(agentDir)) pi.registerProvider(PROVIDER_ID, { apiKey: PLACEHOLDER_API_KEY });
  pi.registerProvider(provider);
}

/**
 * Registers, by name and in one go, the models of the stored catalogue, where pi will only list them. It chooses one for
 * the list as well, and warns where it finds none.
 *
 * @returns false, with nothing registered, where a list needs the provider itself: nothing is stored of this server, or
 * what is set up comes from a stored login
 */
export function registerStoredModels(pi: Registry, env: Variables, agentDir: string): boolean {
  if (!isSetUp(env, undefined, agentDir) || !takesName(agentDir)) return false;
  const models = storedModels(env, agentDir);
  const baseUrl = models[0]?.baseUrl;
  if (baseUrl === undefined) return false;
  pi.registerProvider(PROVIDER_ID, { apiKey: PLACEHOLDER_API_KEY, baseUrl, models });
  return true;
}

/**
 * From pi's own store, which hands them over only once it refreshes. They are as this extension gave them to pi: their
 * facts, which only a session needs, stay unread.
 */
function storedModels(env: Variables, agentDir: string): ServedModel[] {
  const store = record(parsed(textOf(join(agentDir, "models-store.json")) ?? ""));
  const address = addressIn(env);
  // A wrong address is for the provider to report.
  if (address === undefined) return [];
  const baseUrl = address.origin + address.basePath;
  return list(record(store?.[PROVIDER_ID])?.models).filter((model) => isListable(model, baseUrl));
}

function isListable(value: unknown, baseUrl: string): value is ServedModel {
  const model = record(value);
  return (
    model?.api === API &&
    model.baseUrl === baseUrl &&
    text(model.id) !== undefined &&
    text(model.name) !== undefined &&
    count(model.contextWindow) !== undefined &&
    count(model.maxTokens) !== undefined &&
    list(model.input).length > 0
  );
}

/** Whether a registration by name changes anything for pi, and is accepted. */
function takesName(agentDir: string): boolean {
  return !hasLogin(agentDir) && canBeNamed(agentDir);
}

function hasLogin(agentDir: string): boolean {
  const logins = textOf(join(agentDir, "auth.json"));
  return (
    logins?.includes(PROVIDER_ID) === true && record(record(parsed(logins))?.[PROVIDER_ID]) !== undefined
  );
}

/**
 * Whether pi accepts a registration by name alone, before there are models. pi checks it against models.json
 * (`validateExtensionProvider`) and refuses to start if the user's own models there build on this provider's.
 */
function canBeNamed(agentDir: string): boolean {
  const own = textOf(join(agentDir, "models.json"));
  if (own?.includes(PROVIDER_ID) !== true) return true;
  const all = record(parsed(own));
  if (all === undefined) return false;
  const ours = record(record(all.providers)?.[PROVIDER_ID]);
  return ours === undefined || Object.keys(ours).join() === "modelOverrides";
}

function textOf(path: string): string | undefined {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return undefined;
  }
}
