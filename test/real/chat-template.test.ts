import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Message } from "@earendil-works/pi-ai";
import { expect, onTestFinished, test } from "vitest";
import { readConfig } from "../../config.ts";
import type { ModelTraits } from "../../messages.ts";
import { ModelServer } from "../../server/model-server.ts";
import { parseProps } from "../../server/models/models.ts";
import { llamaServerProblem, startLlamaServer, TINY_ID } from "../support/llama-server.ts";
import { realSuite } from "../support/programs.ts";
import {
  assistant,
  call,
  model,
  PLAIN,
  result,
  system,
  text,
  tool,
  transcript,
  user,
} from "../support/samples.ts";
import { SCRIPTS, TRAINED_CONTEXT } from "../support/tiny-model.ts";
import { beginTurn, type TurnOptions, type TurnResult } from "../support/turns.ts";

const ANSWER = SCRIPTS.text.pieces.join("");
const TINY = model({ id: TINY_ID, contextWindow: TRAINED_CONTEXT });
const WITH_BASH = system("Be brief.", { toolsAdded: [tool("bash", { command: { type: "string" } })] });
const clock = { now: Date.now, sleep: (ms: number) => new Promise<void>((done) => setTimeout(done, ms)) };

const TURN = "{{- '<|im_start|>' + message.role + '\\n' + (message.content or '') + '<|im_end|>\\n' }}";
const PROMPT = "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}";

const WITH_THINKING = `{%- for message in messages %}
  {%- if message.reasoning_content %}{{- '<think>\\n' + message.reasoning_content + '\\n</think>' }}{% endif %}
  ${TURN}
{%- endfor %}`;

/** Shows no tools, and nothing in a request switches its thinking. */
const ALWAYS = `${WITH_THINKING}
${PROMPT}{% endif %}`;

const OWN_SWITCH = `${WITH_THINKING}
${PROMPT}{% if thinking is defined and not thinking %}{{- '<think>\\n\\n</think>\\n\\n' }}{% endif %}{% endif %}`;

const STRICT = `{%- set ns = namespace(turns=0) %}
{%- for tool in tools or [] %}{{- tool | tojson }}{% endfor %}
{%- for message in messages %}
  {%- if message.role == 'user' or (message.role == 'assistant' and not message.tool_calls) %}
    {%- if (message.role == 'user') != (ns.turns % 2 == 0) %}{{- raise_exception('Roles must alternate') }}{% endif %}
    {%- set ns.turns = ns.turns + 1 %}
  {%- endif %}
  {%- for call in message.tool_calls or [] %}
    {%- if call.id | length != 9 %}{{- raise_exception('Ids must be of length 9') }}{% endif %}
    {{- call.function | tojson }}
  {%- endfor %}
  ${TURN}
{%- endfor %}
${PROMPT}{% endif %}`;

/** Drops the thinking of earlier turns, unless a variable keeps it. */
const FORGETS = `{%- set ns = namespace(last=0) %}
{%- for message in messages %}{% if message.role == 'user' %}{% set ns.last = loop.index0 %}{% endif %}{% endfor %}
{%- for message in messages %}
  {%- if message.role == 'assistant' and message.reasoning_content and (keep_past_thinking or loop.index0 > ns.last) %}
    {{- '<|im_start|>assistant\\n<think>\\n' + message.reasoning_content.strip('\\n') + '\\n</think>\\n\\n' }}
    {{- message.content + '<|im_end|>\\n' }}
  {%- else %}
    ${TURN}
  {%- endif %}
{%- endfor %}
${PROMPT}{% endif %}`;

interface Place {
  /** What the server reports of the template. */
  traits: ModelTraits;
  /** One turn with the reported traits, unless with others. */
  ask(
    messages: readonly Message[],
    options?: TurnOptions["options"],
    traits?: ModelTraits,
  ): Promise<TurnResult>;
}

async function serving(template: string): Promise<Place> {
  const folder = await mkdtemp(join(tmpdir(), "chat-template-test-"));
  onTestFinished(() => rm(folder, { recursive: true, force: true }));
  const file = join(folder, "template.jinja");
  await writeFile(file, template);
  const server = await startLlamaServer({ args: ["-np", "1", "--jinja", "--chat-template-file", file] });
  onTestFinished(() => server.stop());
  const client = new ModelServer(readConfig({ AI_SERVER_URL: server.url }, {}, "/nowhere"));
  onTestFinished(() => client.close());
  const facts = parseProps(await client.http.json("/props", { timeoutMs: 5_000 }));
  const told: ModelTraits = {
    thinking: facts.thinking ?? PLAIN.thinking,
    keepsThinking: facts.keepsThinking ?? false,
    keptBy: facts.keptBy,
    takesTools: facts.tools ?? true,
    needsAlternation: facts.needsAlternation ?? false,
    needsShortCallIds: facts.needsShortCallIds ?? false,
  };
  const ask: Place["ask"] = (messages, options = {}, traits = told) =>
    beginTurn(client, {
      clock,
      on: TINY,
      context: transcript(...messages),
      options,
      parts: { traits: () => traits },
    }).ended;
  return { traits: told, ask };
}

const blocks = ({ message }: TurnResult): string[] => message.content.map(({ type }) => type);

const answerOf = ({ message }: TurnResult): string =>
  message.content.flatMap((block) => (block.type === "text" ? block.text.trim() : [])).join();

realSuite(llamaServerProblem(), "a template on a real llama-server", () => {
  test("without a switch thinks as long as its budget is, and without tools gets none", async () => {
    const { traits, ask } = await serving(ALWAYS);
    expect(traits).toEqual({
      ...PLAIN,
      thinking: { kind: "budget" },
      keepsThinking: true,
      takesTools: false,
    });
    const hello = [WITH_BASH, user("Hello")];
    expect(blocks(await ask(hello))).toEqual(["text"]);
    const whole = await ask(hello, { reasoning: "max" });
    expect(blocks(whole)).toEqual(["thinking", "text"]);
    const cut = await ask(hello, { reasoning: "low", thinkingBudgets: { low: 2 } });
    const thought = (turn: TurnResult): number => JSON.stringify(turn.message.content[0]).length;
    expect(thought(cut)).toBeLessThan(thought(whole));
    expect([answerOf(whole), answerOf(cut)]).toEqual([ANSWER, ANSWER]);

    const called = [assistant([call("call_1", "bash", { command: "ls" })]), result("call_1", "README")];
    const after = await ask([...hello, ...called]);
    expect([after.message.stopReason, answerOf(after)]).toEqual(["stop", ANSWER]);
    const offered = await ask(hello, {}, { ...traits, takesTools: true });
    expect(after.message.usage.input + after.message.usage.cacheRead).toBeGreaterThan(
      offered.message.usage.input + offered.message.usage.cacheRead,
    );
  });

  test("with a switch of another name is switched by it", async () => {
    const { traits, ask } = await serving(OWN_SWITCH);
    expect(traits.thinking).toEqual({ kind: "switch", variable: "thinking" });
    expect(blocks(await ask([user("Hello")]))).toEqual(["text"]);
    expect(blocks(await ask([user("Hello")], { reasoning: "medium" }))).toEqual(["thinking", "text"]);
  });

  test("that is strict about turns and ids takes any history", async () => {
    const { traits, ask } = await serving(STRICT);
    expect(traits).toMatchObject({ takesTools: true, needsAlternation: true, needsShortCallIds: true });
    const history = [
      WITH_BASH,
      user("Hello"),
      assistant([text("Let me see."), call("call_1234567890", "bash", { command: "ls" })]),
      result("call_1234567890", "README"),
      user("And now?"),
      user("Well?"),
    ];
    expect((await ask(history)).message.stopReason).toBe("stop");
    for (const need of ["needsAlternation", "needsShortCallIds"] as const) {
      const { message } = await ask(history, {}, { ...traits, [need]: false });
      expect([need, message.stopReason]).toEqual([need, "error"]);
    }
  });

  test("that can keep earlier thinking does, so that the next turn finds all of the last in the cache", async () => {
    const { traits, ask } = await serving(FORGETS);
    expect(traits).toMatchObject({ keepsThinking: true, keptBy: "keep_past_thinking" });
    const question = user("Hello");
    const first = await ask([question], { reasoning: "max" });
    expect(blocks(first)).toEqual(["thinking", "text"]);
    const said = { ...first.message, model: TINY.id };
    const { input, cacheRead, output } = first.message.usage;
    const kept = await ask([question, said, user("And that?")], { reasoning: "max" });
    expect(kept.message.usage.cacheRead).toBeGreaterThanOrEqual(input + cacheRead + output - 1);
    const forgot = await ask(
      [question, said, user("And this?")],
      { reasoning: "max" },
      { ...traits, keptBy: undefined },
    );
    expect(forgot.message.usage.cacheRead).toBeLessThan(input + cacheRead + output - 1);
  });
});
