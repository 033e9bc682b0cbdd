/** The provider `ai-server` as pi sees it. */
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
import { PLACEHOLDER_API_KEY, PROVIDER_ID, type Variables } from "../config.ts";
import type { Clock } from "../lib/clock.ts";
import { sentenceOf } from "../lib/errors.ts";
import { emptyMessage } from "../stream/message.ts";
import { AiServer } from "./ai-server.ts";
import { registerProvider } from "./registration.ts";

const NOT_SET_UP =
  "The AI server of this session is not set up here. Run /login ai-server, or set AI_SERVER_URL and the certificates and start pi again; to use another provider, choose one of its models with /model.";

function failTurn(stream: AssistantMessageEventStream, model: Model<Api>, sentence: string): void {
  const error = emptyMessage(model, Date.now());
  error.stopReason = "error";
  error.errorMessage = sentence;
  stream.push({ type: "error", reason: "error", error });
  stream.end();
}

/** The provider, and all that it leads to. */
export interface ProviderParts {
  aiServer: AiServer;
  activities: Activities;
  provider: Provider;
  /** Makes pi take the provider for configured at once. */
  register(): void;
}

/** What a session hears from the provider. */
export interface Listener {
  /** The id of pi's session. */
  readonly id: string;
  modelsChanged(windows: readonly string[]): void;
  noticeOfTurn(text: string): void;
}

/**
 * Makes the provider and registers it.
 *
 * @param session the one of the moment, if there is one
 */
export function openProvider(
  pi: Pick<ExtensionAPI, "registerProvider">,
  env: Variables,
  agentDir: string,
  session: () => Listener | undefined,
): ProviderParts {
  const aiServer = new AiServer({
    env,
    agentDir,
    now: Date.now,
    onChanged: (windows) => session()?.modelsChanged(windows),
    onNotice: (text) => session()?.noticeOfTurn(text),
    session: () => session()?.id,
  });
  const { activities } = aiServer;
  const provider = createProvider(aiServer, activities);
  const register = (): void => registerProvider(pi, provider, aiServer, agentDir);
  register();
  return { aiServer, activities, provider, register };
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
