import { spawnSync } from "node:child_process";
import { existsSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { PARALLEL, PASSED } from "../../../host/fit/flags.ts";
import type { FitRequest } from "../../../host/ssh/protocol.ts";
import { fitRow } from "../../support/fit-row.ts";
import { LocalHost, WRAPPER } from "../../support/local-host.ts";

describe.each(["direct", "wrapper"] as const)("%s", (mode) => {
  fitRow((text) => {
    const host = new LocalHost(text);
    const [machine, memory] = [host.machine.bind(host), host.memory.bind(host)];
    return Object.assign(host, {
      machine: (change = {}) => machine(mode, change),
      memory: () => memory(mode),
    });
  }, mode === "wrapper");
});

test("the script hands on the same flags as are taken from a model's command", () => {
  const [, list = ""] = /^may_pass\(\) \{\n(.*?)^\}$/ms.exec(readFileSync(WRAPPER, "utf8")) ?? [];
  const named = list
    .replaceAll("\\\n", " ")
    .split("\n")
    .flatMap((line) => /^ +([a-z][a-z0-9 |-]*)\)/.exec(line)?.[1]?.split(/[ |]+/) ?? []);
  expect(named.sort()).toEqual([...PASSED, PARALLEL].map(({ name }) => name).sort());
});

describe("a restricted key", () => {
  let host: LocalHost;
  beforeEach(() => {
    host = new LocalHost("models: {}\n");
    const record = `printf '%s|' "$0" "$@" >>'${host.folder}/called'`;
    for (const name of ["llama-server", "evil"]) host.tool(name, record);
    host.tool("llama-fit-params", `${record}\necho '--fit-print N --model --log-file --rpc --offline'`);
  });
  afterEach(() => host.remove());

  const EMPTY: FitRequest = { program: "", flags: [], variables: [], places: [], projector: undefined };

  async function answerTo(fit: Partial<FitRequest>, verb: readonly [string, ...string[]] = ["fit", "4096"]) {
    const answer = await host
      .shell("wrapper")
      .ask({ verb, fit: { ...EMPTY, ...fit } }, { timeoutMs: 10_000 });
    const path = join(host.folder, "called");
    const called = existsSync(path) ? readFileSync(path, "utf8") : "";
    return { error: answer.error, called };
  }

  test.each([
    ["log-file", "/tmp/x"],
    ["model-url", "http://127.0.0.1/x.gguf"],
    ["rpc", "127.0.0.1:1"],
    ["lora", "/x.gguf"],
    ["mmproj", "/x.gguf"],
    ["grammar-file", "/etc/passwd"],
    ["ctx-size", "1"],
    ["fit-print", "off"],
    ["offline", ""],
    ["help", ""],
    ["model", "/etc/passwd"],
    ["model", "/etc/passwd\n.gguf"],
    ["model", "--log-file=x.gguf"],
    ["model", ""],
    ["hf-repo", "https://127.0.0.1/x y"],
    ["hf-repo", "-x/y"],
    ["hf-repo", "nothing"],
    ["device", "/dev/zero"],
    ["device", "--help"],
    ["tensor-split", "1;2"],
    ["cache-type-k", "q8_0 --log-file x"],
    ["override-tensor", "-x"],
    ["override-tensor", "a\nb"],
    ["n-gpu-layers", "-2"],
    ["cpu-moe", "--log-file"],
    ["batch-size", ""],
  ])("hands on no --%s %j", async (name, value) => {
    const { error, called } = await answerTo({ flags: [{ name, value }] });
    expect(error).toBe("bad-request");
    expect(called.replaceAll(/^.*llama-fit-params\|--help\|/g, "")).toBe("");
  });

  test.each([
    "LD_PRELOAD=/x.so",
    "LD_LIBRARY_PATH=/x",
    "GGML_BACKEND_PATH=/x.so",
    "PATH=/x",
    "CUDA_INJECTION64_PATH=/x.so",
    "CUDA_VISIBLE_DEVICES=/x",
    "GGML_VK_X=$(id)",
    "GGML_VK_a-b=1",
    "CUDA_VISIBLE_DEVICES=1\nLD_PRELOAD=x",
    "-S touch ran",
    "x",
  ])("sets no %j", async (variable) => {
    expect(await answerTo({ variables: [variable] })).toEqual({ error: "bad-request", called: "" });
    expect(await answerTo({ variables: [variable] }, ["devices"])).toEqual({
      error: "bad-request",
      called: "",
    });
  });

  test.each(["program L3RtcC9ldmls", "place TERfTElCUkFSWV9QQVRIPS94", "verb cmVzdGFydA=="])(
    "says nothing with the line %j of a client that is not ours",
    async (line) => {
      await answerTo({});
      const path = join(host.folder, "called");
      rmSync(path);
      const said = spawnSync("sh", [join(host.tools, "ai-server-admin")], {
        input: `ai-server-1 ${"0".repeat(32)}\n${line}\n.\n`,
        env: { PATH: `${host.tools}:${process.env.PATH}`, SSH_ORIGINAL_COMMAND: "fit 4096" },
        encoding: "utf8",
      });
      expect(said.stdout).toContain("error bad-request");
      expect(existsSync(path)).toBe(false);
    },
  );

  test.each([
    ["fit"],
    ["fit", "0"],
    ["fit", "x"],
    ["fit", "99999999999"],
    ["fit", ...Array(13).fill("1")],
    ["devices", "1"],
  ])("knows no verb %s", async (verb, ...words) => {
    const { error, called } = await answerTo({}, [verb, ...words]);
    expect(error).toMatch(/bad-request|not-allowed/);
    expect(called).toBe("");
  });

  test("learns no more of a file than that it is a projector's", async () => {
    const { error } = await answerTo({ projector: "/etc/passwd" });
    expect(error).toBe("bad-request");
    expect((await answerTo({ projector: "/dev/zero.gguf" })).error).toBe("no-projector");
  });
});
