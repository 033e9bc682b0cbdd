import { describe, expect, test } from "vitest";
import { commandDigest, readCommandLine } from "../../../server/models/command-line.ts";

const contextOf = (command: string): number | undefined => readCommandLine(command).context;

describe("the context window", () => {
  test.each([
    ["llama-server -c 16384", 16_384],
    ["llama-server -c=16384", 16_384],
    ["llama-server --ctx-size 16384", 16_384],
    ["llama-server --ctx-size=16384", 16_384],
    ["llama-server --ctx-size '16384'", 16_384],
    ['llama-server "--ctx-size" "16384"', 16_384],
    ["llama-server --ctx-size=\"16384\" -m '/models/a b -c 1.gguf'", 16_384],
  ])("is read from %s", (command, context) => {
    expect(contextOf(command)).toBe(context);
  });

  test.each([
    ["llama-server -c 1 --ctx-size 2", 2],
    ["llama-server --ctx-size 1 -c 2", 2],
    ["llama-server --ctx-size=1 -c 4096 -c=8192", 8192],
    ["llama-server -c 4096 -np 2 --parallel 4", 1024],
  ])("the last flag wins in %s", (command, context) => {
    expect(contextOf(command)).toBe(context);
  });

  test.each([
    ["llama-server -c 32768 --parallel 2", 16_384],
    ["llama-server -c 32768 --parallel=2", 16_384],
    ["llama-server -np 4 -c 32768", 8192],
    ["llama-server -np=4 -c 32768", 8192],
    ["llama-server -c 5000 -np 3", 1666],
    ["llama-server -c 32768 -np 0", 32_768],
    ["llama-server -c 32768 -np -1", 32_768],
    ["llama-server -c 32768 -np many", 32_768],
  ])("is shared by the slots in %s", (command, context) => {
    expect(contextOf(command)).toBe(context);
  });

  test.each([
    ["llama-server -c 32768 -np 4 --kv-unified", 32_768],
    ["llama-server --kv-unified -c 32768 -np 4", 32_768],
    ["llama-server -c 32768 -np 4 -kvu", 32_768],
    ["llama-server -c 32768 -np 4 --kv-unified --no-kv-unified", 8192],
    ["llama-server -c 32768 -np 4 -kvu -no-kvu", 8192],
    ["llama-server -c 32768 -np 4 --no-kv-unified --kv-unified", 32_768],
  ])("is whole for each slot of a unified cache: %s", (command, context) => {
    expect(contextOf(command)).toBe(context);
  });

  test.each([
    ["llama-server -c 16384 -np 4 --kv-unified-per-slot 2048", 2048],
    ["llama-server -c 1024 -np 4 --kv-unified-per-slot 2048", 256],
    ["llama-server -np 4 --kv-unified-per-slot 2048", 2048],
    ["llama-server -c 0 --kv-unified-per-slot 2048", undefined],
    ["taskset -c 3 llama-server -m a.gguf", undefined],
    ["docker run -c 512 ghcr.io/x/llama-server -c 8192 --alias llama-server", 8192],
    ["vllm serve x --max-model-len 32768", 32_768],
    ["koboldcpp --contextsize 4096", 4096],
    ["lmdeploy serve api_server x --session-len 8192", 8192],
    ["python -m sglang.launch_server --context-length 8192 --max-total-tokens 65536", 8192],
    ["docker run -c 512 vllm/vllm-openai x --max-model-len 8192", 8192],
  ])("has a limit for each slot, and is that of the server alone: %s", (command, context) => {
    expect(contextOf(command)).toBe(context);
  });

  test("is read across line ends, comments being gone, as llama-swap shows a block", () => {
    const command =
      "python3 fake.py --port 18110 \\\n--model /models/slash.gguf\n--ctx-size 32768 --parallel 2\n--alias 'quoted alias'\n";
    expect(contextOf(command)).toBe(16_384);
    expect(contextOf(command.replaceAll("\n", "\r\n"))).toBe(16_384);
    expect(contextOf("llama-server --ctx-size \\\n 4096")).toBe(4096);
    expect(contextOf("llama-server --ctx-size=\\\n4096")).toBeUndefined();
  });

  test.each([
    "",
    "llama-server",
    "llama-server -c",
    "llama-server -c 0",
    "llama-server -c -1",
    "llama-server -c 4096 -c 0",
    "llama-server -c 4k",
    "llama-server -c 4096.5",
    "llama-server -c ''",
    "llama-server --ctx-size=",
    "llama-server -c 99999999999999999999999",
    "llama-server -c 3 -np 4",
    "llama-server --ctx-size-draft 4096 -cd 2048",
    "llama-server -C 4096",
    "llama-server -c 'unclosed",
    "bash -c 'llama-server --ctx-size 4096'",
    `llama-server ${"\\".repeat(1001)}`,
  ])("is unknown in %j", (command) => {
    expect(contextOf(command)).toBeUndefined();
  });
});

describe("the kind of model", () => {
  test.each(["--embedding", "--embeddings", "--rerank", "--reranking"])("%s cannot chat", (flag) => {
    expect(readCommandLine(`llama-server -m x.gguf ${flag} -c 512`)).toEqual({
      contextSize: 512,
      context: 512,
      isChat: false,
    });
  });

  test.each([
    "",
    "llama-server -m /models/embedding.gguf",
    "llama-server --alias rerank",
    "llama-server 'unclosed",
  ])("%j can", (command) => {
    expect(readCommandLine(command).isChat).toBe(true);
  });
});

test("a command line of a megabyte is read within its own length", () => {
  expect(contextOf(`llama-server ${"--flag value ".repeat(80_000)}-c 4096`)).toBe(4096);
});

test("shows the size for all slots beside the share of one", () => {
  expect(readCommandLine("llama-server -c 8192 --parallel 4")).toMatchObject({
    contextSize: 8192,
    context: 2048,
  });
});

describe("beside the window", () => {
  test.each([
    ["-m /models/Qwen3-30B-A3B-Q4_K_M.gguf", "Q4_K_M"],
    ["--model=/models/gemma-3-27b-it-q8_0.gguf", "Q8_0"],
    ["-m /m/GLM-4.6-UD-Q2_K_XL-00001-of-00003.gguf", "UD-Q2_K_XL"],
    ["-m /m/model.IQ3_XXS.gguf", "IQ3_XXS"],
    ["-m /m/gpt-oss-20b-mxfp4.gguf", "MXFP4"],
    ["-m /m/Q4_0/model-BF16.gguf", "BF16"],
    ["-hf unsloth/Qwen3-GGUF:Q6_K", "Q6_K"],
    ["-m /models/tiny.gguf", undefined],
    ["-m /models/Q8000-story.gguf", undefined],
    ["--alias x-Q4_0", undefined],
  ])("the quantisation is that of the file's name: %s", (flags, quantization) => {
    expect(readCommandLine(`llama-server ${flags}`).quantization).toBe(quantization);
  });

  test.each([
    ["--mmproj /m/x.gguf", true],
    ["-mm=/m/x.gguf", true],
    ["--mmproj-url http://x", true],
    ["--mmproj /m/x.gguf --no-mmproj", false],
    ["--mmproj-offload", undefined],
    ["-c 512", undefined],
  ])("a projector shows that a model takes images: %s", (flags, vision) => {
    expect(readCommandLine(`llama-server ${flags}`).vision).toBe(vision);
  });
});

describe("the digest", () => {
  const COMMAND = "llama-server --port 5801 -c 4096 --api-key open-sesame";

  test("is the same whatever the port, and another for everything else", () => {
    expect(commandDigest(COMMAND)).toMatch(/^[0-9a-f]{64}$/);
    const alike = ["--port 0", "--port 60123", '--port "5999"', "--port\n5999"];
    for (const port of alike)
      expect(commandDigest(COMMAND.replace("--port 5801", port))).toBe(commandDigest(COMMAND));
    expect(commandDigest(COMMAND.replace("4096", "8192"))).not.toBe(commandDigest(COMMAND));
    expect(commandDigest("x --rpc-port 1")).not.toBe(commandDigest("x --rpc-port 2"));
    expect(commandDigest("x --port=1")).toBe(commandDigest("x --port=2"));
  });
});
