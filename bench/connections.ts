/** How many TLS handshakes a conversation costs, counted by the server. */
import { setTimeout as pause } from "node:timers/promises";
import type { Bench, Figure, Measured } from "./figure.ts";
import { modelIdOf } from "./fixtures.ts";
import { BenchServer } from "./server-process.ts";
import { ExtensionTurns } from "./turns.ts";

const TURNS = 10;
const MODEL_ID = modelIdOf({ kind: "text", deltas: 50, eventsPerWrite: 1 });
/** Enough for the client to notice that the server closed the connection. */
const NOTICE_MS = 500;

export const HANDSHAKES: Figure = {
  name: "handshakesPerTenTurns",
  what: "TLS handshakes for ten turns five seconds apart",
  limit: { exactly: 1 },
  margin: 0,
};

/** Another name, since a client that lets go of idle connections after some seconds would pass here. */
export const HANDSHAKES_QUICK: Figure = {
  ...HANDSHAKES,
  name: "handshakesPerTenTurnsOneSecondApart",
  what: "TLS handshakes for ten turns one second apart",
};

export const RESUMED: Figure = {
  name: "resumedAfterPause",
  what: "1 = the turn after the server closed the idle connection resumes the TLS session",
  limit: { exactly: 1 },
  margin: 0,
};

export async function measureConnections({ certsDir, isQuick }: Bench): Promise<Measured[]> {
  // A server of its own, so that no other handshakes are counted.
  const server = await BenchServer.start(certsDir);
  const turns = new ExtensionTurns(server.env);
  try {
    for (let turn = 0; turn < TURNS; turn++) {
      if (turn > 0) await pause(isQuick ? 1_000 : 5_000);
      await turns.turn(MODEL_ID);
    }
    const { total } = await server.handshakes();
    const before = await server.closeIdleConnections();
    await pause(NOTICE_MS);
    await turns.turn(MODEL_ID);
    const after = await server.handshakes();
    const added = after.total - before.total;
    if (added < 1) throw new Error("The server closed the idle connection, and yet the next turn used it");
    const resumed = after.resumed - before.resumed;
    return [
      { figure: isQuick ? HANDSHAKES_QUICK : HANDSHAKES, value: total, detail: `${TURNS} turns` },
      { figure: RESUMED, value: resumed, detail: `${resumed} of ${added} handshakes after the close` },
    ];
  } finally {
    await turns.close();
    await server.stop();
  }
}
