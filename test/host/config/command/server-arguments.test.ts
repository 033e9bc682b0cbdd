import { expect, test } from "vitest";
import { contextOfCommand } from "../../../../host/config/command/server-arguments.ts";
import { processorTime } from "../../../support/clock.ts";

test.each<[string, number | undefined]>([
  ["llama-server -m x.gguf -c 8192", 8192],
  ["llama-server --ctx-size 8192", 8192],
  ["llama-server --ctx-size=8192", 8192],
  ["llama-server -c 0", 0],
  ["llama-server -c 1024 --ctx-size 2048", 2048],
  ["/opt/llama.cpp/build/bin/llama-server \\\n  -m 'a b.gguf' \\\n  -c 65536 \\\n  -np 4", 65_536],
  ['llama-server -m "x -c 1.gguf" --system-prompt "-c 9" -c 512', 512],
  ["llama-server --ctx-size-draft 4096 -cd 2048", undefined],
  ["LLAMA_ARG_CTX_SIZE=4096 llama-server", 4096],
  ["env LLAMA_ARG_CTX_SIZE=4096 llama-server -c 8192", 8192],
  ["docker run --rm -c 512 ghcr.io/ggml-org/llama.cpp:server -c 8192", 8192],
  ['bash -c "llama-server -c 8192"', 8192],
  ["llama-server -c", undefined],
  ["llama-server -c many", undefined],
  ["llama-server", undefined],
  ["vllm serve x --max-model-len 8192", 8192],
  ["vllm serve x --max-model-len 8k", 8000],
  ["koboldcpp --contextsize 8192 -c 1", 8192],
  ["llama-server -m 'open quote", undefined],
  ["", undefined],
])("%j gives %s", (commandLine, tokens) => {
  expect(contextOfCommand(commandLine)).toBe(tokens);
});

test("reads a very long line quickly", () => {
  const spent = processorTime();
  expect(contextOfCommand(`llama-server ${'--x "y z" \\\n'.repeat(10_000)} -c 4096`)).toBe(4096);
  expect(spent()).toBeLessThan(2000);
});
