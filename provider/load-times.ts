/** How long models take to load, by the loads that this machine has seen. */

import type { ModelServer } from "../server/model-server.ts";
import type { AiServer } from "./ai-server.ts";
import { baseUrlOf } from "./pi-models.ts";

/** For a look that nobody waits for. */
const LOOK_MS = 5000;

/** About how long a load takes, by the last ones, in milliseconds. */
export async function expectedLoadMs(
  aiServer: Pick<AiServer, "memory">,
  server: ModelServer,
  id: string,
): Promise<number | undefined> {
  const memory = await aiServer.memory();
  return memory.expectedLoadMs(baseUrlOf(server.config), id);
}

/** Keeps how long a load took, with the command line that it belongs to. */
export async function rememberLoad(
  aiServer: Pick<AiServer, "memory">,
  server: ModelServer,
  id: string,
  loadMs: number,
): Promise<void> {
  const [memory, running] = await Promise.all([
    aiServer.memory(),
    server.runningNow(AbortSignal.timeout(LOOK_MS)),
  ]);
  const commandLine = running?.find((model) => model.id === id)?.commandLine;
  await memory.rememberLoad(baseUrlOf(server.config), id, { commandLine, loadMs });
}
