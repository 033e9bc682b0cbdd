/** The provider `ai-server` as pi sees it. */
import type {
  Api,
  AssistantMessageEventStream,
  Model,
  Provider,
  SimpleStreamOptions,
  TranscriptContext,
} from "@earendil-works/pi-ai";
import { createAssistantMessageEventStream } from "@earendil-works/pi-ai";
import type { Activities } from "./activities.ts";
import type { AiServer } from "./ai-server.ts";
import { PLACEHOLDER_API_KEY, PROVIDER_ID } from "./config.ts";
import { emptyMessage } from "./empty-message.ts";
import { sentenceOf } from "./server/errors.ts";

/** Ends a turn whose code could not be loaded, as after an update under a running pi. */
function failTurn(stream: AssistantMessageEventStream, model: Model<Api>, reason: string): void {
  const error = emptyMessage(model, Date.now());
  error.stopReason = "error";
  error.errorMessage = `The extension could not be loaded; run /reload, or install it again. (${reason})`;
  stream.push({ type: "error", reason: "error", error });
  stream.end();
}

/** Makes the provider. Opens nothing; the code of a turn is loaded with the first one. */
export function createProvider(aiServer: AiServer, activities: Activities): Provider {
  const streamSimple = (
    model: Model<Api>,
    context: TranscriptContext,
    options: SimpleStreamOptions = {},
  ): AssistantMessageEventStream => {
    const stream = createAssistantMessageEventStream();
    import("./turn.ts")
      .then(({ runTurn }) => runTurn(aiServer, activities, stream, model, context, options))
      .catch((error: unknown) => failTurn(stream, model, sentenceOf(error)));
    return stream;
  };

  return {
    id: PROVIDER_ID,
    name: "AI Server",
    auth: {
      apiKey: {
        name: "AI Server (client certificate)",
        login: async (interaction) => (await import("./login.ts")).login(aiServer, interaction),
        check: async ({ credential }) => {
          if (!aiServer.isSetUp(credential && (credential.env ?? {}))) return undefined;
          await aiServer.started();
          return { type: "api_key", source: credential ? "/login" : "AI_SERVER_* or certificate files" };
        },
        resolve: async ({ credential }) =>
          aiServer.isSetUp(credential && (credential.env ?? {}))
            ? {
                auth: { apiKey: PLACEHOLDER_API_KEY },
                ...(credential?.env ? { env: credential.env } : {}),
                source: credential ? "/login" : "AI_SERVER_* or certificate files",
              }
            : undefined,
      },
    },
    getModels: () => aiServer.models,
    refreshModels: (context) => aiServer.refresh(context),
    // The options of other protocols do not reach this one.
    stream: (model, context, options) => streamSimple(model, context, options as SimpleStreamOptions),
    streamSimple,
  };
}
