import { isContextOverflow, isRetryableAssistantError } from "@earendil-works/pi-ai";
import { beforeAll, describe, expect, it } from "vitest";
import { events } from "../support/decoding.ts";
import { olderRules, type Rules, remedyBy } from "../support/pi-rules.ts";
import { turnWith } from "../support/turns.ts";
import { NO_OVERFLOWS, OVERFLOWS } from "./overflow-words.ts";

const rules: Rules[] = [{ isContextOverflow, isRetryableAssistantError }];
const ENV = { AI_SERVER_LOAD_TIMEOUT_MS: "3000" };

beforeAll(async () => {
  rules.push(await olderRules());
}, 60_000);

const expectCompact = (text: string | undefined): void => {
  for (const one of rules) expect(remedyBy(one, text ?? ""), text).toBe("compact");
};

describe.each(OVERFLOWS)("an overflow of $server", ({ body, prompt, window }) => {
  const has = (count: string | undefined): string => (count === undefined ? "" : ` (${count} tokens)`);
  const sentence = `context_length_exceeded: the conversation${has(prompt)} no longer fits into the model's context${has(window)}.`;

  it.each([400, 413, 422, 500])("as answer %i makes pi compact", async (status) => {
    const { message } = await turnWith([{ status, pieces: [JSON.stringify(body)] }]);
    expectCompact(message.errorMessage);
    if (status !== 413) expect(message.errorMessage?.split(" It says:")[0]).toBe(sentence);
  });

  it.each([
    ["an event", events(body)],
    ["an event named error", `event: error\n${events(body)}`],
    ["a field named error", `error: ${JSON.stringify(body)}\n\ndata: [DONE]\n\n`],
    ["a bare line", `${JSON.stringify(body)}\n`],
  ])("as %s makes pi compact", async (_, stream) => {
    const { message, server } = await turnWith([{ pieces: [stream] }]);
    expectCompact(message.errorMessage);
    expect(server.chats).toHaveLength(1);
  });

  it("as a whole answer of status 200 makes pi compact", async () => {
    const headers = { "content-type": "application/json" };
    const { message } = await turnWith([{ headers, pieces: [JSON.stringify(body)] }]);
    expectCompact(message.errorMessage);
  });
});

describe("no overflow", () => {
  it.each(NO_OVERFLOWS)("is what $server says", async ({ status, body }) => {
    const answer = { status, pieces: [JSON.stringify(body)] };
    const { message } = await turnWith([answer, answer, answer, answer, answer], { env: ENV });
    expect(message.stopReason).toBe("error");
    for (const one of rules) expect(remedyBy(one, message.errorMessage ?? "")).not.toBe("compact");
  });
});
