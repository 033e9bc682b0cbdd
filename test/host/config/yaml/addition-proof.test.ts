import { describe, expect, test } from "vitest";
import { additionFault, copyFault } from "../../../../host/config/yaml/addition-proof.ts";
import { readYamlConfig } from "../../../../host/config/yaml/config.ts";
import { locate, modelOf } from "../../../../host/config/yaml/context.ts";

const OLD = "logLevel: info\nmodels:\n  a:\n    cmd: llama-server -m /m/a.gguf\n    ttl: 5\n";
const NEW = "  b:\n    cmd: llama-server -m /m/b.gguf\n    ttl: 5\n";
const WANTED = { id: "b", words: ["llama-server", "-m", "/m/b.gguf"], settings: new Map([["ttl", 5]]) };

describe("the proof of a new model", () => {
  const faultOf = (text: string): string | undefined => additionFault(readYamlConfig(OLD), text, WANTED);

  test("holds for the model that was wanted", () => {
    expect(faultOf(OLD + NEW)).toBeUndefined();
    expect(faultOf(OLD.replace("models:\n", `models:\n${NEW}`))).toBeUndefined();
  });

  test.each([
    ["another model changed", OLD.replace("a.gguf", "x.gguf") + NEW, "models.a.cmd would change too"],
    ["another model gone", `logLevel: info\nmodels:\n${NEW}`, "models.a would change too"],
    ["something at the top", `${OLD}${NEW}groups: {}\n`, "groups would change too"],
    ["two models", `${OLD}${NEW}  c: {cmd: x}\n`, "models.c would change too"],
    ["no such model", OLD, "the model would not be there"],
    ["a model by an anchor", `${OLD}  b: *x\n`.replace("  a:", "  a: &x"), "the model would not be there"],
    ["broken text", `${OLD}${NEW}  - x\n`, "the new text would not be understood"],
    ["another word", OLD + NEW.replace("b.gguf", "b.gguf -c 5"), "its command would change"],
    ["a word less", OLD + NEW.replace(" -m /m/b.gguf", ""), "its command would change"],
    ["another setting", OLD + NEW.replace("ttl: 5", "ttl: 6"), "its ttl would change"],
    ["a setting more", `${OLD}${NEW}    name: x\n`, "its name would change"],
    ["a setting less", OLD + NEW.replace("    ttl: 5\n", ""), "its ttl would change"],
  ])("does not hold for %s", (_what, text, fault) => {
    expect(faultOf(text)).toBe(fault);
  });
});

describe("the proof of a copied command", () => {
  const id = ["$", "{MODEL_ID}"].join("");
  const old = `models:\n  a:\n    cmd: llama-server --alias ${id} -m /m/a.gguf\n`;
  const faultOf = (copy: string, name = "b"): string | undefined => {
    const config = readYamlConfig(old);
    const block = `  ${JSON.stringify(name)}:\n    cmd: ${copy}\n`;
    return copyFault(locate(config, modelOf(config, "a")), old + block, name);
  };

  test("holds with the new id in the place of the old one", () => {
    expect(faultOf(`llama-server --alias ${id} -m /m/a.gguf`)).toBeUndefined();
    expect(faultOf("llama-server --alias b -m /m/a.gguf")).toBeUndefined();
  });

  test.each([
    [`llama-server --alias ${id} -m /m/b.gguf`, "b"],
    ["llama-server --alias a -m /m/a.gguf", "b"],
    [`llama-server --alias ${id} -m /m/a.gguf`, "b c"],
    [`llama-server --alias ${id} -m /m/a.gguf`, "'"],
  ])("does not hold for %s with the id %s", (copy, name) => {
    expect(faultOf(copy, name)).toMatch(/would/);
  });
});
