/** The `/ai-server-*` commands: what they show and how they say it. */
import type { ExtensionCommandContext } from "@earendil-works/pi-coding-agent";
import type { AiServer } from "./ai-server.ts";
import { rememberedFacts, shortTokens } from "./catalog.ts";
import { PROVIDER_ID, type Variables } from "./config.ts";
import { type Link, ServerError, sentenceOf } from "./server/errors.ts";
import type { ModelFacts } from "./server/models.ts";
import { show, widthOf } from "./ui/output.ts";
import { type Column, table } from "./ui/table.ts";
import { waitFor } from "./ui/wait.ts";

const WAY: readonly Link[] = [
  "configuration",
  "certificates",
  "DNS",
  "TCP",
  "TLS",
  "Caddy",
  "llama-swap",
  "model",
];

const COLUMNS: readonly Column[] = [
  { title: "Model", priority: 0 },
  { title: "State", priority: 0 },
  { title: "Context", priority: 1 },
  { title: "From", priority: 4 },
  { title: "Unloads", priority: 3 },
  { title: "Vision", priority: 5 },
  { title: "Thinking", priority: 6 },
];

/** What `/login` stored, as pi resolves it at this moment. */
async function storedVariables(ctx: Pick<ExtensionCommandContext, "modelRegistry">): Promise<Variables> {
  return (await ctx.modelRegistry.getProviderAuth(PROVIDER_ID))?.env ?? {};
}

function idleTime(ttlSeconds: number | undefined): string {
  if (ttlSeconds === undefined) return "";
  if (ttlSeconds <= 0) return "never";
  return ttlSeconds % 60 === 0 ? `${ttlSeconds / 60} min idle` : `${ttlSeconds} s idle`;
}

function row(model: ModelFacts): string[] {
  const isKnown = model.context.source !== "default";
  return [
    model.id,
    model.kind === "peer" || model.kind === "selector" ? model.kind : model.state,
    isKnown ? shortTokens(model.context.value) : "unknown",
    isKnown ? model.context.source : "",
    idleTime(model.ttlSeconds),
    model.vision.source === "default" ? "unknown" : model.vision.value ? "yes" : "no",
    model.thinking.source === "default" ? "unknown" : thinkingWords(model),
  ];
}

function thinkingWords({ thinking: { value } }: ModelFacts): string {
  switch (value.kind) {
    case "none":
      return "no";
    case "switch":
      return "on/off";
    case "effort":
      return value.levels.join("/");
    case "budget":
      return "budget";
    case "always":
      return "always";
  }
}

/** The table of `/ai-server-status`, its lines at most `width` columns wide. */
export function statusTable(models: readonly ModelFacts[], width: number): string {
  if (models.length === 0) return "The server offers no model that can be chatted with.";
  return table(COLUMNS, models.map(row), width).join("\n");
}

/** Which link of the way to the model fails, and the sentence with what to do. */
export function faultReport(error: unknown): string {
  if (!(error instanceof ServerError)) return sentenceOf(error);
  const failed = WAY.indexOf(error.link);
  if (failed < 0) return error.message;
  const way = WAY.slice(0, failed + 1).map((link, at) => (at === failed ? `${link} FAILS` : `${link} ok`));
  return `${way.join(" · ")}\n${error.message}`;
}

async function status(aiServer: AiServer, ctx: ExtensionCommandContext): Promise<void> {
  const facts = await waitFor(ctx, "Asking the server…", async (signal) => {
    const server = await aiServer.server(await storedVariables(ctx));
    const models = await server.discover(rememberedFacts(aiServer.models), { signal });
    return { models, address: server.config.origin + server.config.basePath };
  });
  if (facts === undefined) return;
  show(ctx, `${facts.address}\n${statusTable(facts.models, widthOf(ctx))}`);
}

async function refresh(aiServer: AiServer, ctx: ExtensionCommandContext): Promise<void> {
  const found = await waitFor(ctx, "Asking the server for its models…", async (signal) =>
    aiServer.discover(await storedVariables(ctx), { signal }),
  );
  if (found === undefined) return;
  await aiServer.publish(found.models, ctx.modelRegistry);
  const { changes, models } = found;
  const noun = models.length === 1 ? "model" : "models";
  show(ctx, changes.length === 0 ? `Nothing changed: ${models.length} ${noun}.` : changes.join("\n"));
}

const COMMANDS = { "ai-server-status": status, "ai-server-refresh": refresh } as const;

export type CommandName = keyof typeof COMMANDS;

/** Runs a command. Its faults are shown as sentences and never thrown. */
export async function runCommand(
  name: CommandName,
  aiServer: AiServer,
  ctx: ExtensionCommandContext,
): Promise<void> {
  try {
    await COMMANDS[name](aiServer, ctx);
  } catch (error) {
    show(ctx, faultReport(error), "error");
  }
}
