import { describe, expect, test } from "vitest";
import { type Host, openConfigHost, openHost } from "../../admin/host-access.ts";
import { ModelServer } from "../../server/model-server.ts";
import { byPath, cannedServer } from "../support/canned.ts";
import { freePort } from "../support/network.ts";
import { clientOf, faultOf, kept } from "../support/wire.ts";

const NEVER = new AbortController().signal;
const HERE = { AI_SERVER_SSH_HOST: "local" };
const OPENED = { machine: expect.anything() };

async function server(answers: Record<string, unknown>) {
  const { swap } = await cannedServer(byPath({ "/v1/models": { data: [] }, ...answers }), HERE);
  return swap;
}

describe("work on the config file", () => {
  test.each<[string, Record<string, unknown>, RegExp]>([
    [
      "one llama-server",
      { "/running": 404, "/props": { default_generation_settings: {} } },
      /^This server is a single llama-server without a config file: its service unit sets the context/,
    ],
    [
      "Ollama",
      { "/running": 404, "/api/tags": { models: [] } },
      /^Ollama has no config file that this extension can edit/,
    ],
    ["any other", { "/running": 404 }, /^The server has no config file that this extension can edit/],
  ])("of %s is refused, and its machine can be used all the same", async (_, answers, words) => {
    const place = await server(answers);
    expect((await faultOf(openConfigHost(place, NEVER))).message).toMatch(words);
    expect(await openHost(place, NEVER)).toMatchObject(OPENED);
  });

  test("of a server that does not answer is done where the kind that it was before keeps it", async () => {
    const config = clientOf(`http://127.0.0.1:${await freePort()}`, "/nowhere", HERE);
    const where = ({ config: { presetPath, serviceUnit } }: Host) => [presetPath, serviceUnit];
    for (const [kind, place] of [
      ["router", ["~/.llama-models.ini", "llama-server.service"]],
      ["llama-server", ["~/.config/llama-swap/config.yaml", "llama-server.service"]],
      [undefined, ["~/.config/llama-swap/config.yaml", "llama-swap.service"]],
    ] as const) {
      const server = await kept(new ModelServer(config, Date.now, kind));
      expect(where(await openConfigHost(server, NEVER))).toEqual(place);
      expect(where(await openHost(server, NEVER))).toEqual(place);
    }
  });

  test("of llama-swap and of a server that does not answer is done", async () => {
    expect(await openConfigHost(await server({}), NEVER)).toMatchObject(OPENED);
    expect(await openConfigHost(await server({ "/running": 502 }), NEVER)).toMatchObject(OPENED);
  });
});
