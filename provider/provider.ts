/** The provider `ai-server` as pi sees it. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import type {
  Api,
  ApiKeyCredential,
  AssistantMessageEventStream,
  Model,
  Provider,
  SimpleStreamOptions,
  TranscriptContext,
} from "@earendil-works/pi-ai";
import { createAssistantMessageEventStream } from "@earendil-works/pi-ai";
import type { ExtensionAPI } from "@earendil-works/pi-coding-agent";
import type { Activities } from "../activity/activities.ts";
import { PLACEHOLDER_API_KEY, PROVIDER_ID } from "../config.ts";
import type { Clock } from "../lib/clock.ts";
import { sentenceOf } from "../lib/errors.ts";
import { parsed, record } from "../lib/json.ts";
import { emptyMessage } from "../stream/message.ts";
import type { AiServer } from "./ai-server.ts";

const NOT_SET_UP =
  "The AI server of this session is not set up here. Run /login ai-server, or set AI_SERVER_URL and the certificates and start pi again; to use another provider, choose one of its models with /model.";

function failTurn(stream: AssistantMessageEventStream, model: Model<Api>, sentence: string): void {
  const error = emptyMessage(model, Date.now());
  error.stopReason = "error";
  error.errorMessage = sentence;
  stream.push({ type: "error", reason: "error", error });
  stream.end();
}

/**
 * Registers the provider; first by name with a key, where that makes a difference: pi then takes it for configured at
 * once, and not only when the last of the overlapping checks of a start has ended, before which pi may choose the
 * session's model (`markProvisionallyConfigured` and `availabilityRefreshSeq` in pi's model-runtime.js). A stored login has
 * the same effect. With each registration pi refreshes all of its providers, which takes as long as loading this one.
 * A pi that only lists models chooses one too, and warns where it finds none.
 */
export function registerProvider(
  pi: Pick<ExtensionAPI, "registerProvider">,
  provider: Provider,
  aiServer: AiServer,
  agentDir: string,
): void {
  const isSetUp = aiServer.isSetUp(undefined) || aiServer.isOnlyClaimed;
  if (isSetUp && !hasLogin(agentDir) && canBeNamed(agentDir))
    pi.registerProvider(PROVIDER_ID, { apiKey: PLACEHOLDER_API_KEY });
  pi.registerProvider(provider);
}

function hasLogin(agentDir: string): boolean {
  const text = textOf(join(agentDir, "auth.json"));
  return text?.includes(PROVIDER_ID) === true && record(record(parsed(text))?.[PROVIDER_ID]) !== undefined;
}

/**
 * Whether pi accepts a registration by name alone, before there are models. pi checks it against models.json
 * (`validateExtensionProvider`) and refuses to start if the user's own models there build on this provider's.
 */
function canBeNamed(agentDir: string): boolean {
  const text = textOf(join(agentDir, "models.json"));
  if (text?.includes(PROVIDER_ID) !== true) return true;
  const all = record(parsed(text));
  if (all === undefined) return false;
  const own = record(record(all.providers)?.[PROVIDER_ID]);
  return own === undefined || Object.keys(own).join() === "modelOverrides";
}

function textOf(path: string): string | undefined {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return undefined;
  }
}

/**
 * Opens nothing; the code of a turn comes with the first one.
 *
 * @param clock of the turns; real time by default
 */
export function createProvider(aiServer: AiServer, activities: Activities, clock?: Clock): Provider {
  const streamSimple = (
    model: Model<Api>,
    context: TranscriptContext,
    options: SimpleStreamOptions = {},
  ): AssistantMessageEventStream => {
    const stream = createAssistantMessageEventStream();
    if (aiServer.isOnlyClaimed) {
      failTurn(stream, model, NOT_SET_UP);
      return stream;
    }
    import("./run-turn.ts")
      .then(({ runTurn }) => runTurn(aiServer, activities, stream, model, context, options, clock))
      .catch((error: unknown) => {
        // As after an update under a running pi.
        const remedy = "The extension could not be loaded; run /reload, or install it again.";
        failTurn(stream, model, `${remedy} (${sentenceOf(error)})`);
      });
    return stream;
  };
  const sourceOf = (credential: ApiKeyCredential | undefined): string | undefined => {
    if (aiServer.isSetUp(credential && (credential.env ?? {})))
      return credential ? "/login" : "AI_SERVER_* or certificate files";
    return aiServer.isOnlyClaimed ? "the session's model" : undefined;
  };

  return {
    id: PROVIDER_ID,
    name: "AI Server",
    auth: {
      apiKey: {
        name: "AI Server (client certificate)",
        login: async (interaction) => (await import("./login.ts")).login(aiServer, interaction),
        // Immediate once the models are known: of the overlapping checks of one start pi keeps only the last.
        check: async ({ credential }) => {
          const source = sourceOf(credential);
          if (source === undefined) return undefined;
          if (!aiServer.isOnlyClaimed) await aiServer.started();
          return { type: "api_key", source };
        },
        resolve: async ({ credential }) => {
          const source = sourceOf(credential);
          if (source === undefined) return undefined;
          const auth = { apiKey: PLACEHOLDER_API_KEY };
          return { auth, ...(credential?.env ? { env: credential.env } : {}), source };
        },
      },
    },
    getModels: () => aiServer.models,
    refreshModels: (context) => aiServer.refresh(context),
    // The options of other protocols do not reach this one.
    stream: (model, context, options) => streamSimple(model, context, options as SimpleStreamOptions),
    streamSimple,
  };
}
