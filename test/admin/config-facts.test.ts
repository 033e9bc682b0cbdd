import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { beforeEach, describe, expect, onTestFinished, test } from "vitest";
import { type ConfigFacts, configFacts, learnConfig } from "../../admin/config-facts.ts";
import type { HostFile } from "../../host/ssh/machine.ts";
import { Memory } from "../../memory/memory.ts";
import { startPlace } from "../support/command-place.ts";

const file = (name: string, text: string): HostFile => ({ name, text, hash: "", mode: "-rw-r--r--" });
const read = (...files: HostFile[]): ConfigFacts => configFacts(files, ({ name }) => `/etc/${name}`);

const YAML = `
macros:
  base: 16384
  big: --ctx-size 131072 --parallel 4
models:
  plain: { cmd: "llama-server --port \${PORT} -c 8192" }
  slots: { cmd: "llama-server --port \${PORT} \${big}" }
  unified: { cmd: "llama-server --port \${PORT} \${big} --kv-unified" }
  nested:
    macros: { ctx: "\${base}" }
    cmd: llama-server --port \${PORT} --ctx-size \${ctx}
  variable:
    cmd: llama-server --port \${PORT}
    env: [LLAMA_ARG_CTX_SIZE=4096]
  unset: { cmd: "llama-server --port \${PORT}" }
  limited: { cmd: "llama-server --port \${PORT} \${big} --kv-unified-per-slot 2000" }
  only-limited: { cmd: "llama-server --port \${PORT} -np 4", env: [LLAMA_ARG_KV_UNIFIED_PER_SLOT=2048] }
  vllm: { cmd: "vllm serve x --port \${PORT} --max-model-len 32K" }
  trained: { cmd: "llama-server --port \${PORT} -c 0" }
  elsewhere: { cmd: "llama-server --port \${PORT} -c \${env.CTX}" }
  odd: { cmd: "bash -c 'a \${PORT}; b'" }
`;

const INI = `
[*]
ctx-size = 16384
[one]
model = /m/one.gguf
[two]
model = /m/two.gguf
ctx-size = 32768
parallel = 2
[three]
model = /m/three.gguf
c = 32768
np = 2
kv-unified = true
[four]
model = /m/four.gguf
kv-unified-per-slot = 2048
`;

describe("the windows in a config", () => {
  test("are those of one request, macros resolved", () => {
    const { windows, problems, isWhole } = read(file("config.yaml", YAML));
    expect(Object.fromEntries(windows)).toEqual({
      plain: 8192,
      slots: 32_768,
      unified: 131_072,
      nested: 16_384,
      variable: 4096,
      unset: undefined,
      limited: 2000,
      "only-limited": 2048,
      vllm: 32_768,
      trained: undefined,
      elsewhere: undefined,
      odd: undefined,
    });
    expect(isWhole).toBe(true);
    expect(problems).toEqual([
      expect.stringMatching(
        /^The context size of "elsewhere" \(-c in \/etc\/config\.yaml, line \d+\) is not a plain/,
      ),
      expect.stringContaining("odd"),
    ]);
  });

  test("are read in a preset too, and in all files of a folder", () => {
    const { windows, problems } = read(
      file("models.ini", INI),
      file("b.yml", "models: { x: { cmd: llama-server -c 512 } }"),
    );
    expect(problems).toEqual([]);
    expect(Object.fromEntries(windows)).toEqual({
      one: 16_384,
      two: 16_384,
      three: 32_768,
      four: 2048,
      x: 512,
    });
  });

  test("of a broken file are unknown, with the place where it is broken", () => {
    const { windows, problems, isWhole } = read(file("a.yaml", "models: ["), file("b.ini", INI));
    expect([windows.size, isWhole]).toEqual([4, false]);
    expect(problems).toEqual([expect.stringMatching(/^\/etc\/a\.yaml: .*line 1/)]);
  });
});

describe("the windows of a config are remembered", () => {
  const URL_ONE = "https://one.example";
  const live = (value: number) => ({ value, source: "live" });
  const found = (windows: Record<string, number | undefined>, isWhole = true): ConfigFacts => ({
    windows: new Map(Object.entries(windows)),
    problems: [],
    isWhole,
  });
  let folder = "";
  let memory: Memory;
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), "config-facts-"));
    onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
    memory = new Memory(join(folder, "ai-server.json"), () => 1);
  });
  const learn = (facts: ConfigFacts): Promise<boolean> => learnConfig(memory, URL_ONE, facts, 10);
  const context = async (): Promise<unknown> => (await memory.facts(URL_ONE, "a"))?.context;

  test("until the next time that it is read", async () => {
    expect(await learn(found({ a: 8192, b: undefined }))).toBe(true);
    expect(await context()).toEqual({ value: 8192, source: "config file" });
    await learn(found({ a: 4096 }));
    expect(await context()).toEqual({ value: 4096, source: "config file" });
    await learn(found({}, false));
    expect(await context()).toEqual({ value: 4096, source: "config file" });
    await learn(found({ a: undefined }));
    expect(await context()).toMatchObject({ source: "default" });
  });

  test("unless a running model reported another one for the same figure", async () => {
    const refuted = { commandLine: 131_072 };
    await memory.remember(URL_ONE, "a", { context: live(32_768), refuted, seenAt: 5 });
    for (const same of [131_072, 32_768, undefined]) {
      await learn(found({ a: same }));
      expect(await context()).toEqual(live(32_768));
    }
    await learn(found({ a: 65_536 }));
    expect(await context()).toEqual({ value: 65_536, source: "config file" });
  });

  test("or says that it could not be kept", async () => {
    rmSync(folder, { recursive: true });
    expect(await learn(found({ a: 8192 }))).toBe(false);
    expect(await learn(found({ a: undefined }))).toBe(true);
  });
});

describe("/ai-server-refresh --config", () => {
  const CONFIG = (size: string, more = ""): string => `
macros: { size: "--ctx-size ${size}" }
models:
  a:
    cmd: llama-server --port \${PORT} --load 0.2 \${size}
    aliases: [also-a]
${more}  b: { cmd: "llama-server --port \${PORT} -c 8192", metadata: { context_length: 4096 } }
includeAliasesInList: true
`;

  test("says what changed, loads nothing, and the models have it from then on", async () => {
    const place = await startPlace(CONFIG("131072 --parallel 2"));
    await place.type("/ai-server-refresh");
    const { notices } = await place.type("/ai-server-refresh --config");
    expect(notices).toEqual([
      {
        level: "info",
        text: [
          "2 changes, 3 models now",
          "The config sets the context size of 2 of its 2 models.",
          "a: context 64k",
          "also-a: context 64k",
        ].join("\n"),
      },
    ]);
    const known = place.aiServer.models.map(({ contextWindow, aiServer }) => [
      contextWindow,
      aiServer.context.source,
    ]);
    expect(known).toEqual([
      [65_536, "config file"],
      [65_536, "config file"],
      [4096, "declared"],
    ]);
    await place.type("/ai-server-refresh");
    expect(place.aiServer.models[0]?.aiServer.context.source).toBe("config file");
    const [text] = (await place.type("/ai-server-status a")).told;
    expect(text).toContain("65536 tokens a request (config file)");
    expect(place.sim.starts).toEqual({});
    expect(place.restarts).toBe(0);
  });

  test("gives way to what the running model reports, and to nothing once the file no longer sets it", async () => {
    const place = await startPlace(CONFIG("131072 --parallel 2"));
    await place.type("/ai-server-refresh --config");
    await place.load("a");
    await place.type("/ai-server-refresh");
    expect(place.aiServer.models[0]?.aiServer.context).toEqual({ value: 65_536, source: "live" });
    await place.type("/ai-server-unload a");
    place.text = CONFIG("0");
    await place.type("/ai-server-refresh --config");
    expect(place.aiServer.models[0]?.aiServer.context).toEqual({ value: 65_536, source: "last seen" });
  });

  test("says which models it could not read, and reads the others", async () => {
    const place = await startPlace(CONFIG("8192", `  odd: { cmd: "bash -c 'a \${PORT}; b'" }\n`));
    const { notices } = await place.type("/ai-server-refresh --config");
    expect(notices[0]?.level).toBe("warning");
    expect(notices[0]?.text).toMatch(/of 2 of its 3 models[\s\S]*a: added[\s\S]*"odd"/);
    expect(place.aiServer.models[0]?.contextWindow).toBe(8192);
  });

  test("says why the machine is unreachable, and still reads the list", async () => {
    const place = await startPlace(CONFIG("8192"), { AI_SERVER_SSH_HOST: "user@127.0.0.1" });
    place.tool("ssh", "echo 'ssh: connect to host 127.0.0.1 port 22: Connection refused' >&2; exit 255");
    const { notices } = await place.type("/ai-server-refresh --config");
    expect(notices[0]?.level).toBe("warning");
    expect(notices[0]?.text).toMatch(/a: added[\s\S]*The config was not read: .*refuses ssh/);
    expect(place.aiServer.models).toHaveLength(3);
  });

  test("with a file that is not there says so", async () => {
    const place = await startPlace(CONFIG("8192"));
    rmSync(place.path);
    expect((await place.type("/ai-server-refresh --config")).told[0]).toMatch(
      /The config was not read: .*config\.yaml/,
    );
    writeFileSync(place.path, "models: [");
    expect((await place.type("/ai-server-refresh --config")).told[0]).toMatch(/config\.yaml: .*line 1/);
  });
});
