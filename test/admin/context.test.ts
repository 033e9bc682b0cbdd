import { writeFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { adviceFor, settingWords } from "../../admin/context.ts";
import { findContext, findContexts } from "../../host/config/config-file.ts";
import { CONFIG, ODD, startPlace } from "../support/command-place.ts";
import { saying, User } from "../support/command-user.ts";

describe("what speaks against a size", () => {
  test.each<[number, number | undefined, string[]]>([
    [65_536, undefined, []],
    [65_536, 65_536, []],
    [512, 4096, []],
    [
      500,
      undefined,
      [
        "500 tokens barely hold one question; pi needs about ten thousand.",
        "llama-server rounds it up to 512, a multiple of 256.",
      ],
    ],
    [
      131_072,
      65_536,
      ["The model was trained for 65536 tokens: it gets no more, or answers worse beyond that."],
    ],
    [100_000, 131_072, ["llama-server rounds it up to 100096, a multiple of 256."]],
  ])("%d of %s", (tokens, trained, advice) => {
    expect(adviceFor(tokens, trained)).toEqual(advice);
    // What llama-server rounds, others take as it is.
    expect(adviceFor(tokens, trained, "vllm")).toEqual(advice.filter((line) => !line.includes("rounds")));
  });
});

describe("where a size is set", () => {
  const words = (model: string, top = ""): string[] =>
    settingWords(findContext(`${top}models:\n  m:\n${model}`, "yaml", "m"), "/c.yaml");

  test.each<[string, string[]]>([
    ["    cmd: llama-server -c 8192\n", ["Context size: 8192 tokens (8k), set by -c in /c.yaml, line 3."]],
    [
      "    cmd: llama-server -c 8192 -np 4\n",
      [
        "Context size: 8192 tokens (8k), set by -c in /c.yaml, line 3.",
        "Each of its 4 slots gets 2048 tokens.",
      ],
    ],
    [
      "    cmd: llama-server -c 8192 -np 4 --kv-unified\n",
      [
        "Context size: 8192 tokens (8k), set by -c in /c.yaml, line 3.",
        "Its 4 slots share it (--kv-unified).",
      ],
    ],
    [
      "    cmd: llama-server -c 8192 -np 2 --kv-unified-per-slot 2048\n",
      [
        "Context size: 8192 tokens (8k), set by -c in /c.yaml, line 3.",
        "A request gets no more than 2048 tokens (--kv-unified-per-slot).",
      ],
    ],
    [
      "    cmd: llama-server -c 2048 -np 2 --kv-unified-per-slot 2048\n",
      [
        "Context size: 2048 tokens (2k), set by -c in /c.yaml, line 3.",
        "Each of its 2 slots gets 1024 tokens.",
      ],
    ],
    [
      "    cmd: vllm serve x --max-model-len 32k -np 2\n",
      ["Context size: 32000 tokens (32k), set by --max-model-len in /c.yaml, line 3."],
    ],
    ["    cmd: sd-server -m x.gguf\n", ["No context size is set in /c.yaml: sd-server uses its own."]],
    [
      "    cmd: llama-server -c 0 -np 4\n",
      ["Context size: 0, the trained size, set by -c in /c.yaml, line 3."],
    ],
    [
      "    cmd: llama-server -m x\n",
      ["No context size is set in /c.yaml: llama-server uses the trained size, or what fits."],
    ],
    [
      "    cmd: llama-server\n    env: [LLAMA_ARG_CTX_SIZE=4096]\n",
      ["Context size: 4096 tokens (4k), set by LLAMA_ARG_CTX_SIZE (environment) in /c.yaml, line 4."],
    ],
  ])("%j", (model, expected) => {
    expect(words(model)).toEqual(expected);
  });

  test("names the models that share it", () => {
    const top = "macros: { size: '-c 8192' }\n";
    const more = `    cmd: llama-server \${size}\n  n:\n    cmd: llama-server \${size}\n`;
    expect(words(more, top)).toEqual([
      expect.stringMatching(/^Context size: 8192 tokens \(8k\), set by .*in \/c\.yaml, line 1\.$/),
      "n share this setting.",
    ]);
  });

  test("is not named where the command is not understood", () => {
    const [setting] = findContexts("models:\n  m:\n    cmd: [no, text]\n", "yaml");
    expect(setting && settingWords(setting, "/c.yaml")).toEqual([setting?.problem]);
    expect(setting?.problem).toMatch(/line 3/);
  });
});

/** Neither the tool nor the models' files are on this machine. */
const NOT_KNOWN = expect.stringMatching(/^What fits is not known: /);

describe("/ai-server-ctx", () => {
  test("without a size shows the size and where it is set, in every mode", async () => {
    const place = await startPlace();
    const { notices } = await place.type("/ai-server-ctx small");
    const text = notices[0]?.text ?? "";
    expect(text.split("\n")).toEqual([
      "small",
      `Context size: 8192 tokens (8k), set by --ctx-size in ${place.path}, line 8.`,
      NOT_KNOWN,
    ]);
    expect(notices).toEqual([{ level: "info", text }]);
    const { stdout } = await place.type("/ai-server-ctx small", new User("print").readsOutput());
    expect(stdout).toBe(`${text}\n`);
    const { objects } = await place.type("/ai-server-ctx small", new User("json").readsOutput());
    expect(objects).toEqual([
      {
        type: "ai_server_result",
        command: "ai-server-ctx",
        ok: true,
        level: "info",
        lines: text.split("\n"),
      },
    ]);
  });

  test("of a loaded model shows its live window and the share of each slot", async () => {
    const place = await startPlace();
    await place.load(ODD);
    const { told } = await place.type("/ai-server-ctx groesse");
    expect(told.map((text) => text.split("\n"))).toEqual([
      [
        ODD,
        `Context size: 16384 tokens (16k), set by -c in ${place.path}, line 10.`,
        "Each of its 2 slots gets 8192 tokens.",
        "Loaded now; a request may use 8192 tokens.",
        NOT_KNOWN,
      ],
    ]);
  });

  test.each([
    ["", "Name a model. The server has small, org/Größe:Q4 x, groesse."],
    ["smol 4096", 'No model "smol". Did you mean "small"?'],
    ["small lots", '"lots" is not a context size. Give a number of tokens (65536, 64k, 1m) or max.'],
    ["small 4096 now", '"4096 now" is not a context size. Give a number of tokens (65536, 64k, 1m) or max.'],
    ["small -1", '"-1" is not a context size. Give a number of tokens (65536, 64k, 1m) or max.'],
  ])("%s is answered with a sentence", async (argument, text) => {
    const place = await startPlace();
    const user = await place.type(`/ai-server-ctx ${argument}`);
    expect(user.notices).toEqual([{ level: "error", text }]);
    expect([user.questions, place.backups]).toEqual([[], []]);
  });

  test("works while the server is down, which may be what it repairs", async () => {
    const place = await startPlace();
    await place.close();
    expect((await place.type("/ai-server-ctx small")).told[0]).toContain("Context size: 8192 tokens");
    const user = saying(false);
    await place.type("/ai-server-ctx small 4k", user);
    expect(user.questions[0]?.text).toContain("No model is loaded.");
  });

  test("of a model that no file has says so", async () => {
    const place = await startPlace();
    writeFileSync(place.path, "models:\n  other:\n    cmd: llama-server\n");
    expect((await place.type("/ai-server-ctx small 4k")).told).toEqual([
      `small is not in the config ${place.path}: it runs elsewhere, or AI_SERVER_PRESET_PATH is not the file that the server reads.`,
    ]);
  });

  test("of a file that is not understood names the line", async () => {
    const place = await startPlace();
    place.text = "models:\n  small: [}\n";
    const { notices } = await place.type("/ai-server-ctx small 4k");
    expect(notices).toEqual([{ level: "error", text: expect.stringMatching(/line 2/) }]);
  });

  test("over a forced command names the file without its folder", async () => {
    const place = await startPlace(undefined, {
      AI_SERVER_SSH_HOST: "ops@127.0.0.1",
      AI_SERVER_SSH_MODE: "wrapper",
      AI_SERVER_PRESET_PATH: "/not/known/here.yaml",
    });
    place.installsWrapper();
    const user = saying(true);
    await place.type("/ai-server-ctx small 4k", user);
    expect(user.questions[0]?.text).toContain("\nIn config.yaml:\n");
    expect(user.told[0]).toMatch(/The previous version is in config\.yaml\.bak-\d{8}T\d{6}Z\.$/);
    expect([place.restarts, place.text.includes("--ctx-size 4096")]).toEqual([1, true]);
  });
});

describe("the question", () => {
  test("shows the difference, its effect, what it interrupts and how long it takes", async () => {
    const place = await startPlace();
    await place.type(`/ai-server-load ${ODD}`);
    await expect.poll(() => place.rememberedText).toContain("loadMs");
    const user = saying(false);
    await place.type(`/ai-server-ctx ${ODD} 200001`, user);
    expect(user.questions.map(({ title, text }) => ({ title, lines: text.split("\n") }))).toEqual([
      {
        title: expect.stringMatching(`^Change the context size of ${ODD} to 200001 tokens`),
        lines: [
          "It is 16384 tokens (16k) now.",
          "This restarts llama-swap.service, which unloads every model.",
          `Will be unloaded: ${ODD}.`,
          "No requests in flight.",
          "It should take about 3 s.",
          "llama-swap refuses new requests and gives those in flight up to 30 s to finish; this may add up to 35 s.",
          "Each of its 2 slots gets 100096 tokens.",
          "The model was trained for 131072 tokens: it gets no more, or answers worse beyond that.",
          "llama-server rounds it up to 200192, a multiple of 256.",
          NOT_KNOWN,
          `In ${place.path}:`,
          "@@ -7,6 +7,6 @@",
          "         -m /models/small.gguf",
          "         --ctx-size 8192",
          `   "${ODD}":`,
          `-    cmd: llama-server --port \${PORT} --load 0.2 --parallel 2 -m /models/g.gguf -c 16384`,
          `+    cmd: llama-server --port \${PORT} --load 0.2 --parallel 2 -m /models/g.gguf -c 200001`,
          "     aliases: [groesse]",
          "     ttl: 300",
        ],
      },
    ]);
    expect(user.acts).toEqual([["Keep as it is", "Change and restart"]]);
  });

  test("remembers the trained size of a model that is not loaded any more", async () => {
    const place = await startPlace();
    await place.load("small");
    const user = saying(false);
    await place.type("/ai-server-ctx small 1m", user);
    await expect.poll(() => place.rememberedText).toContain("131072");
    await place.type("/ai-server-unload small");
    await place.type("/ai-server-ctx small 1m", user);
    const advice = "The model was trained for 131072 tokens";
    expect(user.questions.map(({ text }) => text.includes(advice))).toEqual([true, true]);
    expect(user.questions[1]?.text).toContain("No model is loaded.\nNo load time recorded yet");
  });

  test("warns of what llama-swap would ignore", async () => {
    const place = await startPlace();
    place.text = CONFIG.replace("    ttl: 300", "    ttls: 300");
    const user = saying(false);
    await place.type(`/ai-server-ctx ${ODD} 8k`, user);
    expect(user.questions[0]?.text).toMatch(/"ttls"/);
  });

  test("shows no secret around the change", async () => {
    const place = await startPlace(
      `
apiKeys: [hunter1]
models:
  m:
    env: ["HF_TOKEN=hunter2"]
    cmd: llama-server --port \${PORT} --api-key hunter3 -c 8192
`,
      { AI_SERVER_API_KEY: "hunter1" },
    );
    const user = saying(false);
    await place.type("/ai-server-ctx m 4096", user);
    expect(user.questions[0]?.text).toMatch(/\+ {4}cmd: .* -c 4096/);
    expect(user.everything).not.toContain("hunter");
  });
});

describe("ids in the config that would steer a terminal", () => {
  const EVIL = "evil\u001b[2J\u202e";
  const config = `models:
  "evil\\e[2J\\u202e": &a
    cmd: llama-server -c 8192
  other: *a
`;

  test.each(["", EVIL, "other", "othr", `${EVIL} 4096`, "other 4096"])(
    "reach none with %j",
    async (argument) => {
      const place = await startPlace();
      place.text = config;
      const user = new User("rpc");
      user.confirms = () => false;
      await place.type(`/ai-server-ctx ${argument}`, user);
      const shown = [...user.told, ...user.questions.flatMap(({ title, text }) => [title, text])];
      expect(shown.join("\n").length).toBeGreaterThan(10);
      expect(shown.join("\n")).not.toMatch(/(?!\n)[\p{Cc}\p{Bidi_Control}]/u);
    },
  );
});
