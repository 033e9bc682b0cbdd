import { describe, expect, test } from "vitest";
import { withConfigFile, withMachine } from "../../commands/call.ts";
import { byPath, cannedServer } from "../server/canned.ts";
import { faultOf } from "../server/wire.ts";

const NEVER = new AbortController().signal;
const HERE = { AI_SERVER_SSH_HOST: "local" };
const work = async () => "done";

async function server(answers: Record<string, unknown>) {
  const { swap } = await cannedServer(byPath({ "/v1/models": { data: [] }, ...answers }), HERE);
  return swap;
}

describe("work on the config file", () => {
  test.each<[string, Record<string, unknown>, RegExp]>([
    [
      "one llama-server",
      { "/running": 404, "/props": { default_generation_settings: {} } },
      /^This server is one llama-server: its context is what --ctx-size in its service unit says/,
    ],
    [
      "Ollama",
      { "/running": 404, "/api/tags": { models: [] } },
      /^Ollama has no config file that is understood/,
    ],
    ["any other", { "/running": 404 }, /^The server has no config file that is understood/],
  ])("of %s is refused, and its machine can be used all the same", async (_, answers, words) => {
    const place = await server(answers);
    expect((await faultOf(withConfigFile(place, work, NEVER))).message).toMatch(words);
    expect(await withMachine(place, work, NEVER)).toBe("done");
  });

  test("of llama-swap and of a server that does not answer is done", async () => {
    expect(await withConfigFile(await server({}), work, NEVER)).toBe("done");
    expect(await withConfigFile(await server({ "/running": 502 }), work, NEVER)).toBe("done");
  });
});
