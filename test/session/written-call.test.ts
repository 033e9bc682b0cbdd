import { describe, expect, it } from "vitest";
import { writtenCallNotice } from "../../session/written-call.ts";
import { assistant, call, text } from "../support/samples.ts";

const NOTICE =
  /^The model wrote a tool call as text, so nothing was run: .* --jinja, .* --chat-template-file\.$/;
const OURS = { provider: "ai-server", stopReason: "stop" } as const;

const noticeOf = (answer: string, tools = ["read", "bash"]): string | undefined =>
  writtenCallNotice(assistant([text(answer)], OURS), tools);

const JSON_CALL = '{"name": "bash", "arguments": {"command": "ls"}}';

describe("a call that is the whole answer, or its end from the beginning of a line, is noticed", () => {
  it.each([
    ["of Hermes and Qwen", `<tool_call>\n${JSON_CALL}\n</tool_call>`],
    ["after some words", `I list the files.\n\n<tool_call>\n${JSON_CALL}\n</tool_call>\n`],
    ["two of them", `<tool_call>\n${JSON_CALL}\n</tool_call>\n<tool_call>\n${JSON_CALL}\n</tool_call>`],
    ["without its end", `<tool_call>\n${JSON_CALL}`],
    [
      "of Qwen3-Coder",
      "<tool_call>\n<function=bash>\n<parameter=command>\nls\n</parameter>\n</function>\n</tool_call>",
    ],
    ["of Llama", '<function=bash>{"command": "ls"}</function>'],
    ["of GLM", "<tool_call>bash\n<arg_key>command</arg_key>\n<arg_value>ls</arg_value>\n</tool_call>"],
    ["of Mistral", `[TOOL_CALLS][${JSON_CALL}]`],
    ["in a fence", `\`\`\`json\n${JSON_CALL}\n\`\`\``],
    ["as bare JSON", JSON_CALL],
    ["with parameters", '{"name": "read", "parameters": {"path": "a"}}'],
    ["in a list", `[${JSON_CALL}]`],
  ])("%s", (_, answer) => expect(noticeOf(answer)).toMatch(NOTICE));
});

describe("anything else is no call", () => {
  it.each([
    [
      "an explanation in a fence",
      `Models write calls so:\n\`\`\`\n<tool_call>\n${JSON_CALL}\n</tool_call>\n\`\`\``,
    ],
    ["an open fence", `Models write calls so:\n\`\`\`\n<tool_call>\n${JSON_CALL}\n</tool_call>`],
    [
      "an explanation with text after it",
      `<tool_call>\n${JSON_CALL}\n</tool_call>\nis how Qwen calls a tool.`,
    ],
    ["a mention within a line", `The tag <tool_call>${JSON_CALL}</tool_call>`],
    ["a fence after some words", `Such a call:\n\`\`\`json\n${JSON_CALL}\n\`\`\``],
    ["a tool that was not offered", '<tool_call>\n{"name": "frobnicate", "arguments": {}}\n</tool_call>'],
    ["JSON without arguments", '{"name": "bash", "version": "1.0"}'],
    [
      "the definition of a tool",
      '[{"name": "read", "parameters": {"type": "object", "properties": {"path": {"type": "string"}}}}]',
    ],
    ["plain text", "Hello."],
    ["nothing", ""],
  ])("%s", (_, answer) => expect(noticeOf(answer)).toBeUndefined());

  it("without tools", () => expect(noticeOf(JSON_CALL, [])).toBeUndefined());

  it("beside a real call, in a cut answer, of another provider, or of the user", () => {
    const written = text(JSON_CALL);
    const tools = ["bash"];
    const real = assistant([written, call("a", "bash")], { ...OURS, stopReason: "toolUse" });
    expect(writtenCallNotice(real, tools)).toBeUndefined();
    const stopped = assistant([written, call("a", "bash")], OURS);
    expect(writtenCallNotice(stopped, tools)).toBeUndefined();
    expect(writtenCallNotice(assistant([written], { ...OURS, stopReason: "length" }), tools)).toBeUndefined();
    expect(writtenCallNotice(assistant([written], { ...OURS, provider: "cloud" }), tools)).toBeUndefined();
    expect(writtenCallNotice({ role: "user", content: JSON_CALL, timestamp: 0 }, tools)).toBeUndefined();
    expect(writtenCallNotice(undefined, tools)).toBeUndefined();
  });
});
