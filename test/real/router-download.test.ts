import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { beforeEach, expect, onTestFinished, test } from "vitest";
import { readConfig } from "../../config.ts";
import type { Clock } from "../../lib/clock.ts";
import type { Backend, DownloadProgress } from "../../server/kinds/backend.ts";
import { cancelRoutersDownload } from "../../server/kinds/llama-cpp/download.ts";
import { loadModel } from "../../server/load.ts";
import { ModelServer } from "../../server/model-server.ts";
import { type Hub, startHub } from "../../sim/hub.ts";
import { fastClock } from "../support/clock.ts";
import {
  type LlamaServer,
  llamaServerProblem,
  prepareLlamaServer,
  startRouter,
  TINY_MODEL,
} from "../support/llama-server.ts";
import { eventually } from "../support/processes.ts";
import { realSuite } from "../support/programs.ts";
import { faultOf, kept } from "../support/wire.ts";

const TINY = "maker/Tiny-GGUF:Q4_K_M";
const VISION = "maker/Vision-GGUF:Q8_0";
const GATED = "maker/Gated-GGUF:Q8_0";
const TOKEN = "hf_ReaderReaderReaderReaderReaderReade";
const NEVER = new AbortController().signal;

realSuite(llamaServerProblem(), "a model that a real router downloads", () => {
  let hub: Hub;
  let router: LlamaServer;
  let server: ModelServer;
  let backend: Backend;

  async function start(token?: string): Promise<void> {
    const started = await startRouter({ preset: "", args: [], hub: hub.url, ...(token ? { token } : {}) });
    onTestFinished(() => started.stop());
    router = started;
    server = await kept(new ModelServer(readConfig({ AI_SERVER_URL: router.url }, {}, "/nowhere")));
    backend = await server.backend();
  }

  beforeEach(async () => {
    await prepareLlamaServer();
    const tiny = readFileSync(TINY_MODEL);
    hub = await kept(
      startHub({
        repositories: {
          "maker/Tiny-GGUF": { files: { "Tiny-Q4_K_M.gguf": tiny, "Tiny-UD-Q4_K_XL.gguf": tiny } },
          "maker/Vision-GGUF": {
            files: {
              "Vision-Q8_0.gguf": tiny,
              "Vision-BF16.gguf": tiny,
              "mmproj-F16.gguf": { bytes: 900_000 },
            },
          },
          "maker/Gated-GGUF": { gated: "auto", readers: [TOKEN], files: { "Gated-Q8_0.gguf": tiny } },
        },
      }),
    );
    await start();
  });

  function download(
    name: string,
    said: DownloadProgress[] = [],
    signal: AbortSignal = NEVER,
    clock: Clock = fastClock(20),
  ): Promise<string> {
    return (
      backend.download?.(name, { report: (progress) => said.push(progress), signal, clock }) ??
      Promise.reject()
    );
  }

  const running = (): Promise<string[] | undefined> =>
    backend.downloads?.({ timeoutMs: 5000 }) ?? Promise.resolve(undefined);

  /** The names of the files in the router's cache, those that are not whole too. */
  const cached = (): string[] =>
    readdirSync(join(router.folder, ".cache/huggingface/hub"), { recursive: true, encoding: "utf8" }).filter(
      (name) => /\.gguf$|InProgress$/.test(name),
    );

  test("arrives with its progress, is listed under its name, loads, and is deleted", async () => {
    const said: DownloadProgress[] = [];
    hub.setPace(1_000_000);
    expect(await download("maker/Tiny-GGUF:q4_k_m", said)).toBe(TINY);
    const whole = readFileSync(TINY_MODEL).length;
    expect(said.length).toBeGreaterThan(2);
    const done = said.map(({ doneBytes }) => doneBytes);
    expect(done).toEqual(done.toSorted((a, b) => a - b));
    expect(said.at(-1)).toEqual({ doneBytes: whole, totalBytes: whole });
    const found = { id: TINY, isFound: true, state: "unloaded", problem: undefined };
    expect(await server.discover(new Map())).toMatchObject([found]);
    await loadModel(server, TINY, { report: () => {}, signal: NEVER });
    expect(await server.runningNow()).toMatchObject([{ id: TINY, state: "ready" }]);
    // Asked for again, it is there.
    expect(await download(TINY)).toBe(TINY);
    await backend.deleteModel?.(TINY, NEVER);
    expect([await server.discover(new Map()), cached()]).toEqual([[], []]);
  });

  test("is found again after the watching has ended, also under another spelling, and offered only when it is whole", async () => {
    const held = hub.break("Vision-Q8_0.gguf", { holdAfter: 300_000 });
    const leaves = new AbortController();
    const first = download(VISION, [], leaves.signal);
    await held.happened;
    leaves.abort();
    await expect(first).rejects.toThrow(/abort/);
    expect(await running()).toEqual([VISION]);
    expect(await server.discover(new Map())).toMatchObject([{ id: VISION, problem: "downloading" }]);
    const early = faultOf(loadModel(server, VISION, { report: () => {}, signal: NEVER }));
    expect((await early).message).toBe(
      `${VISION} is still being downloaded. Load it when the download has ended.`,
    );
    const again = download("maker/Vision-GGUF:q8_0");
    held.end();
    expect(await again).toBe(VISION);
    expect(await running()).toEqual([]);
    expect(cached()).toHaveLength(2);
  });

  test("is stopped, which leaves nothing of a file that is not whole", async () => {
    hub.setPace(100_000);
    const said: DownloadProgress[] = [];
    const stopped = faultOf(download(VISION, said));
    await eventually("it has begun", () => (said.some(({ doneBytes }) => doneBytes > 0) ? true : undefined));
    await backend.cancelDownload?.("maker/Vision-GGUF:q8_0", NEVER);
    expect((await stopped).message).toMatch(/^The router did not download .* or another client stopped it\./);
    expect([await running(), cached()]).toEqual([[], []]);
    await backend.cancelDownload?.(VISION, NEVER);
  });

  test("goes on by itself where its transfer was cut, and from what has arrived when it is tried again", async () => {
    const [once, always] = [{ cutAfter: 400_000, times: 1 }, { cutAfter: 0 }];
    hub.break("Tiny-Q4_K_M.gguf", once);
    const cut = hub.break("Tiny-Q4_K_M.gguf", always);
    expect((await faultOf(download(TINY))).message).toMatch(/continues from what has arrived/);
    expect(cached()).toHaveLength(1);
    cut.end();
    expect(await download(TINY)).toBe(TINY);
    const begins = hub.transfers.flatMap(({ method, headers }) => (method === "GET" ? [headers.range] : []));
    expect(new Set(begins.slice(1))).toEqual(new Set(["bytes=400000-"]));
  }, 30_000);

  test("that is gated needs the router's own token, and no token of this machine is sent", async () => {
    const fault = await faultOf(download(GATED));
    expect(fault.message).toMatch(/did not download .* needs HF_TOKEN in the router's own environment/);
    await start(TOKEN);
    expect(await download(GATED)).toBe(GATED);
  });

  test.each(["maker/Nothing-GGUF:Q8_0", "maker/Tiny-GGUF:Q2_K"])("that does not exist: %s", async (name) => {
    expect((await faultOf(download(name))).message).toMatch(
      /^The router has ended the download of .*, but lists no such model:/,
    );
  });

  test("is listed under the end of its quantisation", async () => {
    expect(await download("maker/Tiny-GGUF:UD-Q4_K_XL")).toBe("maker/Tiny-GGUF:Q4_K_XL");
  });

  test("with a name that the router refuses is not begun", async () => {
    expect((await faultOf(download("tiny"))).message).toContain("invalid HF repo format");
    expect(hub.requests).toEqual([]);
  });

  test("is refused while another one of its repository arrives, since both may write to one file", async () => {
    const held = hub.break("Vision-Q8_0.gguf", { holdAfter: 300_000 });
    const first = download(VISION);
    await held.happened;
    expect((await faultOf(download("maker/Vision-GGUF:BF16"))).message).toBe(
      `The router is downloading ${VISION}. Two downloads from one repository at once can damage a file that both need, so maker/Vision-GGUF:BF16 was not begun. Wait until the other one has ended.`,
    );
    held.end();
    await first;
  });

  test("whose process was killed ends with what to do, as does the wish to stop it", async () => {
    const held = hub.break("Vision-Q8_0.gguf", { holdAfter: 300_000 });
    const stuck = faultOf(download(VISION, [], NEVER, fastClock(2000)));
    await held.happened;
    process.kill(downloaderIn(router.folder), "SIGKILL");
    expect((await stuck).message).toMatch(/has not moved for 600 s \(timed out\)\..*\/ai-server-restart/);
    const stop = cancelRoutersDownload(server, VISION, NEVER, fastClock(100));
    expect((await faultOf(stop)).message).toMatch(/^The router has not stopped .*\/ai-server-restart\.$/);
  });
});

/** The process that downloads for the router with this home. */
function downloaderIn(home: string): number {
  const read = (pid: string, name: string): string => {
    try {
      return readFileSync(join("/proc", pid, name), "utf8");
    } catch {
      return "";
    }
  };
  const pid = readdirSync("/proc").find(
    (name) =>
      /^\d+$/.test(name) &&
      read(name, "environ").includes(`HOME=${home}`) &&
      read(name, "environ").includes("LLAMA_SERVER_CHILD_MODE=download"),
  );
  if (pid === undefined) throw new Error("No process downloads");
  return Number(pid);
}
