import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { Desk } from "../conformance/desk.ts";
import { saying } from "../support/command-user.ts";
import { blamed, trialPart, tried } from "../support/doctor-trial.ts";
import {
  type LlamaServer,
  llamaServerProblem,
  startLlamaServer,
  startRouter,
  TINY_ID,
  TINY_MODEL,
} from "../support/llama-server.ts";
import { type Meddling, meddle } from "../support/meddler.ts";
import { EXTENSION, makeWorkplace, PI_VERSIONS, piProblem, runPi } from "../support/pi.ts";
import { realSuite } from "../support/programs.ts";

const PRESET = `version = 1
[*]
threads = 1
[large]
model = ${TINY_MODEL}
ctx-size = 8192
[small]
model = ${TINY_MODEL}
ctx-size = 16384
`;

realSuite(llamaServerProblem(), "the doctor tries a model on a real llama-server", () => {
  let server: LlamaServer;
  beforeAll(async () => {
    server = await startLlamaServer({ args: ["-np", "1", "-c", "16384"] });
  });
  afterAll(() => server.stop());

  const through = async (meddling: Meddling): ReturnType<typeof tried> => {
    const url = await meddle(server.url, meddling);
    return tried(new Desk({ AI_SERVER_URL: url, AI_SERVER_LOOP_GUARD: "off" }), TINY_ID);
  };

  test("a good model has nothing to warn of, and each figure is there", async () => {
    const found = await tried(new Desk({ AI_SERVER_URL: server.url }), TINY_ID);
    const shown = Object.values(found).map(({ check, verdict, seen }) => `${check} ${verdict}: ${seen}`);
    const [tokens, time] = [String.raw`\d+`, String.raw`\d+(\.\d)? m?s`];
    expect(shown).toEqual(
      expect.arrayContaining([
        "load ok: tiny is loaded",
        expect.stringMatching(`^first-token ok: after ${time}, with a prompt of ${tokens} tokens$`),
        expect.stringMatching(
          `^reading ok: ${tokens} tok/s; at that rate a full window of 16k takes (${time}|${tokens} min.*)$`,
        ),
        expect.stringMatching(`^writing ok: ${tokens} tok/s, measured on 64 tokens$`),
        expect.stringMatching(`^usage ok: ${tokens} read, 64 written, as the server counts$`),
        expect.stringMatching(
          `^answer-stream (ok|unchecked): 64 tokens came in ${tokens} pieces? over ${time}`,
        ),
        expect.stringMatching(`^progress ok: .* \\(${tokens} reports\\)$`),
        expect.stringMatching(`^prefix ok: ${tokens} of ${tokens} tokens .* \\(99 %\\)$`),
        'tool-call ok: a call of bash came: {"command":"echo tiny"}',
        "thinking ok: it thinks at level medium, apart from its answer",
        "thinking-off ok: it answers at once",
        "image unchecked: the model takes no images",
      ]),
    );
    expect(blamed(found)).toEqual([]);
  });

  describe("finds what a server or a proxy does wrong:", () => {
    test("a call that comes as text, where the tools are not passed on", async () => {
      const { "tool-call": found } = await through({ asked: ({ tools: _, ...body }) => body });
      expect(found).toMatchObject({
        verdict: "fault",
        seen: expect.stringContaining("writes the call as text"),
      });
      expect(found?.next).toContain("--jinja");
    });

    test("no call at all", async () => {
      const asked: Meddling["asked"] = (body) =>
        JSON.parse(JSON.stringify(body).replaceAll("call a tool for that", "look"));
      const { "tool-call": found } = await through({ asked });
      expect(found).toMatchObject({ verdict: "warning", seen: expect.stringContaining("answered in words") });
    });

    test("thinking that cannot be switched off", async () => {
      const found = await through({ asked: ({ chat_template_kwargs: _, ...body }) => body });
      expect(found["thinking-off"]).toMatchObject({
        verdict: "warning",
        seen: expect.stringContaining("the switch has no effect"),
      });
      expect(found.thinking).toMatchObject({ verdict: "ok" });
    });

    test("thinking that cannot be switched on", async () => {
      const asked: Meddling["asked"] = (body) => ({
        ...body,
        chat_template_kwargs: { enable_thinking: false },
      });
      const found = await through({ asked });
      expect(found.thinking).toMatchObject({
        verdict: "warning",
        seen: expect.stringContaining("answers without thinking"),
      });
      expect(found["thinking-off"]).toMatchObject({ verdict: "ok" });
    });

    test("an image that is refused with 500, though the model is said to take it", async () => {
      const change = (props: Record<string, unknown>) => ({ ...props, modalities: { vision: true } });
      const { image } = await through({ answered: { path: "/props", change } });
      expect(image).toMatchObject({
        verdict: "fault",
        seen: expect.stringContaining("image input is not supported"),
      });
      expect(image?.next).toContain("--mmproj");
    });

    test("a template that shows the model no tools", async () => {
      const caps = { supports_tools: false, supports_tool_calls: false };
      const change = (props: Record<string, unknown>) => ({ ...props, chat_template_caps: caps });
      const { "tool-call": found } = await through({ answered: { path: "/props", change } });
      expect(found).toMatchObject({ verdict: "warning", seen: expect.stringContaining("shows no tools") });
    });

    test("a prompt that is read again", async () => {
      const { prefix } = await through({ asked: (body) => ({ ...body, cache_prompt: false }) });
      expect(prefix).toMatchObject({
        verdict: "warning",
        seen: expect.stringMatching(/^0 of \d+ .*\(0 %\)$/),
      });
      expect(prefix?.next).toContain("--no-cache-prompt");
    });

    test("a stream that is held back until its end", async () => {
      // Long enough to see it: the model writes up to three tokens a millisecond.
      const asked: Meddling["asked"] = (body) =>
        body.max_tokens === 64 ? { ...body, max_tokens: 2000 } : body;
      const { "answer-stream": stream } = await through({ asked, isBuffered: true });
      expect(stream).toMatchObject({
        verdict: "warning",
        seen: expect.stringMatching(/^2000 tokens came in \d+ pieces? .* holds the stream back$/),
      });
      expect(stream?.next).toContain("flush_interval");
    });
  });

  test("a server that reports no progress is not blamed for it", async () => {
    const { progress } = await through({ asked: ({ return_progress: _, ...body }) => body });
    expect(progress).toMatchObject({ verdict: "unchecked" });
  });
});

realSuite(llamaServerProblem(), "the doctor tries a model on a real llama.cpp router", () => {
  let server: LlamaServer;
  beforeAll(async () => {
    server = await startRouter({ preset: PRESET, args: [] });
  });
  afterAll(() => server.stop());

  test("asks, loads it, and has nothing to warn of", async () => {
    const desk = new Desk({ AI_SERVER_URL: server.url });
    await desk.type("/ai-server-load large");
    const user = saying(true);
    await desk.type("/ai-server-doctor --model small", user);
    const shown = trialPart(JSON.parse(user.told.at(-1) ?? "").lines.join("\n"));
    expect(user.questions).toEqual([
      {
        title: "Load small and try it?",
        text: expect.stringContaining("May be unloaded to make room: large."),
      },
    ]);
    expect(shown).toMatch(/^✓ Load: loaded in \d\.\d s, of 10 min that AI_SERVER_LOAD_TIMEOUT_MS allows/m);
    expect(shown).toMatch(/^✓ Prompt cache: /m);
    expect(shown).toMatch(/^✓ Tool call: /m);
    expect(shown).not.toMatch(/^[!✗]/m);
  });
});

for (const version of PI_VERSIONS)
  realSuite(
    llamaServerProblem() ?? (await piProblem(version)),
    `pi ${version} tries a model on a real llama-server`,
    () => {
      test("prints what was found", async () => {
        const server = await startLlamaServer({ args: ["-c", "32768"] });
        const place = await makeWorkplace();
        try {
          const { stdout, stderr } = await runPi({
            version,
            agentDir: place.agentDir,
            args: ["-e", EXTENSION, "-p", `/ai-server-doctor --model ${TINY_ID}`],
            env: {
              AI_SERVER_URL: server.url,
              AI_SERVER_SSH_HOST: "local",
              AI_SERVER_PRESET_PATH: join(place.folder, "none.yaml"),
            },
            offline: false,
          });
          const shown = trialPart(stdout);
          for (const subject of ["First token", "Prompt cache", "Tool call", "Thinking on", "Thinking off"])
            expect(shown, stderr).toMatch(new RegExp(`^✓ ${subject}: `, "m"));
          expect(shown).not.toMatch(/^[!✗]/m);
        } finally {
          await place.remove();
          await server.stop();
        }
      });
    },
  );
