/** A model that would think for ever, on a real llama-server: its thinking is ended, and the turn goes on. */
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { readConfig, type Variables } from "../../config.ts";
import { REAL_CLOCK } from "../../lib/clock.ts";
import { readText } from "../../server/http/http.ts";
import { THINKING_PATH } from "../../server/kinds/llama-cpp/requests.ts";
import { ModelServer } from "../../server/model-server.ts";
import { startKind } from "../support/kinds.ts";
import {
  type LlamaServer,
  llamaServerProblem,
  startLlamaServer,
  startRouter,
  TINY_ID,
  TINY_MODEL,
} from "../support/llama-server.ts";
import { eventually } from "../support/processes.ts";
import { realSuite } from "../support/programs.ts";
import { model, PLAIN, transcript, user } from "../support/samples.ts";
import { SCRIPTS, TRAINED_CONTEXT } from "../support/tiny-model.ts";
import { beginTurn, type RunningTurn } from "../support/turns.ts";

/** With it the model begins within its thinking, and counts there: nothing but the server leads it out. */
async function openTemplate(): Promise<string> {
  const template = await readFile(new URL("../support/tiny-model.jinja", import.meta.url), "utf8");
  const end = template.lastIndexOf("    {%- if enable_thinking");
  return `${template.slice(0, end)}    {{- '<think>\\n' }}\n{%- endif %}\n`;
}

const COUNT = transcript(user(SCRIPTS.endless.cue));
let folder: string;
let server: LlamaServer | undefined;
const clients: ModelServer[] = [];

async function connect(env: Variables = {}): Promise<ModelServer> {
  const client = new ModelServer(readConfig({ AI_SERVER_URL: server?.url ?? "", ...env }, {}, "/nowhere"));
  clients.push(client);
  await client.backend();
  return client;
}

function begin(
  client: ModelServer,
  id: string,
  signal = new AbortController().signal,
): RunningTurn & { notices: string[] } {
  const notices: string[] = [];
  const parts = {
    traits: () => ({ ...PLAIN, thinking: { kind: "always" as const } }),
    onNotice: (text: string) => void notices.push(text),
  };
  const on = model({ id, contextWindow: TRAINED_CONTEXT, maxTokens: 20_000 });
  return {
    ...beginTurn(client, { clock: REAL_CLOCK, on, context: COUNT, parts, options: { signal } }),
    notices,
  };
}

for (const [kind, id] of [
  ["llama-server", TINY_ID],
  ["router", "counter"],
] as const)
  realSuite(llamaServerProblem(), `thinking that does not end on a real ${kind}`, () => {
    beforeAll(async () => {
      folder = await mkdtemp(join(tmpdir(), "thinking-end-test-"));
      const file = join(folder, "open.jinja");
      await writeFile(file, await openTemplate());
      const preset = `[${id}]\nmodel = ${TINY_MODEL}\nchat-template-file = ${file}\njinja = 1\n`;
      server =
        kind === "router"
          ? await startRouter({ preset, args: [] })
          : await startLlamaServer({ args: ["-np", "1", "--chat-template-file", file] });
    });
    afterAll(async () => {
      for (const client of clients.splice(0)) await client.close();
      await server?.stop();
      await rm(folder, { recursive: true, force: true });
    });

    test("is ended by the user, and text follows in the same turn", async () => {
      const stop = new AbortController();
      const turn = begin(await connect({ AI_SERVER_LOOP_GUARD: "off" }), id, stop.signal);
      const thinking = await eventually("its end is offered", () => {
        const said = turn.activities.find((one) => one.kind === "thinks");
        return said?.kind === "thinks" ? said.thinking : undefined;
      });
      expect(await thinking.end()).toBe(true);
      await eventually("text comes", () => turn.events.includes("text_delta") || undefined);
      // It would count there for ever, too.
      stop.abort();
      const { message } = await turn.ended;
      expect(message.content.map(({ type }) => type)).toEqual(["thinking", "text"]);
      expect(turn.events.filter((type) => type === "thinking_end")).toHaveLength(1);
    });

    test("is ended once it repeats itself, and so is the turn when its text does", async () => {
      const turn = begin(await connect(), id);
      const { message } = await turn.ended;
      expect(turn.notices).toEqual([expect.stringMatching(/^The model repeated itself while it thought: /)]);
      expect(message.content.map(({ type }) => type)).toEqual(["thinking", "text"]);
      expect(message.errorMessage).toMatch(/^The model repeats itself: it wrote "/);
    });
  });

realSuite(llamaServerProblem(), "a request that a real llama-server does not obey", () => {
  test("is answered as the stand-in answers it", async () => {
    const real = await startLlamaServer({ args: [] });
    const sim = await startKind("llama-server", { models: { [TINY_ID]: "" } });
    try {
      const bodies = [
        "{}",
        '{"id":"x"}',
        '{"id":"x","action":"stop"}',
        '{"id":"x","action":"reasoning_end"}',
      ];
      for (const body of bodies) {
        const answers = [];
        for (const env of [{ AI_SERVER_URL: real.url }, sim.env]) {
          const { http } = new ModelServer(readConfig(env, {}, "/nowhere"));
          // The stand-in listens a moment after its start.
          await eventually("it answers", () =>
            http.json("/health", { timeoutMs: 1000 }).catch(() => undefined),
          );
          const answer = await http.request({ method: "POST", path: THINKING_PATH, body });
          answers.push([answer.status, JSON.parse(await readText(answer.body, 1000))]);
          await http.close();
        }
        expect(answers[1], body).toEqual(answers[0]);
      }
    } finally {
      await real.stop();
      await sim.close();
    }
  });
});
