import { describe, expect, test } from "vitest";
import { FakeClock } from "./support/clock.ts";
import { type Answer, FakeServer, turnOn } from "./support/turns.ts";

const KEY = "lab-7Fq2/Zx+9w";
const PASSPHRASE = "correct horse battery";

/** The error of a turn that gets these answers, with a key that has no look of one. */
async function errorOf(...answers: Answer[]): Promise<string> {
  const clock = new FakeClock();
  const server = new FakeServer(clock, {
    AI_SERVER_API_KEY: KEY,
    AI_SERVER_CLIENT_KEY_PASSPHRASE: PASSPHRASE,
  });
  server.answers.push(...answers);
  const { message } = await turnOn(server, clock);
  expect(message.stopReason).toBe("error");
  return message.errorMessage ?? "";
}

const refused = (status: number, body: string, headers = {}): Answer => ({ status, headers, pieces: [body] });
const stream = (text: string): Answer => ({
  headers: { "content-type": "text/event-stream" },
  pieces: [text],
});
const BASIC = Buffer.from(`me:${KEY}`).toString("base64");

describe("a server that repeats the key does not bring it into the session", () => {
  test.each<[string, Answer]>([
    ["in an error", refused(400, JSON.stringify({ error: { message: `Incorrect key ${KEY} given` } }))],
    ["in words", refused(403, `you are ${KEY}`)],
    ["in escapes", refused(400, `{"error":"key ${KEY.replaceAll("/", "\\/")}"}`)],
    ["in a URL", refused(400, JSON.stringify({ error: `/v1?k=${encodeURIComponent(KEY)} is wrong` }))],
    ["in a Basic header", refused(400, JSON.stringify({ error: `no such user: ${BASIC}` }))],
    ["in a page", refused(403, `<html><body>${KEY}</body></html>`)],
    ["in its JSON of v218", refused(400, `{"error":"say "${KEY}" again","src":"llama-swap"}`)],
    ["at the end of a long error", refused(400, JSON.stringify({ error: `${"x ".repeat(195)}${KEY}` }))],
    ["in a stream", stream(`data: ${JSON.stringify({ error: { message: `failed for ${KEY}` } })}\n\n`)],
    ["without data", stream(`{"error":"failed for ${KEY}"}\n`)],
    ["in a type", { headers: { "content-type": `text/${KEY}` }, pieces: ["x"] }],
    ["the passphrase", refused(400, JSON.stringify({ error: `it is ${PASSPHRASE}!` }))],
  ])("%s", async (_, answer) => {
    const said = await errorOf(answer, answer, answer);
    expect(said).toContain("••••");
    expect(said).not.toContain(PASSPHRASE);
    for (let at = 0; at + 6 <= KEY.length; at += 1) expect(said).not.toContain(KEY.slice(at, at + 6));
    expect(said).not.toContain(BASIC.slice(4, 12));
  });

  test("and what looks like another one is masked", async () => {
    const said = await errorOf(
      refused(
        400,
        JSON.stringify({ error: "Authorization: Bearer abc123def456 and sk-other12345 are wrong" }),
      ),
    );
    expect(said).toBe(
      "The server refused the request (HTTP 400). It says: Authorization: Bearer •••• and •••• are wrong",
    );
  });
});
