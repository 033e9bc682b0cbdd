import { existsSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { type StartedModel, USUAL_MARGIN_MIB, USUAL_SLOTS } from "../../host/fit/fit.ts";
import type { ServerMemory } from "../../host/fit/server-memory.ts";
import { type HostUnderTest, OLD } from "./machine-row.ts";

/**
 * A model that no config names yet, started by a plain `llama-server -m FILE`.
 *
 * @param program llama-server, by its path or to be found on the path
 * @param file the path of the model on the server, of its first shard
 */
export function plainModel(program: string, file: string, projector?: string): StartedModel {
  return {
    kind: "started",
    program,
    flags: [{ name: "model", value: file }],
    variables: [],
    places: [],
    projector,
    isProjectorOffloaded: true,
    slots: USUAL_SLOTS,
    isUnified: true,
    isSplitFixed: false,
    marginsMiB: [USUAL_MARGIN_MIB],
    uncounted: [],
  };
}

export interface FitHost extends HostUnderTest {
  /** Where programs that stand in for others are. */
  readonly tools: string;
  memory(): ServerMemory;
}

/** What `--help` of the tool says, as far as it counts. */
const HELP = `-c,    --ctx-size N                     size of the prompt context
-np,   --parallel N
-ngl,  --gpu-layers, --n-gpu-layers N   max. number of layers to store in VRAM
-ctk,  --cache-type-k TYPE
-ot,   --override-tensor <tensor name pattern>=<buffer type>,...
-cmoe, --cpu-moe
-m,    --model FNAME                    model path to load
-hf,   -hfr, --hf-repo <user>/<model>[:quant]
--offline                               Offline mode
-fitp, --fit-print [on|off]             print the estimated required memory`;

const DEVICES = `Available devices:
  Vulkan0: AMD Radeon Graphics (RADV GFX1151) (98304 MiB, 45000 MiB free)
  CUDA1: NVIDIA GeForce RTX 3090 (24245 MiB, 0 MiB free)`;

/** Sets \`$c\` and \`$np\` to the size and the slots. */
const ARGUMENTS = `
c= np= last=
for word; do
  case $last in --ctx-size) c=$word ;; --parallel) np=$word ;; esac
  last=$word
done`;

/** What the tool needs of memory and gives: by verbs of `ai-server-admin`, on programs that stand in for llama.cpp's. */
export function fitRow(makeHost: (text: string) => FitHost, isWrapped: boolean): void {
  let host: FitHost;
  beforeEach(() => {
    host = makeHost(OLD);
    host.tool("systemctl", "exit 1");
    host.tool("llama-server", `[ "$*" = --list-devices ] || exit 9\ncat <<'END'\n${DEVICES}\nEND`);
  });
  afterEach(() => host.remove());

  /** What the last programs were called with. */
  const called = (): string[] => {
    const path = join(host.folder, "called");
    return existsSync(path) ? readFileSync(path, "utf8").trimEnd().split("\n") : [];
  };

  function tool(body: string, help = HELP): void {
    const record = `printf '%s|' "$@" >>'${host.folder}/called'; printf '\\n' >>'${host.folder}/called'`;
    host.tool(
      "llama-fit-params",
      `case $* in --help) cat <<'END'\n${help}\nEND\nexit ;; esac\n${record}\n${ARGUMENTS}\n${body}`,
    );
  }

  const MODEL = plainModel("llama-server", "/models/a b'$(touch ran).gguf");

  function single(change: Partial<StartedModel> = {}): StartedModel {
    return { ...MODEL, slots: 1, isUnified: false, ...change };
  }

  test("reports the devices with what is free, the machine's own memory, and where the tool is", async () => {
    tool("exit 1");
    expect(await host.memory().devices()).toEqual({
      kind: "memory",
      devices: [
        {
          name: "Vulkan0",
          description: "AMD Radeon Graphics (RADV GFX1151)",
          totalMiB: 98_304,
          freeMiB: 45_000,
        },
        { name: "CUDA1", description: "NVIDIA GeForce RTX 3090", totalMiB: 24_245, freeMiB: 0 },
      ],
      hostMiB: expect.any(Number),
      tool: join(host.tools, "llama-fit-params"),
    });
    expect(called()).toEqual([]);
  });

  test("asks what sizes need, with the flags that the tool takes and each as one word", async () => {
    tool("echo \"Vulkan0 30822 $((c / 16)) 140 \"; echo 'Host 400 0 17 '; echo 'log line' >&2");
    const flags = [
      ...MODEL.flags,
      { name: "n-gpu-layers", value: "99" },
      { name: "cache-type-k", value: "q8_0" },
      { name: "override-tensor", value: "blk\\.(1|2)\\.ffn_.*_exps\\.=CPU,$(touch ran)" },
      { name: "cpu-moe", value: "" },
      { name: "swa-full", value: "" },
    ];
    expect(await host.memory().needs(single({ flags, slots: 2 }), [4096, 262_144])).toEqual(
      [4096, 262_144].map((tokens) => ({
        kind: "need",
        tokens,
        trained: undefined,
        bound: "at least",
        notes: ["Not counted: what --swa-full changes."],
        devices: [
          { name: "Vulkan0", weightsMiB: 30_822, contextMiB: tokens / 16, computeMiB: 140, projectorMiB: 0 },
          { name: undefined, weightsMiB: 400, contextMiB: 0, computeMiB: 17, projectorMiB: 0 },
        ],
      })),
    );
    const shared = flags.slice(0, 4).flatMap(({ name, value }) => [`--${name}`, value]);
    expect(called()).toEqual(
      [4096, 262_144].map((tokens) =>
        [
          ...[...shared, "--cpu-moe", "--parallel", "2"],
          ...["--offline", "--fit-print", "on", "--ctx-size", String(tokens), ""],
        ].join("|"),
      ),
    );
    expect(existsSync(join(host.home, "ran"))).toBe(false);
  });

  test("of slots that share a cache, each figure is the larger one of one slot and of all", async () => {
    tool('echo "CUDA0 900 $((c / 32 + np * 60)) $((c / np / 64)) "; echo "Host 0 0 1 "');
    const need = await host.memory().need(MODEL, 32_768);
    expect(need).toMatchObject({
      bound: "at most",
      devices: [{ name: "CUDA0", contextMiB: 1024 + 240, computeMiB: 512 }, { name: undefined }],
    });
    tool('echo "CUDA0 900 $((c / 32 + np)) 12 "; echo "Host 0 0 1 "');
    expect(await host.memory().need(MODEL, 32_768)).toMatchObject({ bound: "exact" });
  });

  test("the trained size and the size of the projector are those of the files", async () => {
    tool('echo "CUDA0 900 10 10 "; echo "Host 0 0 1 "');
    const path = join(host.folder, "model.gguf");
    const key = "llama.rope.scaling.original_context_length";
    const entry = (name: string, tokens: number): Buffer => {
      const bytes = Buffer.alloc(8);
      bytes.writeUInt32LE(4);
      bytes.writeUInt32LE(tokens, 4);
      return Buffer.concat([Buffer.from(name), bytes]);
    };
    writeFileSync(path, Buffer.concat([entry("llama.context_length", 262_144), entry(key, 4096)]));
    const projector = join(host.folder, "mmproj it's.gguf");
    writeFileSync(projector, Buffer.alloc(3 * 1024 ** 2 + 1));
    for (const file of [path, projector]) host.own(file);
    const model = single({ flags: [{ name: "model", value: path }], projector });
    const need = await host.memory().need(model, 4096);
    expect(need).toMatchObject({
      trained: 262_144,
      devices: [{ name: "CUDA0", projectorMiB: 4 }, { projectorMiB: 0 }],
    });
    const onHost = await host.memory().need({ ...model, isProjectorOffloaded: false }, 4096);
    expect(onHost).toMatchObject({ devices: [{ projectorMiB: 0 }, { projectorMiB: 4 }] });
  });

  test("each reason why nothing is known is a sentence", async () => {
    const reasonOf = async (model = single()): Promise<string> => {
      const need = await host.memory().need(model, 4096);
      return need.kind === "unknown" ? need.reason : JSON.stringify(need);
    };
    expect(await reasonOf()).toMatch(
      /there is no llama-fit-params .*; on Debian: llama\.cpp-tools-extra\)\.$/,
    );
    tool("echo", "--ctx-size N\n--model FNAME");
    expect(await reasonOf()).toMatch(/too old, without --fit-print/);
    tool("echo '0.00.010 E llama_model_load: error loading model: no such file' >&2; exit 134");
    expect(await host.memory().need(single(), 4096)).toMatchObject({
      reason: expect.stringMatching(/its file \/models\/a b'\$\(touch ran\)\.gguf is missing on /),
      lacksFile: expect.stringMatching(/^its file .* is missing on /),
    });
    const file = join(host.folder, "there.gguf");
    writeFileSync(file, "");
    const there = { ...plainModel("llama-server", file), slots: 1, isUnified: false };
    tool("echo '0.00.010 E llama_model_load: error loading model: bad magic' >&2; exit 134");
    expect(await reasonOf(there)).toMatch(/failed on .*: llama_model_load: error loading model: bad magic$/);
    const aborted =
      "terminate called after throwing an instance of 'std::runtime_error'\\n  what():  failed to load model";
    tool(`printf "%b\\n" "${aborted}" >&2; exit 134`);
    expect(await reasonOf(there)).toMatch(/llama-fit-params failed on [^:]*: failed to load model$/);
    tool("echo nonsense");
    expect(await reasonOf()).toMatch(/printed something unexpected/);
    tool('echo "Host 0 0 1 "');
    expect(await reasonOf(single({ projector: "/nowhere/mm.gguf" }))).toMatch(
      /its projector .*mm\.gguf cannot be read/,
    );
    tool("exec tail -f /dev/null");
    // The limit passes at once.
    host.tool("sleep", "exit 0");
    const begun = performance.now();
    expect(await reasonOf()).toMatch(/llama-fit-params took longer than 20 s/);
    // The script ended it, and not the client, which waits for longer.
    expect(performance.now() - begun).toBeLessThan(20_000);
    host.tool("sleep", 'exec /bin/sleep "$@"');
    host.tool("llama-server", "echo 'error: no driver' >&2; exit 1");
    expect(await host.memory().devices()).toMatchObject({
      kind: "unknown",
      reason: expect.stringMatching(/--list-devices failed on .*: error: no driver/),
    });
  });

  test("the tool sees the devices that the server's own process sees, or those that the model names", async () => {
    tool('echo "Host ${CUDA_VISIBLE_DEVICES-} ${GGML_VK_VISIBLE_DEVICES-} ${SECRET:-1} "');
    const given = "CUDA_VISIBLE_DEVICES=5 GGML_VK_VISIBLE_DEVICES=6 SECRET=9";
    host.tool(
      "systemctl",
      `case $* in *MainPID*) ;; *) exit 1 ;; esac
      env ${given} /bin/sleep 10 >/dev/null 2>&1 &
      until tr '\\000' '\\n' </proc/$!/environ | grep -q SECRET=9; do :; done
      echo "MainPID=$!"`,
    );
    expect(await host.memory().need(single(), 4096)).toMatchObject({
      devices: [{ weightsMiB: 5, contextMiB: 6, computeMiB: 1 }],
    });
    const variables = ["GGML_VK_VISIBLE_DEVICES=3"];
    expect(await host.memory().need(single({ variables }), 4096)).toMatchObject({
      devices: [{ weightsMiB: 5, contextMiB: 3, computeMiB: 1 }],
    });
  });

  // With a restricted key the tool is the one of the key's own path.
  if (isWrapped) return;
  test("finds the tool beside the model's own llama-server, also through links", async () => {
    const folder = join(host.folder, "build's bin");
    mkdirSync(folder);
    const linked = join(host.folder, "llama-server");
    for (const name of ["llama-server", "llama-fit-params"]) {
      const program = join(folder, name);
      const help = `case $* in --help) echo '${HELP.replaceAll("\n", " ")}' ;; *) echo 'Host 5 0 1 ' ;; esac`;
      writeFileSync(program, `#!/bin/sh\n${help}\n`, { mode: 0o755 });
      host.own(program);
    }
    symlinkSync("build's bin/llama-server", linked);
    tool('echo "Host 6 0 1 "');
    for (const program of [join(folder, "llama-server"), linked]) {
      const need = await host.memory().need(single({ program }), 4096);
      expect(need).toMatchObject({ devices: [{ weightsMiB: 5 }], notes: [] });
    }
    const elsewhere = join(host.folder, "alone");
    writeFileSync(elsewhere, "#!/bin/sh\n", { mode: 0o755 });
    expect(await host.memory().need(single({ program: elsewhere }), 4096)).toMatchObject({
      devices: [{ weightsMiB: 6 }],
      notes: [expect.stringMatching(/are those of .*llama-fit-params, which may be of a different version/)],
    });
  });
}
