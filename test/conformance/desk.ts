import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { ExtensionCommandContext } from "@earendil-works/pi-coding-agent";
import { onTestFinished } from "vitest";
import { Activities } from "../../activity/activities.ts";
import { completer } from "../../admin/completion.ts";
import { type CommandName, runCommand } from "../../admin.ts";
import { AiServer } from "../../provider/ai-server.ts";
import { saying, type User } from "../support/command-user.ts";
import { installSystemdHere } from "../support/systemd.ts";

/** A user of pi with a server of any kind, and no access to its machine. */
export class Desk {
  readonly aiServer: AiServer;
  readonly #activities = new Activities();
  readonly #ended = new AbortController();

  /** @param env the variables that lead to the server */
  constructor(env: Record<string, string>) {
    const agentDir = mkdtempSync(join(tmpdir(), "desk-"));
    installSystemdHere();
    // Nothing of the server's machine is there to be read; the default is a real one.
    const machine = { AI_SERVER_SSH_HOST: "local", AI_SERVER_PRESET_PATH: join(agentDir, "none.ini") };
    this.aiServer = new AiServer({
      env: { ...env, ...machine },
      agentDir,
      now: Date.now,
      onChanged: () => {},
    });
    onTestFinished(async () => {
      this.#ended.abort();
      await this.aiServer.close();
      rmSync(agentDir, { recursive: true, force: true });
    });
  }

  /** Types a command, by default as a user who says yes to every question, and returns what was shown. */
  async type(line: string, user = saying(true)): Promise<string> {
    const [, name = "", argument = ""] = /^\/(\S+) ?(.*)$/s.exec(line) ?? [];
    await runCommand(name as CommandName, {
      aiServer: this.aiServer,
      activities: this.#activities,
      selectModel: async () => false,
      keepResult: () => {},
      ctx: this.contextOf(user),
      argument,
      ended: this.#ended.signal,
    });
    return user.told.join("\n");
  }

  /** What Tab offers behind a command, when the server has answered. */
  async offers(name: CommandName, argument: string): Promise<string[]> {
    const complete = completer(this.aiServer, this.contextOf(saying(true)), this.#ended.signal);
    const command = name.replace(/^ai-server-?/, "ai-server-").replace(/-$/, "");
    const items = await complete(command, argument, this.#ended.signal);
    return (items ?? []).map(({ value }) => value);
  }

  /** Reads the models as pi does when it starts, and registers them. */
  refresh({ allowNetwork } = { allowNetwork: true }): Promise<void> {
    const publish = async ({ update }: { update?: () => void }): Promise<boolean> => {
      update?.();
      return true;
    };
    return this.aiServer.refresh({ allowNetwork, signal: this.#ended.signal, publish });
  }

  /** What pi hands to a command. */
  contextOf(user: User): ExtensionCommandContext {
    return {
      mode: user.mode,
      ui: user.ui,
      isIdle: () => true,
      modelRegistry: {
        getProviderAuth: async () => ({ env: {} }),
        refresh: (options: { allowNetwork: boolean }) => this.refresh(options),
      },
      sessionManager: { getSessionId: () => "session-at-this-desk" },
    } as unknown as ExtensionCommandContext;
  }
}
