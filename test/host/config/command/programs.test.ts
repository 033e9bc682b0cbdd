import { describe, expect, test } from "vitest";
import { findContext, planContextChange } from "../../../../host/config/config-file.ts";
import { ServerError } from "../../../../lib/errors.ts";

const PORT = ["$", "{PORT}"].join("");

function config(cmd: string): string {
  return `models:\n  other: {cmd: llama-server -c 4096}\n  a:\n    cmd: ${JSON.stringify(cmd)}\n`;
}

/** The command that comes of it, or the sentence of the refusal without its place. */
function planned(cmd: string): string {
  const text = config(cmd);
  try {
    const change = planContextChange(text, "yaml", "a", 24_576);
    const line = change.text.split("\n")[3] ?? "";
    expect(change.text).toBe(config(JSON.parse(line.slice(9))));
    return JSON.parse(line.slice(9));
  } catch (error) {
    if (!(error instanceof ServerError)) throw error;
    return error.message.replace(/^The configuration at line 4, column \d+: /, "");
  }
}

describe("what is llama-server gets the flag", () => {
  test.each([
    ["llama-server -m a.gguf", "llama-server -m a.gguf -c 24576"],
    ["/opt/ik_llama.cpp/build/bin/llama-server --jinja", "… --ctx-size 24576"],
    ["C:/llama/llama-server.exe --jinja", "… --ctx-size 24576"],
    ["/usr/bin/my-llama-server-b4719 --jinja", "… --ctx-size 24576"],
    ["/opt/llama.cpp/build/bin/server --jinja", "… --ctx-size 24576"],
    ["llamafile --server --jinja", "… --ctx-size 24576"],
    ["/models/qwen.llamafile --server", "… --ctx-size 24576"],
    [`llama serve --port ${PORT}`, "… --ctx-size 24576"],
    ["llama serve", "llama serve --ctx-size 24576"],
    ["/usr/local/bin/llama server -c 4096", "/usr/local/bin/llama server -c 24576"],
    ["env A=b llama-server --jinja", "… --ctx-size 24576"],
    ["nice -n 5 taskset -c 0-3 numactl --interleave=all llama serve --jinja", "… --ctx-size 24576"],
    ["conda run -n llama llama-server --jinja", "… --ctx-size 24576"],
    ["distrobox enter box -- llama-server --jinja", "… --ctx-size 24576"],
    ["nix shell nixpkgs#llama-cpp -c llama-server --jinja", "… --ctx-size 24576"],
    ["gdb -ex run --args llama-server --jinja", "… --ctx-size 24576"],
    [
      'sh -c "cd /x && exec llama-server --jinja"',
      'sh -c "cd /x && exec llama-server --ctx-size 24576 --jinja"',
    ],
    ['sh -c "llama serve --jinja"', 'sh -c "llama serve --ctx-size 24576 --jinja"'],
    ["docker run --rm ghcr.io/ggml-org/llama.cpp:server-cuda --jinja", "… --ctx-size 24576"],
    ["docker run --rm ghcr.io/ggml-org/llama.cpp:server@sha256:12ab --jinja", "… --ctx-size 24576"],
    ["podman run localhost:5000/me/llama.cpp:full --server --jinja", "… --ctx-size 24576"],
    ["podman run me/llama-server:latest --jinja", "… --ctx-size 24576"],
    ["docker run --rm kyuz0/toolboxes:vulkan llama-server --jinja", "… --ctx-size 24576"],
    ["docker run --entrypoint=/app/llama-server me/x --jinja", "… --ctx-size 24576"],
    ['docker run --entrypoint "" me/x llama-server --jinja', "… --ctx-size 24576"],
    ["docker run --entrypoint llama me/x serve --jinja", "… --ctx-size 24576"],
    [
      'podman run --entrypoint sh me/x -c "llama-server -c 1"',
      'podman run --entrypoint sh me/x -c "llama-server -c 24576"',
    ],
    ["docker exec -it box llama-server --jinja", "… --ctx-size 24576"],
    ['docker exec box sh -c "llama-server -c 4096"', 'docker exec box sh -c "llama-server -c 24576"'],
    ["ssh -p 22 host llama-server --jinja", "ssh -p 22 host llama-server --ctx-size 24576 --jinja"],
    [
      'ssh host "cd /x && ./llama-server -c 4096 --jinja"',
      'ssh host "cd /x && ./llama-server -c 24576 --jinja"',
    ],
    [
      "docker run -e=LLAMA_ARG_CTX_SIZE=1 ghcr.io/ggml-org/llama.cpp:server --jinja",
      "docker run -e=LLAMA_ARG_CTX_SIZE=24576 ghcr.io/ggml-org/llama.cpp:server --jinja",
    ],
  ])("%s", (cmd, expected) => {
    expect(planned(cmd)).toBe(expected.replace("…", cmd));
  });
});

describe("what is not known to be llama-server is left alone, and named", () => {
  test.each([
    ["python -m something --model a.gguf", "something"],
    ["python -m something --engine llama-server -m a.gguf", "something"],
    ["python3 serve.py --upstream=llama-server a.gguf", "serve.py"],
    ["llama-cli -m a.gguf", "llama-cli"],
    ['sh -c "cd /x && exec ./my-server -m a.gguf 2>&1 | tee log"', "my-server"],
    ['bash -lc "python -m something a.gguf"', "something"],
    ['ssh host "cd /x; ./my-server a.gguf"', "my-server"],
    ["toolbox run -c llama-server my-server a.gguf", "toolbox"],
    ["/opt/sd.cpp/server -m a.gguf", "server"],
    ["llama cli -m a.gguf", "llama"],
    ["llama-swap --config x", "llama-swap"],
    ["/opt/llama-server.sh a.gguf", "llama-server.sh"],
    ["llama-server-proxy -m a.gguf", "llama-server-proxy"],
    ["docker run ghcr.io/x/my-llama-tools -m a.gguf", "ghcr.io/x/my-llama-tools"],
    ["docker run ghcr.io/mostlygeek/llama-swap:cuda -m a.gguf", "ghcr.io/mostlygeek/llama-swap:cuda"],
    ["docker run ghcr.io/ggml-org/llama.cpp:light -m a.gguf", "ghcr.io/ggml-org/llama.cpp:light"],
    ["docker run ghcr.io/ggml-org/llama.cpp:full -m a.gguf", "ghcr.io/ggml-org/llama.cpp:full"],
  ])("%s", (cmd, name) => {
    expect(planned(cmd)).toBe(
      `"a" starts "${name}", which is not known to be llama-server, and --ctx-size may mean nothing to it. If it takes a context size, write that into its \`cmd\` by hand.`,
    );
  });

  test.each([
    [`sd-server --listen-port ${PORT} -m /m/a.gguf`, "sd-server"],
    ["whisper-server -fa -m /m/a.gguf -c 4096", "whisper-server"],
    ["mlx_lm.server --model x", "mlx_lm.server"],
    ["text-embeddings-router --model-id a.gguf", "text-embeddings-router"],
    ["infinity_emb v2 --model-id x", "infinity_emb"],
    ["ssh host sd-server -m a.gguf", "sd-server"],
    ["env A=b nice sd-server -m a.gguf", "sd-server"],
    ["docker run --entrypoint /bin/sd-server ghcr.io/ggml-org/llama.cpp:server -m a.gguf", "sd-server"],
    ["docker run comfyui:local", "comfyui:local"],
    [
      "docker run ghcr.io/huggingface/text-embeddings-inference:1.8 a.gguf",
      "ghcr.io/huggingface/text-embeddings-inference:1.8",
    ],
    ["sd-server --ctx-size 4096 --jinja -c 4096", "sd-server"],
  ])("leaves alone what is known to be another program: %s", (cmd, name) => {
    expect(planned(cmd)).toBe(
      `"a" starts "${name}", which is not llama-server and knows no --ctx-size. There is no context size to set.`,
    );
  });

  test.each(["docker compose run llama-server -m a.gguf", "docker start -a llama-server"])(
    "a name that says nothing of the program: %s",
    (cmd) => {
      expect(planned(cmd)).toBe(
        'the command does not show what docker starts there. Set the context size of "a" by hand.',
      );
    },
  );

  test("changes a --ctx-size that its command already has", () => {
    expect(planned("lemonade-server serve --ctx-size 4096")).toBe("lemonade-server serve --ctx-size 24576");
  });
});

describe("other servers are changed at their own flag", () => {
  test.each<[string, string, number | undefined]>([
    ["vllm serve x --max-model-len 32768", "vllm serve x --max-model-len 24576", 32_768],
    ["vllm serve x --max-model-len=32768", "vllm serve x --max-model-len=24576", 32_768],
    ["vllm serve x --max_model_len 32k", "vllm serve x --max_model_len 24576", 32_000],
    ["vllm serve x --max-model-len 32K", "vllm serve x --max-model-len 24576", 32_768],
    ["vllm serve x --max-model-len 25.6k", "vllm serve x --max-model-len 24576", 25_600],
    ["vllm serve x --max-model-len 1M", "vllm serve x --max-model-len 24576", 1_048_576],
    ["vllm serve x --max-model-len auto", "vllm serve x --max-model-len 24576", undefined],
    ["vllm serve x --max-model-len -1 -c 3", "vllm serve x --max-model-len 24576 -c 3", undefined],
    ["uv run vllm serve x --max-model-len 1", "uv run vllm serve x --max-model-len 24576", 1],
    [
      "python3 -m vllm.entrypoints.openai.api_server --max-model-len 1",
      "python3 -m vllm.entrypoints.openai.api_server --max-model-len 24576",
      1,
    ],
    [
      "docker run vllm/vllm-openai:latest Qwen/x --max-model-len 1",
      "docker run vllm/vllm-openai:latest Qwen/x --max-model-len 24576",
      1,
    ],
    [
      'bash -c ". v/bin/activate && vllm serve x --max-model-len 1"',
      'bash -c ". v/bin/activate && vllm serve x --max-model-len 24576"',
      1,
    ],
    [
      "python -m sglang.launch_server --context-length 1",
      "python -m sglang.launch_server --context-length 24576",
      1,
    ],
    ["koboldcpp.exe --contextsize 1 -c 3", "koboldcpp.exe --contextsize 24576 -c 3", 1],
    ["python /x/koboldcpp.py --contextsize 1", "python /x/koboldcpp.py --contextsize 24576", 1],
    ["python /opt/tabbyAPI/main.py --max-seq-len 1", "python /opt/tabbyAPI/main.py --max-seq-len 24576", 1],
    ["python -m llama_cpp.server --n_ctx 1", "python -m llama_cpp.server --n_ctx 24576", 1],
  ])("%s", (cmd, expected, before) => {
    expect(findContext(config(cmd), "yaml", "a")).toMatchObject({ tokens: before, setBy: "flag" });
    expect(planned(cmd)).toBe(expected);
  });

  test.each([
    ["vllm serve x", "vllm", "--max-model-len"],
    ["docker run vllm/vllm-openai x", "vllm/vllm-openai", "--max-model-len"],
    ["koboldcpp --model a.gguf -c 4096", "koboldcpp", "--contextsize"],
    ["python -m sglang.launch_server x", "sglang.launch_server", "--context-length"],
    ['sh -c "python -m llama_cpp.server --model a.gguf"', "llama_cpp.server", "--n_ctx"],
  ])("without it they are named: %s", (cmd, name, flag) => {
    expect(planned(cmd)).toBe(
      `"a" starts "${name}", which is not llama-server: ${flag} sets its context size, and its \`cmd\` has none. Write \`${flag} 24576\` into its \`cmd\` by hand.`,
    );
  });

  test("Ollama has a variable", () => {
    expect(planned("ollama serve")).toBe(
      '"a" starts "ollama", which is not llama-server: the variable OLLAMA_CONTEXT_LENGTH sets its context size. Give it `OLLAMA_CONTEXT_LENGTH=24576` by hand.',
    );
  });
});

test.each([
  "-ctx-size 4096",
  "-ctx 4096",
  "--ctx 4096",
  "--n_ctx 4096",
  "--max-model-len 4096",
  "--context-length=4096",
  "\u2013ctx-size 4096",
])("names a flag that llama-server does not have, and adds no other: %s", (flag) => {
  expect(planned(`llama-server -m a.gguf ${flag}`)).toBe(
    `llama-server has no flag "${flag.split(" ")[0]}", and does not start with it. Write \`--ctx-size\` in its place by hand, then try again.`,
  );
  expect(planned(`llama-server --alias ${flag.split(" ")[0]}`)).toMatch(/ctx-size 24576$|-c 24576$/);
});
