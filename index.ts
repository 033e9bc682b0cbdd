/** The extension: registers the provider and the commands, and hands pi's events to the session. */
import type { ExtensionAPI } from "@earendil-works/pi-coding-agent";
import type { CommandName } from "./admin.ts";
import { agentDirOf } from "./config/set-up.ts";
import { ANSWER_KEY } from "./lib/thinking.ts";
import type { ProviderParts } from "./provider/provider.ts";
import { registerStoredModels } from "./provider/registration.ts";
import type { Session } from "./session/session.ts";
import type { Result } from "./ui/result.ts";
import type { Results } from "./ui/results.ts";

const COMMANDS: Readonly<Record<CommandName, string>> = {
  "ai-server": "Show the AI server live: [<id>]",
  "ai-server-status": "Show the models of the AI server and their state: [<id>] [--ssh]",
  "ai-server-refresh": "Read the models of the AI server again: [--config]",
  "ai-server-load": "Load a model: <id>",
  "ai-server-unload": "Unload a model, or all of them: [<id>]",
  "ai-server-add": "Add a model from Hugging Face: [<owner/repo>[:<quant>]]",
  "ai-server-remove": "Remove a model from the AI server's config: <id>",
  "ai-server-ctx": "Show or change a model's context size: <id> [<size>, or max]",
  "ai-server-preset": "Show the AI server's config: [<id>]",
  "ai-server-restart": "Restart the AI server and load its models again",
  "ai-server-rollback": "Restore a backup of the AI server's config: [<stamp>]",
  "ai-server-logs": "Show the log of a model, or of the AI server: [<id>]",
  "ai-server-devices": "Show, enrol, add and revoke devices: [list|enrol|add|revoke] [<name>]",
  "ai-server-doctor": "Check the whole way to the model, from this laptop on: [--fix] [--model <id>]",
  "ai-server-last": "Show the figures of the last turns on the AI server",
};

/** The type of the session's entries that stand for results of commands. */
const RESULT_ENTRY = "ai_server_result";

export default async function aiServerExtension(pi: ExtensionAPI): Promise<void> {
  let session: Session | undefined;
  /** The session that begins, while its code is loaded. */
  let coming: Promise<Session | undefined> | undefined;
  const current = async (): Promise<Session | undefined> => coming ?? session;
  const { env } = process;
  const agentDir = agentDirOf(env);
  let opened: Promise<ProviderParts> | undefined;
  const parts = (): Promise<ProviderParts> => {
    opened ??= import("./provider/provider.ts").then(({ openProvider }) =>
      openProvider(pi, env, agentDir, () => session),
    );
    return opened;
  };
  // The first command makes them; an entry that is older than that has no result any more.
  let results: Results | undefined;
  pi.registerEntryRenderer(RESULT_ENTRY, ({ data }, _, theme) => results?.view(data, theme));

  for (const [name, description] of Object.entries(COMMANDS)) {
    pi.registerCommand(name, {
      description,
      handler: async (argument, ctx) => {
        const ended = session?.ended ?? new AbortController().signal;
        const { aiServer, activities } = await parts();
        const [{ runCommand }, { Results }] = await Promise.all([
          import("./admin.ts"),
          import("./ui/results.ts"),
        ]);
        results ??= new Results();
        const kept = results;
        const keepResult = (result: Result): void => pi.appendEntry(RESULT_ENTRY, kept.keep(result));
        const selectModel: ExtensionAPI["setModel"] = (model) => pi.setModel(model);
        const use = { aiServer, activities, selectModel, keepResult, ctx, argument, ended };
        await runCommand(name as CommandName, use);
        session?.commandEnds();
      },
    });
  }

  pi.registerShortcut(ANSWER_KEY, {
    description: "AI server: end the model's thinking, so that it answers now",
    handler: () => session?.answerNow(),
  });

  pi.on("session_start", async ({ reason }, ctx) => {
    session?.end();
    session = undefined;
    const opening = parts().then(async (all) => {
      const { Session } = await import("./session/session.ts");
      // Shut down meanwhile.
      if (coming !== opening) return undefined;
      coming = undefined;
      session = new Session({ pi, ctx, ...all, agentDir });
      return session;
    });
    coming = opening;
    await (await opening)?.begin(reason);
  });
  pi.on("session_shutdown", async () => {
    coming = undefined;
    session?.end();
    session = undefined;
    await (await opened)?.aiServer.close();
  });
  pi.on("input", async ({ text }) =>
    (await (await current())?.refusesPrompt(text)) ? { action: "handled" } : undefined,
  );
  pi.on("model_select", async (event) => (await current())?.modelSelected(event));
  pi.on("thinking_level_select", async ({ level }) => (await current())?.levelSelected(level));
  pi.on("agent_start", () => session?.agentStarts());
  pi.on("turn_start", () => session?.turnStarts());
  pi.on("agent_end", ({ messages }) => session?.agentEnds(messages));
  pi.on("agent_settled", () => session?.agentSettles());
  pi.on("session_before_compact", async () =>
    (await (await current())?.refusesCompaction()) ? { cancel: true } : undefined,
  );
  pi.on("session_compact", () => session?.compactionEnds());
  pi.on("session_compact_failed", () => session?.compactionEnds());

  // A list needs the stored models alone; all else waits for a session, which a pi that lists does not begin.
  const isList = process.argv.includes("--list-models");
  if (!isList || !registerStoredModels(pi, env, agentDir)) await parts();
}
