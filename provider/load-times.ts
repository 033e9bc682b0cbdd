/** How long models take to load, by the loads that this machine has seen. */

import type { ModelServer } from "../server/model-server.ts";
import type { AiServer } from "./ai-server.ts";
import { baseUrlOf } from "./pi-models.ts";

/** About how long a load takes, by the last ones, in milliseconds. */
export async function expectedLoadMs(
  aiServer: Pick<AiServer, "memory">,
  server: ModelServer,
  id: string,
): Promise<number | undefined> {
  const memory = await aiServer.memory();
  return memory.expectedLoadMs(baseUrlOf(server.config), id);
}

export async function rememberLoad(
  aiServer: Pick<AiServer, "memory">,
  server: ModelServer,
  id: string,
  loadMs: number,
): Promise<void> {
  const memory = await aiServer.memory();
  await memory.rememberLoad(baseUrlOf(server.config), id, loadMs);
}
