import { expect, test } from "vitest";
import { needWords } from "../../admin/fit-words.ts";
import { docsBlock } from "../support/docs.ts";
import { fitting, MINIMAX, QWEN } from "../support/fit-figures.ts";

test("the need of a size is said as the page about models shows it", () => {
  const place = fitting([["Vulkan0", 96, 43]], [MINIMAX]);
  const said = needWords(QWEN, place, "will be unloaded");
  expect(said).toBe(docsBlock("models.md", "need").trim().replace(/\s+/g, " "));
});
