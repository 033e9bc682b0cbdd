import { expect, test } from "vitest";
import { descriptionsOf } from "../../../../server/kinds/llama-swap/list.ts";
import { ModelServer } from "../../../../server/model-server.ts";
import { entriesOf } from "../../../../server/models/listed-model.ts";
import { startSim } from "../../../../sim/server.ts";
import { clientOf, kept } from "../../../support/wire.ts";

const described = (data: readonly unknown[]) => descriptionsOf(entriesOf({ data }));
const metaOf = (type: string, more: object = {}): object => ({ llamaswap: { type, ...more } });

test("a model's own words, its other ids, and where it runs", () => {
  const entries = [
    {
      id: "a",
      description: " Fast\u001b[31m\nand small ",
      meta: metaOf("model", { aliases: ["b", 5, "c"] }),
    },
    { id: "d", meta: metaOf("alias", { modelID: "a" }) },
    { id: "b", meta: metaOf("alias", { modelID: "a" }) },
    { id: "p/x", meta: metaOf("peer", { peerID: "the other" }) },
  ];
  const found = described(entries);
  expect(found.get("a")).toEqual({
    text: "Fast\nand small",
    aliases: ["b", "c", "d"],
    peer: undefined,
    targets: [],
  });
  expect(found.get("p/x")).toEqual({ text: undefined, aliases: [], peer: "the other", targets: [] });
});

test.each([
  ["a model without a description", [{ id: "a" }]],
  ["one of other shape", [{ id: "a", description: 5, meta: "x" }]],
  ["metadata of the owner's before v241", [{ id: "a", meta: { llamaswap: { aliases: ["b"] } } }]],
])("%s has no description", (_, entries) => {
  const found = described(entries);
  expect(found.get("a")).toEqual({ text: undefined, aliases: [], peer: undefined, targets: [] });
});

test("a selector shows the models among which it chooses", () => {
  const targets = ["a", "", 5, "b"];
  expect(described([{ id: "s", meta: metaOf("selector", { targets }) }]).get("s")?.targets).toEqual([
    "a",
    "b",
  ]);
});

test("what has no id has none", () => {
  const alias = { id: "d", meta: metaOf("alias", { modelID: "gone" }) };
  expect([...described([null, 5, {}, { id: "" }, alias]).keys()]).toEqual(["d"]);
});

test("are known after the models were read", async () => {
  const config = `models:\n  a: { cmd: "llama-server --port \${PORT}", description: For all, aliases: [b] }\n`;
  const sim = await kept(startSim({ config }));
  const swap = await kept(new ModelServer(clientOf(sim.url, sim.certsDir)));
  expect(swap.descriptions.size).toBe(0);
  await swap.discover(new Map());
  expect(swap.descriptions.get("a")).toEqual({
    text: "For all",
    aliases: ["b"],
    peer: undefined,
    targets: [],
  });
});
