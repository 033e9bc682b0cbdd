import { describe, expect, test } from "vitest";
import { ConfigError, findModel, findModelInPath, readConfig } from "../../sim/config.ts";
import { readBehaviour } from "../../sim/flags.ts";
import { readFixture } from "./recordings.ts";

/** The text with `{{name}}` for llama-swap's `${name}`. */
function config(text: string, environment: NodeJS.ProcessEnv = {}) {
  return readConfig(text.replaceAll("{{", "${").replaceAll("}}", "}"), environment);
}

describe("macros", () => {
  test("expand as in the recorded server", () => {
    const { models } = readConfig(readFixture("config.yaml"));
    expect(models.get("org/slash-model")?.cmd).toBe(
      "python3 /opt/srv/swap/fake-llama.py --port 18110 \\\n--model /models/slash.gguf\n" +
        "--ctx-size 32768 --parallel 2\n--alias 'quoted alias'\n",
    );
    expect(models.get("caps")?.cmd).toBe("python3 /opt/srv/swap/fake-llama.py --port 18100 --ctx-size 8192");
    expect(models.get("org/repo-GGUF:Q4_K_M")?.metadata).toEqual({
      ctx: 8192,
      port: 18109,
      nested: { a: [1, true] },
      context_length: 99,
    });
  });

  test("may use those declared before them, and no others", () => {
    const use = 'models: { a: { cmd: "x {{ctx}} {{PORT}}" } }';
    const nested = config(`macros: { n: 5, ctx: "-c {{n}}" }\n${use}`);
    expect(nested.models.get("a")?.cmd).toBe("x -c 5 5800");
    const unknown = () => config(`macros: { ctx: "-c {{n}}", n: 5 }\n${use}`);
    expect(unknown).toThrow(new ConfigError(`unknown macro '\${n}' found in a.cmd`));
  });

  test("of a model override the global ones; MODEL_ID and the environment are known", () => {
    const text = `
macros: { where: "/global" }
models:
  "my model":
    macros: { where: "/own" }
    cmd: "run {{where}} '{{MODEL_ID}}' {{env.GPU}} {{PORT}}"
    # {{env.UNUSED}}
`;
    expect(config(text, { GPU: "cuda0" }).models.get("my model")?.cmd).toBe("run /own 'my model' cuda0 5800");
    expect(() => config(text)).toThrow(new ConfigError("environment variable 'GPU' is not set"));
  });

  test("give ports in the order of the ids, only where they are asked for", () => {
    const { models } = config(
      'startPort: 7000\nmodels: { c: { cmd: "x {{PORT}}" }, a: { cmd: "x {{PORT}}" }, b: { cmd: x, proxy: "http://h:1" } }',
    );
    expect([...models.values()].map(({ id, proxy }) => [id, proxy])).toEqual([
      ["a", "http://localhost:7000"],
      ["b", "http://h:1"],
      ["c", "http://localhost:7001"],
    ]);
  });
});

describe("a config", () => {
  const model = (more: string) => `models: { a: { cmd: "x {{PORT}}", ${more} } }`;

  test("has llama-swap's defaults", () => {
    expect(config(model("")).models.get("a")).toEqual({
      id: "a",
      cmd: "x 5800",
      env: [],
      proxy: "http://localhost:5800",
      aliases: [],
      ttl: 0,
      name: "",
      description: "",
      unlisted: false,
      useModelName: "",
      concurrencyLimit: 10,
      sendLoadingState: false,
      checkEndpoint: "/health",
      metadata: {},
      capabilities: undefined,
    });
    expect(config("").healthCheckTimeout).toBe(120);
    expect(config("healthCheckTimeout: 3").healthCheckTimeout).toBe(15);
    expect(config("Models: { a: {} }").models.size).toBe(0);
  });

  test("hands global settings on to models that have none", () => {
    const both = `globalTTL: 7\nsendLoadingState: true\n${model("")}`;
    expect(config(both).models.get("a")).toMatchObject({ ttl: 7, sendLoadingState: true });
    const own = `globalTTL: 7\nsendLoadingState: true\n${model("ttl: 0, sendLoadingState: false")}`;
    expect(config(own).models.get("a")).toMatchObject({ ttl: 0, sendLoadingState: false });
  });

  test("finds models by id, alias and path, the longest name first", () => {
    const text = `models:
  org: { cmd: "x {{PORT}}", aliases: [short] }
  org/model: { cmd: "x {{PORT}}" }
hooks: { on_startup: { preload: [short, nope] } }`;
    const read = config(text);
    expect(read.preload).toEqual(["org"]);
    expect(findModel(read, "short")?.id).toBe("org");
    expect(findModelInPath(read, "/org/model/v1/props")?.slice(0, 1)).toEqual(["org/model"]);
    expect(findModelInPath(read, "/short")?.[2]).toBe("/");
    expect(findModelInPath(read, "/org/other/x")?.[2]).toBe("/other/x");
    expect(findModelInPath(read, "/nope/x")).toBeUndefined();
  });

  test.each([
    ["a: 1\na: 2", /^yaml: Map keys must be unique/],
    ["models: [a]", /cannot unmarshal models/],
    [model("ttl: soon"), 'model a: yaml: unmarshal errors: cannot unmarshal ttl: "soon" into int'],
    [model("ttl: -2"), "model a: invalid TTL value -2"],
    [model("aliases: x"), /cannot unmarshal aliases/],
    [model("capabilities: { in: [smell] }"), /invalid modality "smell"/],
    [
      'models: { a: { cmd: "x {{PORT}}", aliases: [z] }, b: { cmd: "x {{PORT}}", aliases: [z] } }',
      "duplicate alias z found in model: b",
    ],
    ["models: { a: { cmd: x } }", /proxy uses \$\{PORT\} but cmd does not/],
    ["models: {}\ngroups: { g: { members: [nope] } }", 'no model config for "nope"'],
    ["macros: { PORT: 1 }", "macro name 'PORT' is reserved"],
    ['macros: { m: "{{m}}" }', "macro 'm' contains self-reference"],
    ["macros: { m: [1] }", /must be a scalar type/],
    ["startPort: 0", "startPort must be greater than 1"],
  ])("with a fault is refused: %s", (text, message) => {
    expect(() => config(text)).toThrow(ConfigError);
    expect(() => config(text)).toThrow(message);
  });
});

describe("a command line", () => {
  test("is split as a shell does, and the last flag counts", () => {
    const cmd =
      "llama-server -c 1000 \\\n --model '/my models/x.gguf'\n--ctx-size=8192 --alias \"A b\" -np 2";
    expect(readBehaviour(cmd)).toMatchObject({
      contextSize: 8192,
      slotContext: 4096,
      slots: 2,
      modelPath: "/my models/x.gguf",
      alias: "A b",
    });
  });

  test("may be that of a real llama-server, with the stand-in's flags beside it", () => {
    const [a] = config(
      'models: { a: { cmd: "llama-server --port {{PORT}} -c 8192", env: ["A=1", "STAND_IN=--load 2 -c {{n}}"] } }\nmacros: { n: 4096 }',
    ).models.values();
    expect(readBehaviour(a?.cmd ?? "", a?.env)).toMatchObject({ loadMs: 2000, contextSize: 4096 });
    expect(readBehaviour(a?.cmd ?? "")).toMatchObject({ loadMs: 0, contextSize: 8192 });
  });

  test("with an open quote is read all the same", () => {
    expect(readBehaviour("llama-server -c 8192 --alias 'open").contextSize).toBe(8192);
  });

  // Seen on a real llama-server whose model was trained with 32768.
  test.each([
    ["-c 4000", 4096],
    ["-c 1000000", 32768],
    ["-c 4096 -np 2", 2048],
    ["-c 4096 -np 2 --kv-unified", 4096],
    ["-c 5000 -np 3", 1792],
    ["-c 0", 32768],
  ])("%s gives a slot of %i tokens", (flags, slotContext) => {
    expect(readBehaviour(`llama-server --n-ctx-train 32768 ${flags}`).slotContext).toBe(slotContext);
  });
});
