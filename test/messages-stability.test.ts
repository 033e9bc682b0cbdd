import type { JsonObject, Message, TranscriptContext } from "@earendil-works/pi-ai";
import { describe, expect, it } from "vitest";
import type { ChatMessage } from "../messages/template-limits.ts";
import { chatMessages, chatRequest, type ModelTraits } from "../messages.ts";
import { integer, pick, type Random, randomObject, randomText, seeded, shuffled } from "./support/random.ts";
import {
  assistant,
  call,
  image,
  model,
  PLAIN,
  result,
  system,
  text,
  tool,
  transcript,
  user,
} from "./support/samples.ts";

const TRAITS: ModelTraits = { ...PLAIN, thinking: { kind: "switch" }, keepsThinking: true };
const CASES = 400;

function body(context: TranscriptContext): string {
  return JSON.stringify(chatRequest(context, model(), TRAITS, { reasoning: "high" }, new Set()));
}

/** The user's message, or the results, that a request ends with, behind an answer of any kind. */
function randomTurn(random: Random): Message[] {
  const wish =
    random() < 0.3 ? user([text(randomText(random)), image(), text("?")]) : user(`q${randomText(random)}`);
  const kind = integer(random, 0, 5);
  if (kind === 0) return [wish];
  if (kind === 1) return [assistant("half", { stopReason: pick(random, ["error", "aborted"]) }), wish];
  if (kind === 2) return [assistant([{ type: "thinking", thinking: randomText(random) }]), wish];
  if (kind === 3) return [assistant([{ type: "thinking", thinking: "t" }, text(randomText(random))]), wish];
  const ids = Array.from({ length: integer(random, 1, 3) }, (_, at) => `id|${at}${randomText(random, 3)}`);
  const calls = ids.map((id) => call(id, pick(random, ["bash", "edit"]), randomObject(random) as JsonObject));
  const results = shuffled(random, ids).filter(() => random() < 0.8);
  return [
    assistant([text(randomText(random)), ...calls]),
    ...results.map((id) => result(id, random() < 0.3 ? [image()] : randomText(random))),
    ...(random() < 0.2 ? [result("unasked", "lost")] : []),
    ...(random() < 0.7 ? [wish] : []),
  ];
}

function randomConversation(random: Random): Message[][] {
  const tools = [tool("bash", randomObject(random) as JsonObject), tool("edit", { path: {}, a: {} })];
  const turns = Array.from({ length: integer(random, 1, 6) }, () => randomTurn(random));
  return [[system(randomText(random), { toolsAdded: tools }), user("Begin")], ...turns];
}

/** The same values with the keys of every object in another order; the order of schema properties has a meaning. */
function rebuilt(value: unknown, random: Random, keepOrder = false): unknown {
  if (Array.isArray(value)) return value.map((item) => rebuilt(item, random));
  if (typeof value !== "object" || value === null) return value;
  const entries = Object.entries(value);
  const reordered = keepOrder ? entries : shuffled(random, entries);
  return Object.fromEntries(
    reordered.map(([key, item]) => [key, rebuilt(item, random, !keepOrder && key === "properties")]),
  );
}

describe("the same history", () => {
  it("gives the same bytes, whatever order its objects were built in", () => {
    let changed = 0;
    for (let seed = 1; seed <= CASES; seed += 1) {
      const random = seeded(seed);
      const context = transcript(...randomConversation(random).flat());
      const other = rebuilt(context, random) as TranscriptContext;
      if (JSON.stringify(other) !== JSON.stringify(context)) changed += 1;
      expect(body(other), `seed ${seed}`).toBe(body(context));
    }
    expect(changed).toBeGreaterThan(CASES * 0.9);
  });

  it("does not change what it is given", () => {
    const context = transcript(...randomConversation(seeded(7)).flat());
    const before = JSON.stringify(context);
    body(context);
    expect(JSON.stringify(context)).toBe(before);
  });
});

describe("a longer history", () => {
  it("begins with the bytes of the shorter one, so that the server's cache holds", () => {
    let compared = 0;
    for (let seed = 1; seed <= CASES; seed += 1) {
      const turns = randomConversation(seeded(seed));
      for (let length = 1; length < turns.length; length += 1) {
        const shorter = JSON.stringify(
          chatRequest(transcript(...turns.slice(0, length).flat()), model(), TRAITS, {}, new Set()).messages,
        ).slice(0, -1);
        const longer = body(transcript(...turns.slice(0, length + 1).flat()));
        expect(longer.startsWith(`{"model":"thinker","messages":${shorter}`), `seed ${seed}, ${length}`).toBe(
          true,
        );
        compared += 1;
      }
    }
    expect(compared).toBeGreaterThan(CASES);
  });
});

describe("any history", () => {
  it("gives messages that llama-server takes", () => {
    for (let seed = 1; seed <= CASES; seed += 1) {
      const random = seeded(seed);
      const context = transcript(...shuffled(random, randomConversation(random).flat()));
      const { messages } = JSON.parse(body(context)) as { messages: Record<string, unknown>[] };
      const roles = messages.map(({ role }) => role);
      expect(roles.slice(1), `seed ${seed}`).not.toContain("system");
      expect(roles.slice(-2), `seed ${seed}`).not.toEqual(["assistant", "assistant"]);
      let open: unknown[] = [];
      for (const message of messages) {
        if (message.role === "tool") expect(message.tool_call_id, `seed ${seed}`).toBe(open.shift());
        else expect(open, `seed ${seed}: calls without result`).toEqual([]);
        if (message.role !== "assistant") continue;
        const calls = (message.tool_calls ?? []) as { id: string; function: { arguments: string } }[];
        expect(message.content !== "" || calls.length > 0, `seed ${seed}: empty`).toBe(true);
        for (const { function: named } of calls) expect(JSON.parse(named.arguments)).toBeTypeOf("object");
        open = calls.map(({ id }) => id);
      }
      expect(open, `seed ${seed}: calls without result`).toEqual([]);
    }
  });
});

describe("any history for a strict template", () => {
  const STRICT = { ...TRAITS, needsAlternation: true, needsShortCallIds: true };
  const sent = (messages: readonly Message[], traits: ModelTraits): ChatMessage[] =>
    chatMessages(transcript(...messages), model(), traits);

  it.each([true, false])("has the user speak after an answer alone; with tools: %s", (takesTools) => {
    for (let seed = 1; seed <= CASES; seed += 1) {
      const random = seeded(seed);
      const messages = sent(shuffled(random, randomConversation(random).flat()), { ...STRICT, takesTools });
      messages.forEach((message, at) => {
        const before = messages[at - 1]?.role ?? "system";
        if (message.role === "user") expect(["system", "assistant"], `seed ${seed}`).toContain(before);
        if (message.role === "tool") expect(message.tool_call_id, `seed ${seed}`).toMatch(/^[a-zA-Z0-9]{9}$/);
      });
      if (!takesTools)
        expect(JSON.stringify(messages), `seed ${seed}`).not.toMatch(/"tool_call|"role":"tool"/);
    }
  });

  it("keeps what was sent before, up to the user's last words", () => {
    for (let seed = 1; seed <= CASES; seed += 1) {
      const turns = randomConversation(seeded(seed));
      for (let length = 1; length < turns.length; length += 1) {
        const shorter = sent(turns.slice(0, length).flat(), STRICT);
        const longer = sent(turns.slice(0, length + 1).flat(), STRICT);
        const last = shorter.length - 1;
        expect(longer.slice(0, last), `seed ${seed}`).toEqual(shorter.slice(0, last));
        expect(longer[last]?.role, `seed ${seed}`).toBe(shorter[last]?.role);
      }
    }
  });
});
