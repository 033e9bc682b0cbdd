import { describe, expect, test } from "vitest";
import { startOfCommand } from "../../../host/config/command/model-start.ts";
import { findStart } from "../../../host/config/config-file.ts";
import type { StartedModel } from "../../../host/fit/fit.ts";
import { startedModel } from "../../../host/fit/started.ts";

function started(command: string, environment: readonly string[] = []): ReturnType<typeof startedModel> {
  const start = startOfCommand(command, environment);
  if (start === undefined) throw new Error(`Nothing is started by ${command}`);
  return startedModel(start);
}

function flagsOf(model: ReturnType<typeof startedModel>): string {
  if (model.kind === "unknown") return model.reason;
  return model.flags.map(({ name, value }) => (value === "" ? name : `${name}=${value}`)).join(" ");
}

const FILE = "-m /m/a.gguf";

describe("the flags of a command", () => {
  test.each([
    ["llama-server -m /m/a.gguf -ngl 99 -c 4096", "model=/m/a.gguf n-gpu-layers=99"],
    ["/opt/llama-server --model /m/a.gguf --gpu-layers all", "model=/m/a.gguf n-gpu-layers=all"],
    [`llama-server ${FILE} --cache_type_k q8_0 -ctv q4_0`, "cache-type-k=q8_0 cache-type-v=q4_0"],
    [`llama-server ${FILE} -fa --jinja -fa off`, "flash-attn=off"],
    [`llama-server ${FILE} -fa --no-mmap`, "flash-attn=on"],
    [`llama-server ${FILE} -ngl 1 -ngl -1`, "n-gpu-layers=-1"],
    [`llama-server ${FILE} -nkvo --kv-offload`, "kv-offload"],
    [
      `llama-server ${FILE} -ot a=CPU --override-tensor 'b\\.(1|2)=CUDA0'`,
      "override-tensor=a=CPU override-tensor=b\\.(1|2)=CUDA0",
    ],
    [`llama-server ${FILE} --alias -ngl --temp 0.7 --host 127.0.0.1 -np 3`, ""],
    [`numactl -N 0 env A=1 taskset -c 1-3 /x/llama-server ${FILE} -b 512`, "batch-size=512"],
    [`sh -c "exec llama-server ${FILE} -sm none -mg 1"`, "split-mode=none main-gpu=1"],
    [`llama serve ${FILE} -dev Vulkan0`, "device=Vulkan0"],
    ["llama-server -hf owner/repo-GGUF:Q4_K_M -ub 256", "hf-repo=owner/repo-GGUF:Q4_K_M ubatch-size=256"],
  ])("%s", (command, flags) => {
    expect(
      flagsOf(started(command))
        .replace("model=/m/a.gguf ", "")
        .replace(/^model=\S+$/, ""),
    ).toBe(flags.replace("model=/m/a.gguf ", ""));
  });

  test("variables stand for flags that are not given, by the config and before the command", () => {
    const model = started(`env LLAMA_ARG_UBATCH=128 llama-server ${FILE} -ctk q8_0`, [
      "LLAMA_ARG_CACHE_TYPE_K=q4_0",
      "LLAMA_ARG_N_GPU_LAYERS=7",
      "LLAMA_ARG_CPU_MOE=1",
      "LLAMA_ARG_SWA_FULL=off",
      "LLAMA_ARG_API_KEY=secret",
    ]);
    expect(flagsOf(model).split(" ").sort()).toEqual(
      ["cache-type-k=q8_0", "cpu-moe", "model=/m/a.gguf", "n-gpu-layers=7", "ubatch-size=128"].sort(),
    );
  });

  test("only variables that choose devices and name libraries go along, and no secret", () => {
    const model = started(`LD_LIBRARY_PATH=/l CUDA_VISIBLE_DEVICES=1 llama-server ${FILE}`, [
      "HF_TOKEN=hf_secret",
      "GGML_VK_VISIBLE_DEVICES=0,1",
      "GGML_CUDA_X=/path",
      "CUDA_INJECTION64_PATH=/x.so",
      "AWS_SECRET_ACCESS_KEY=s",
    ]);
    expect(model).toMatchObject({
      variables: ["GGML_VK_VISIBLE_DEVICES=0,1", "CUDA_VISIBLE_DEVICES=1"],
      places: ["LD_LIBRARY_PATH=/l"],
    });
  });
});

test.each<[string, Partial<StartedModel>]>([
  ["", { slots: 4, isUnified: true }],
  ["--no-kv-unified", { slots: 4, isUnified: false }],
  ["-np 1", { slots: 1, isUnified: false }],
  ["-np 3", { slots: 3, isUnified: false }],
  ["--parallel 3 -kvu", { slots: 3, isUnified: true }],
  ["-kvu -no-kvu --parallel 2", { slots: 2, isUnified: false }],
  ["-np -1", { slots: 4, isUnified: true }],
  ["-fitt 512", { marginsMiB: [512] }],
  ["--fit-target 512,2048", { marginsMiB: [512, 2048] }],
  ["", { marginsMiB: [1024] }],
  ["-ts 3,1", { isSplitFixed: true }],
  ["-sm none", { isSplitFixed: true }],
  ["-sm layer", { isSplitFixed: false }],
  ["--mmproj '/m/it s.gguf'", { projector: "/m/it s.gguf", isProjectorOffloaded: true }],
  ["-mm /m/p.gguf --no-mmproj-offload", { projector: "/m/p.gguf", isProjectorOffloaded: false }],
  ["-mm /m/p.gguf --no-mmproj", { projector: undefined }],
])("what %j says beside its flags", (more, expected) => {
  expect(started(`llama-server ${FILE} ${more}`)).toMatchObject(expected);
});

test.each([
  ["-md /m/draft.gguf -ngld 99", "its draft model"],
  ["--spec-type draft-mtp --spec-draft-n-max 3", "its speculative decoding"],
  ["--lora /m/l.gguf", "its LoRA adapter"],
  ["--mmproj-url http://127.0.0.1/p", "its projector"],
  ["--embeddings", "its output of vectors"],
  ["--mmproj /m/p.gguf -mmdev CUDA1", "the device of its projector"],
  ["--quantum-cache 5", 'what "--quantum-cache" takes'],
])("with %s a part is not counted", (more, part) => {
  expect(started(`llama-server ${FILE} ${more}`)).toMatchObject({ uncounted: [part] });
});

test("what no memory of a device depends on counts as counted", () => {
  const many =
    "--jinja --host 127.0.0.1 --port ${PORT} --temp 0.7 --top-k 20 --min-p 0.0 -t 8 --threads-batch 8 --no-mmap --mlock --metrics --slots --props --no-webui --reasoning-format auto --chat-template-file /x --cache-ram 0 --spec-type ngram-mod --sleep-idle-seconds 60 --log-file /x --fit on -fitc 4096 --api-key x -a name --no-warmup --image-max-tokens 2048 --samplers 'top_k;temp' -s 1 --repeat-penalty 1.0 --dry-multiplier 0.5 --rope-scaling yarn --yarn-orig-ctx 32768 -n -1 --no-context-shift --swa-checkpoints 3 --offline";
  expect(started(`llama-server ${FILE} ${many}`)).toMatchObject({ uncounted: [] });
  const cached = started("llama-server -hf owner/repo");
  expect(cached).toMatchObject({ uncounted: ["a projector that the repository may have"] });
  expect(started("llama-server -hf owner/repo --no-mmproj")).toMatchObject({ uncounted: [] });
});

test.each([
  ["docker run --rm ghcr.io/ggml-org/llama.cpp:server-vulkan -m /m/a.gguf", /runs in a container/],
  ["docker run --rm img llama-server -m /m/a.gguf", /runs in a container/],
  ["ssh gpu llama-server -m /m/a.gguf", /runs on another machine/],
  ["vllm serve /m/a", /started by "vllm", and llama-fit-params knows only llama-server/],
  ["/x/run-model.sh -m /m/a.gguf", /started by "run-model.sh"/],
  ["./a.llamafile -m /m/a.gguf", /started by "a.llamafile"/],
  ["/opt/ik_llama.cpp/build/bin/llama-server -m /m/a.gguf", /ik_llama\.cpp, which has no llama-fit-params/],
  ["llama-server -m /m/a.gguf -fmoe -mla 3", /ik_llama\.cpp/],
  ["llama-server -m /m/a.gguf --rpc 127.0.0.1:50052", /several machines \(--rpc\)/],
  ["llama-server -mu http://127.0.0.1/a.gguf", /names no model file/],
  ["llama-server --models-dir /m", /names no model file/],
  ["llama-server -m ${env.MODELS}/a.gguf", /only the server itself can resolve --model/],
  [`sh -c 'llama-server -m "$M"/a.gguf'`, /only the server itself can resolve --model/],
  ["llama-server -m /m/a.bin", /the value of --model in .* is not a file on the server/],
  [`llama-server ${FILE} --override-kv 'a=str:b c'`, /the value of --override-kv .* is not plain/],
])("nothing is claimed of %s", (command, reason) => {
  expect(started(command)).toEqual({ kind: "unknown", reason: expect.stringMatching(reason) });
});

test("the home of llama-swap's user is that of the one who logs in", () => {
  const model = started(
    "${env.HOME}/llama.cpp/bin/llama-server -m ${env.HOME}/models/a.gguf -mm ${env.HOME}/p.gguf",
  );
  expect(model).toMatchObject({ program: "~/llama.cpp/bin/llama-server", projector: "~/p.gguf" });
  expect(flagsOf(model)).toBe("model=~/models/a.gguf");
});

test("macros, anchors and the environment of a config are resolved", () => {
  const text = `
macros:
  bin: /opt/llama/llama-server
  kv: --cache-type-k q8_0
models:
  a: &a
    env: ["CUDA_VISIBLE_DEVICES=1", "LLAMA_ARG_N_GPU_LAYERS=\${layers}"]
    macros: { layers: 40 }
    cmd: |
      \${bin} --port \${PORT}
      # --no-kv-offload
      -m /models/\${MODEL_ID}.gguf \${kv}
  b:
    <<: *a
    cmd: llama-server -m /b.gguf
`;
  const of = (id: string) => {
    const start = findStart(text, "yaml", id);
    return start && startedModel(start);
  };
  expect(of("a")).toMatchObject({
    program: "/opt/llama/llama-server",
    variables: ["CUDA_VISIBLE_DEVICES=1"],
    flags: [
      { name: "n-gpu-layers", value: "40" },
      { name: "model", value: "/models/a.gguf" },
      { name: "cache-type-k", value: "q8_0" },
    ],
  });
  expect(of("b")).toMatchObject({ program: "llama-server", variables: ["CUDA_VISIBLE_DEVICES=1"] });
});

test("a preset's section is what its router starts, with the values for all models before it", () => {
  const text = `[*]
ngl = 10
cache-type-k = q8_0
LLAMA_ARG_UBATCH = 128
[a]
model = /m/a.gguf
n-gpu-layers = 99
np = 2
no-kv-offload = true
swa-full = off
c = 4096
`;
  const start = findStart(text, "ini", "a", ["/usr/bin/llama-server", "--models-preset", "x.ini"]);
  const model = start && startedModel(start);
  expect(model).toMatchObject({
    program: "/usr/bin/llama-server",
    slots: 2,
    isUnified: false,
    uncounted: [],
  });
  expect(model && flagsOf(model)).toBe(
    "ubatch-size=128 cache-type-k=q8_0 model=/m/a.gguf n-gpu-layers=99 no-kv-offload",
  );
  expect(findStart(text, "ini", "b")).toBeUndefined();
});
