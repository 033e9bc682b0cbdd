/** The model that a session belongs on, and its notices. Pure. */
import type { Api, Model } from "@earendil-works/pi-ai";
import type { ExtensionContext, ModelRuntime, SessionStartEvent } from "@earendil-works/pi-coding-agent";
import { PROVIDER_ID } from "../config.ts";
import { record, text } from "../lib/json.ts";
import { cleanText } from "../lib/text.ts";
import { unreadModel } from "../provider/pi-models.ts";

/** The entries of a session, as far as they lead to where it is now. */
export type Branch = ReturnType<ExtensionContext["sessionManager"]["getBranch"]>;

/** What pi's choice of a session's model depends on. */
export interface SessionChoice {
  reason: SessionStartEvent["reason"];
  branch: Branch;
  settings: unknown;
  /** The arguments that pi was started with. */
  args: readonly string[];
}

export interface MeantModel {
  id: string;
  /** The models for pi to choose from, as names and patterns of the user; pi takes no default outside of them. */
  scope: readonly string[];
}

/** How a session came to be on the model that it is meant to be on. */
export interface Placed {
  id: string;
  /** `absent`: in no list that was read; `refused`: pi did not take the model, so that nothing may be sent. */
  state: "listed" | "absent" | "not set up" | "refused";
}

/** Whether a session has anything in it that pi would continue. */
export function isContinued(branch: Branch): boolean {
  const messages = ["message", "custom_message", "branch_summary", "compaction"];
  return branch.some(({ type }) => messages.includes(type));
}

/** The model that a session records: of its last choice or its last answer, whichever came later, as pi takes it. */
function recordedModel(branch: Branch): { provider: string; id: string } | undefined {
  for (const entry of branch.toReversed()) {
    if (entry.type === "model_change") return { provider: entry.provider, id: entry.modelId };
    if (entry.type === "message" && entry.message.role === "assistant")
      return { provider: entry.message.provider, id: entry.message.model };
  }
  return undefined;
}

/** Whether a model was chosen since pi began the session; pi records first the model, then the level (sdk.js). */
function isChosenSince(branch: Branch): boolean {
  const begun = branch.findIndex(({ type }) => type === "thinking_level_change");
  return begun !== -1 && branch.slice(begun).some(({ type }) => type === "model_change");
}

/**
 * The level that the user has asked for: on the command line, by itself or after the model; or, for a session that
 * begins, with its model in the models to choose from (`buildSessionOptions` in pi's main.js).
 *
 * @param scoped the model's own level there, as in `--models ai-server/a:off`
 */
export function askedLevel(
  args: readonly string[],
  branch: Branch,
  scoped: string | undefined,
): string | undefined {
  const model = argumentAfter(args, "--model");
  const named = argumentAfter(args, "--thinking") ?? model?.match(/:([a-z]+)$/)?.[1];
  return named ?? (model === undefined && !isContinued(branch) ? scoped : undefined);
}

function argumentAfter(args: readonly string[], name: string): string | undefined {
  const at = args.lastIndexOf(name);
  return at === -1 ? undefined : args[at + 1];
}

/**
 * Whether the models that a user has pi choose from include this one, by pi's own rules: pi has gone by them too, but
 * perhaps without this provider's models.
 *
 * @param available the models of all providers, with this one or without
 */
export async function isInScope(
  { id, scope }: MeantModel,
  available: readonly Model<Api>[],
): Promise<boolean> {
  if (scope.length === 0) return true;
  const { resolveModelScopeWithDiagnostics } = await import("@earendil-works/pi-coding-agent");
  const isIt = (model: Model<Api>): boolean => model.provider === PROVIDER_ID && model.id === id;
  // Its window plays no part in this.
  const models = available.some(isIt) ? available : [...available, unreadModel(id, 0, "")];
  // As much of pi's runtime as is touched.
  const runtime = { getAvailable: async () => models } as unknown as ModelRuntime;
  const { scopedModels } = await resolveModelScopeWithDiagnostics([...scope], runtime);
  return scopedModels.some(({ model }) => isIt(model));
}

/**
 * This provider's model that a session is meant to be on.
 *
 * pi's order: `--model`, which is never changed here; what the session records; the default of the settings, for a
 * session that begins (pi's sdk.js and main.js).
 *
 * @returns undefined where the session is another provider's, or where pi may choose
 */
export function meantModel({ reason, branch, settings, args }: SessionChoice): MeantModel | undefined {
  if (argumentAfter(args, "--model") !== undefined) return undefined;
  const recorded = isContinued(branch) ? recordedModel(branch) : undefined;
  if (recorded !== undefined)
    return recorded.provider === PROVIDER_ID ? { id: recorded.id, scope: [] } : undefined;
  // A session that only loads its extensions again keeps what the user has chosen meanwhile, and one that begins keeps
  // what another extension has, as one of presets does.
  if (reason === "reload" || (reason !== "fork" && isChosenSince(branch))) return undefined;
  const { defaultProvider, defaultModel, enabledModels } = record(settings) ?? {};
  const id = text(defaultModel);
  if (defaultProvider !== PROVIDER_ID || id === undefined) return undefined;
  const listed = Array.isArray(enabledModels) ? enabledModels.map(String) : [];
  const scope = argumentAfter(args, "--models")?.split(",") ?? listed;
  return { id, scope: scope.map((pattern) => pattern.trim()).filter((pattern) => pattern !== "") };
}

export function placedNotice({ id, state }: Placed): string {
  const name = nameOf(id);
  switch (state) {
    case "listed":
      return `AI Server: this session stays on ${name}.`;
    case "absent":
      return `AI Server: this session stays on ${name}, although the server's list of models does not contain it or could not be read. Nothing is sent to another provider until you choose one of its models with /model.`;
    case "not set up":
      return `AI Server: this session stays on ${name}, although the AI server is not set up here. Run /login ai-server, or choose another model with /model. Nothing is sent to another provider until then.`;
    case "refused":
      return heldNotice(id);
  }
}

export function heldNotice(id: string): string {
  return `AI Server: nothing was sent. This session belongs to ${nameOf(id)}, which pi could not select, and another provider's model is selected instead. Choose a model with /model to go on.`;
}

function nameOf(id: string): string {
  return `${PROVIDER_ID}/${cleanText(id, 200)}`;
}
