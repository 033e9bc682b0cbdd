import { expect, test } from "vitest";
import { readYamlConfig } from "../../../../host/config/yaml/config.ts";
import { faultOf } from "../../../../host/config/yaml/proof.ts";

const CTX = ["$", "{ctx}"].join("");
const ARGS = ["$", "{args}"].join("");

const BEFORE = `macros:
  ctx: 4096
  args: --jinja --ctx-size ${CTX}
logLevel: info
models:
  a:
    macros: {n: 1, m: 2}
    cmd: llama-server -m a.gguf ${ARGS} -c 4096 --batch-size 4096
    env: [A=1, LLAMA_ARG_CTX_SIZE=1]
    ttl: 4096
    capabilities: {context: 4096, tools: true}
    metadata: {n_ctx: 4096, port: 4096}
  b: {cmd: 'llama-server -m b.gguf -c 4096'}
`;

const RIGHT: readonly (readonly [string, string])[] = [
  ["-c 4096 --batch", "-c 8192 --batch"],
  ["context: 4096", "context: 8192"],
  ["n_ctx: 4096", "n_ctx: 8192"],
];

function changed(...pairs: readonly (readonly [string, string])[]): string {
  return pairs.reduce((text, [from, to]) => {
    if (!text.includes(from)) throw new Error(`Nothing to replace: ${from}`);
    return text.replace(from, () => to);
  }, BEFORE);
}

function fault(text: string): string | undefined {
  return faultOf(readYamlConfig(BEFORE), text, "a", 8192);
}

test("a change of this model's context figures has no fault", () => {
  expect(fault(changed(...RIGHT))).toBeUndefined();
  expect(fault(changed(["-c 4096 --batch", "-c 8192 --batch"]))).toBeUndefined();
});

test.each([
  ["nothing changed", BEFORE, "the size would not take effect"],
  ["another size", changed(["-c 4096 --batch", "-c 8193 --batch"]), "the size would not take effect"],
  ["an earlier flag", changed(["a.gguf", "a.gguf -c 8192"]), "the size would not take effect"],
  ["another model", changed(...RIGHT, ["b.gguf -c 4096", "b.gguf -c 8192"]), "models.b.cmd would change too"],
  ["a global macro", changed(...RIGHT, ["ctx: 4096", "ctx: 8192"]), "macros.ctx would change too"],
  [
    "another key of the model",
    changed(...RIGHT, ["ttl: 4096", "ttl: 8192"]),
    "models.a.ttl would change too",
  ],
  [
    "other metadata",
    changed(...RIGHT, ["port: 4096", "port: 8192"]),
    "models.a.metadata.port would change too",
  ],
  [
    "a capability",
    changed(...RIGHT, ["tools: true", "tools: false"]),
    "models.a.capabilities.tools would change too",
  ],
  [
    "another figure",
    changed(["-c 4096 --batch", "-c 8192 --batch"], ["n_ctx: 4096", "n_ctx: 77"]),
    "metadata.n_ctx of this model would change too",
  ],
  [
    "another argument",
    changed(...RIGHT, ["--batch-size 4096", "--batch-size 8192"]),
    "other words of the command would change",
  ],
  [
    "an argument more",
    changed(...RIGHT, ["--batch-size", "--mlock --batch-size"]),
    "other words of the command would change",
  ],
  ["another variable", changed(...RIGHT, ["A=1", "A=2"]), "env.0 of this model would change too"],
  ["a variable less", changed(...RIGHT, ["[A=1, ", "["]), "models.a.env would change too"],
  ["a key more", changed(...RIGHT, ["    ttl", "    name: x\n    ttl"]), "models.a.name would change too"],
  ["a model less", changed(...RIGHT).replace(/ {2}b: .*\n/, ""), "models.b would change too"],
  ["the model gone", changed(["  a:", "  c:"]), "the model would be gone"],
  [
    "macros in another order",
    changed(...RIGHT, ["n: 1, m: 2", "m: 2, n: 1"]),
    "models.a.macros would change too",
  ],
  ["a top-level key", changed(...RIGHT, ["logLevel: info", "logLevel: debug"]), "logLevel would change too"],
  [
    "no YAML any more",
    changed(...RIGHT, ["logLevel: info", "logLevel: ["]),
    "the new text would not be understood",
  ],
  [
    "a quote left open",
    changed(["-c 4096 --batch", '-c 8192 " --batch']),
    "the new text would not be understood",
  ],
])("%s is a fault", (_, text, expected) => {
  expect(fault(text)).toBe(expected);
});

test("the length that a model was trained for may not change, even where another key has the same figure", () => {
  const text = (figures: string): string =>
    `models:\n  a:\n    cmd: llama-server -c ${figures.split(" ")[0]}\n    metadata:\n      ${figures.split(" ")[1]}\n`;
  const faultBy = (neighbour: string): string | undefined =>
    faultOf(
      readYamlConfig(text(`4096 {context_length:\u00a04096,\u00a0${neighbour}}`).replaceAll("\u00a0", " ")),
      text(`8192 {context_length:\u00a08192,\u00a0${neighbour}}`).replaceAll("\u00a0", " "),
      "a",
      8192,
    );
  expect(faultBy("port:\u00a01")).toBeUndefined();
  expect(faultBy("architecture:\u00a0gemma4")).toBe("metadata.context_length of this model would change too");
});
