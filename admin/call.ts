/** What every command gets, and how it asks the user. */
import type { Api, Model } from "@earendil-works/pi-ai";
import type { ExtensionCommandContext } from "@earendil-works/pi-coding-agent";
import type { Activities } from "../activity/activities.ts";
import { PROVIDER_ID, type Variables } from "../config.ts";
import { ServerError } from "../lib/errors.ts";
import type { AiServer } from "../provider/ai-server.ts";
import type { ModelServer } from "../server/model-server.ts";
import type { Picking } from "../ui/pick.ts";
import type { Choices, Question } from "../ui/question.ts";
import type { Waiting } from "../ui/wait.ts";

export interface Call {
  readonly aiServer: AiServer;
  readonly ctx: ExtensionCommandContext;
  /** The text after the command's name. */
  readonly argument: string;
  /** The session's end. */
  readonly ended: AbortSignal;
  readonly waiting: Waiting;
}

/** Makes a model pi's own. @returns false where pi has no credentials for it */
export type SelectModel = (model: Model<Api>) => Promise<boolean>;

/** What only the panel and `/ai-server-last` need besides. */
export interface CommandUse extends Call {
  readonly selectModel: SelectModel;
  readonly activities: Activities;
}

/** What `/login` stored, as pi resolves it at this moment. */
export async function storedVariables(
  ctx: Pick<ExtensionCommandContext, "modelRegistry">,
): Promise<Variables> {
  return (await ctx.modelRegistry.getProviderAuth(PROVIDER_ID))?.env ?? {};
}

/** The server of this moment's configuration. @throws {ServerError} */
export async function serverFor({
  aiServer,
  ctx,
}: {
  aiServer: AiServer;
  ctx: Pick<ExtensionCommandContext, "modelRegistry">;
}): Promise<ModelServer> {
  return aiServer.server(await storedVariables(ctx));
}

/**
 * Asks the user before something is changed.
 *
 * @param acts the two choices by what they do: the first one changes nothing
 * @throws {ServerError} in a mode that cannot ask: then nothing may be changed
 */
export async function isConfirmed(
  call: Call,
  question: Question,
  [keep, change]: readonly [keep: string, change: string],
): Promise<boolean> {
  return chosenBy(call, question, [
    { words: keep, means: false },
    { words: change, means: true },
  ]);
}

/**
 * Lets the user choose. The first choice changes nothing.
 *
 * @throws {ServerError} in a mode that cannot ask
 */
export async function chosenBy<T>(call: Call, question: Question, choices: Choices<T>): Promise<T> {
  const { ctx, waiting, ended } = call;
  requireUser(ctx);
  const { ask } = await import("../ui/question.ts");
  return waiting.ask(() => ask(ctx, question, choices, ended));
}

/**
 * Lets the user choose from a list.
 *
 * @returns undefined where the user leaves
 * @throws {ServerError} in a mode that cannot ask
 */
export async function pickedBy<T>(call: Call, picking: Picking<T>): Promise<T | undefined> {
  const { ctx, waiting, ended } = call;
  requireUser(ctx);
  const { pick } = await import("../ui/pick.ts");
  return waiting.ask(() => pick(ctx, picking, ended));
}

/** Whether there is a user to ask. */
export function canAsk({ mode }: Pick<ExtensionCommandContext, "mode">): boolean {
  return mode === "tui" || mode === "rpc";
}

/** @throws {ServerError} in a mode that cannot ask */
export function requireUser(ctx: Pick<ExtensionCommandContext, "mode">): void {
  if (canAsk(ctx)) return;
  throw new ServerError(
    `This command asks before it changes anything, and ${ctx.mode} mode cannot ask. Nothing was changed; run it in pi's terminal or over RPC.`,
    { link: "stream" },
  );
}
