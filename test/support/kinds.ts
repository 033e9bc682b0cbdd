import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type KindName, type KindOptions, type KindSim, startKindSim } from "../../sim/kinds/server.ts";
import { writeCertificates } from "./certificates.ts";

/** A stand-in of one kind, and the variables of a client with the right certificate. */
export interface KindStandIn extends KindSim {
  readonly env: Record<string, string>;
  /** What was asked, as `GET /v1/models`, in order of arrival. */
  asked(): string[];
  /** How often any model was loaded. */
  loads(): number;
  /** Ends the server; certificates and preset stay until `close`. */
  stop(): Promise<void>;
}

/**
 * Starts a stand-in of this kind behind mutual TLS, with certificates as `writeCertificates` makes them.
 *
 * @param options its models (or a router's preset), speed and keys; see `sim/kinds/server.ts`
 */
export async function startKind(
  kind: KindName,
  options: Omit<KindOptions, "dir"> = {},
): Promise<KindStandIn> {
  const dir = await mkdtemp(join(tmpdir(), "kind-test-"));
  await writeCertificates(join(dir, "certs"));
  const sim = await startKindSim(kind, { ...options, dir });
  let stopping: Promise<void> | undefined;
  const stop = (): Promise<void> => {
    stopping ??= sim.close();
    return stopping;
  };
  const close = async (): Promise<void> => {
    await stop();
    await rm(dir, { recursive: true, force: true });
  };
  return {
    url: sim.url,
    port: sim.port,
    dir,
    certsDir: sim.certsDir,
    presetPath: sim.presetPath,
    requests: sim.requests,
    starts: sim.starts,
    env: { AI_SERVER_URL: sim.url, AI_SERVER_CERTS_DIR: sim.certsDir },
    failNext: (failure) => sim.failNext(failure),
    setSpeed: (speed) => sim.setSpeed(speed),
    sleep: (id) => sim.sleep(id),
    asked: () => sim.requests.map(({ method, path }) => `${method} ${path}`),
    loads: () => Object.values(sim.starts).reduce((sum, count) => sum + count, 0),
    stop,
    close,
  };
}
