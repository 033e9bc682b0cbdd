import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { onTestFinished } from "vitest";
import { Activities } from "../../activity/activities.ts";
import { runCommand } from "../../admin.ts";
import { AiServer } from "../../provider/ai-server.ts";
import { contextOf, type Place } from "./command-place.ts";
import { keptBy, User } from "./command-user.ts";

/** A laptop that leads to any server, and knows no ssh unless the variables say so. */
export function doctorFor(env: Readonly<Record<string, string>>): Pick<Place, "type"> {
  const agentDir = mkdtempSync(join(tmpdir(), "doctor-test-"));
  const aiServer = new AiServer({ env: { ...env }, agentDir, now: Date.now, onChanged: () => {} });
  const ended = new AbortController();
  onTestFinished(async () => {
    await aiServer.close();
    rmSync(agentDir, { recursive: true, force: true });
  });
  return {
    async type(line, user = new User("json")) {
      const argument = line.replace(/^\S+ ?/, "");
      const ctx = contextOf(aiServer, user);
      const use = { aiServer, activities: new Activities(), selectModel: async () => false };
      await runCommand("ai-server-doctor", {
        ...use,
        ctx,
        argument,
        ended: ended.signal,
        keepResult: keptBy(ctx),
      });
      return user;
    },
  };
}
