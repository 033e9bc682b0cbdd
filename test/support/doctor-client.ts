import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { onTestFinished } from "vitest";
import { config } from "../../admin/doctor/config.ts";
import { examine } from "../../admin/doctor/examination.ts";
import { server } from "../../admin/doctor/server.ts";
import { openVisit } from "../../admin/doctor/visit.ts";
import { resultOf } from "../../admin/doctor/words.ts";
import type { Variables } from "../../config.ts";
import { AiServer } from "../../provider/ai-server.ts";
import { contextOf } from "./command-place.ts";
import { User } from "./command-user.ts";
import type { ShownFinding } from "./doctor-findings.ts";

/** What leads to a server: of a place, or of a laptop that knows no ssh. */
interface Laptop {
  readonly aiServer: AiServer;
}

/** A laptop that leads to any server, and knows no ssh unless the variables say so. */
export function laptopFor(env: Variables): Laptop {
  const agentDir = mkdtempSync(join(tmpdir(), "doctor-test-"));
  const aiServer = new AiServer({ env: { ...env }, agentDir, now: Date.now, onChanged: () => {} });
  onTestFinished(async () => {
    await aiServer.close();
    rmSync(agentDir, { recursive: true, force: true });
  });
  return { aiServer };
}

/** What the doctor finds of the server and its config: without the way to it, on which much is sent. */
export async function inspected({ aiServer }: Laptop): Promise<ShownFinding[]> {
  const { signal } = new AbortController();
  const waiting = { signal, say: () => {}, ask: <T>(dialog: () => Promise<T>) => dialog() };
  const ctx = contextOf(aiServer, new User("json"));
  const visit = await openVisit({ aiServer, ctx, argument: "", ended: signal, waiting }, undefined, signal);
  try {
    const { data } = resultOf(await examine(visit, [server, config]), false);
    return (data as { findings: ShownFinding[] }).findings;
  } finally {
    await visit.close();
  }
}

export async function configFindings(laptop: Laptop): Promise<ShownFinding[]> {
  return (await inspected(laptop)).filter(({ group }) => group === "config");
}

/** By check; of several findings of one check the worst. */
export async function worstFindings(laptop: Laptop): Promise<Record<string, ShownFinding>> {
  const order = ["fault", "warning", "ok", "unchecked"];
  const found = await inspected(laptop);
  const best = found.toSorted((a, b) => order.indexOf(b.verdict) - order.indexOf(a.verdict));
  return Object.fromEntries(best.map((finding) => [finding.check, finding]));
}
