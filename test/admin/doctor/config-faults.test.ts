import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { CONFIG, startPlace } from "../../support/command-place.ts";
import { configFindings } from "../../support/doctor-client.ts";
import { bad, foundIn, of, oneModel as one, RUN } from "../../support/doctor-config.ts";
import type { ShownFinding } from "../../support/doctor-findings.ts";

/** In order: what is wrong, in which file, what is found, and what the same check says of a right one. */
const WRONG: readonly [
  what: string,
  check: string,
  text: string,
  found: Partial<Record<keyof ShownFinding, unknown>>,
  right?: string,
][] = [
  [
    "a file that is no YAML",
    "config-file",
    "models: {a: ",
    { verdict: "fault", seen: /the YAML is broken there/ },
  ],
  [
    "a model twice",
    "config-file",
    `${one(RUN)}  a:\n    cmd: x\n`,
    { verdict: "fault", seen: /line 4.*Map keys must be unique/ },
  ],
  [
    "`Models:`",
    "config-file",
    one(RUN).replace("models", "Models"),
    { verdict: "fault", seen: /spelled "Models"/ },
  ],
  [
    "a list of models",
    "config-file",
    "models:\n  - name: m1\n    cmd: x\n",
    { verdict: "fault", seen: /holds a list/ },
  ],
  [
    "an alias of two models",
    "config-names",
    `models:\n  a: { cmd: "${RUN}", aliases: [x] }\n  b: { cmd: "${RUN}", aliases: [x] }\n`,
    {
      verdict: "fault",
      subject: "Name x",
      seen: /alias of the model "b" and of "a": llama-swap does not start/,
    },
    `models:\n  a: { cmd: "${RUN}", aliases: [x] }\n  b: { cmd: "${RUN}", aliases: [y] }\n`,
  ],
  [
    "an alias that is a model's id",
    "config-names",
    `models:\n  a: { cmd: "${RUN}", aliases: [b] }\n  b: { cmd: "${RUN}" }\n`,
    { verdict: "warning", seen: /the alias is never used/ },
  ],
  [
    "a misspelled key of a model",
    "config-keys",
    one(RUN, "    tll: 300\n"),
    { verdict: "warning", seen: /ignores the key "tll" at line 4.*"ttl" is probably meant/ },
    one(RUN, "    ttl: 300\n    note: mine\n"),
  ],
  [
    "a misspelled key at the top",
    "config-keys",
    one(RUN, "", "healthchecktimeout: 300\n"),
    { verdict: "warning", seen: /"healthCheckTimeout" is probably meant/ },
    one(RUN, "", "healthCheckTimeout: 300\nx-common: 1\n"),
  ],
  [
    "a command without a port",
    "command",
    one("llama-server -m /m/a.gguf"),
    { verdict: "fault", seen: /without \$\{PORT\}, and the model has no `proxy`: llama-swap does not start/ },
    one("llama-server -m /m/a.gguf --port 9001", "    proxy: http://127.0.0.1:9001\n"),
  ],
  [
    "a proxy that needs the port of the command",
    "command",
    one("llama-server -m /m/a.gguf", "    proxy: http://127.0.0.1:${PORT}\n"),
    { verdict: "fault", seen: /its `proxy` needs the same/ },
    one("${server}", "", `macros: { server: "${RUN}" }\n`),
  ],
  ["no command", "command", "models:\n  a: { ttl: 3 }\n", { verdict: "fault", seen: /has no `cmd`/ }],
  [
    "a flag that llama-server does not have",
    "command",
    one(`${RUN} -ctx-size 8192`),
    {
      verdict: "fault",
      seen: /it starts llama-server with "-ctx-size", which it does not know: its load fails/,
    },
    one(`${RUN} --ctx-size 8192`),
  ],
  [
    "a limit for each slot that pi's prompt fills",
    "context",
    one(`${RUN} -c 65536 -np 4 --kv-unified-per-slot 2048`),
    {
      verdict: "warning",
      seen: /^--kv-unified-per-slot gives a request 2048 tokens: pi's/,
      next: "Raise --kv-unified-per-slot, or leave it out.",
      fixable: false,
    },
  ],
  ["an open quote", "command", one(`${RUN} "x`), { verdict: "fault", seen: /a quote is left open/ }],
  [
    "a declared window of all slots together",
    "context",
    one(`${RUN} -c 65536 -np 2`, "    capabilities: { context: 65536 }\n"),
    {
      verdict: "warning",
      seen: /^--parallel 2 leaves a request 32768 of its 65536 tokens, and capabilities.context says 65536/,
      next: "Set capabilities.context to 32768.",
      fixable: false,
    },
    one(`${RUN} -c 65536 -np 2 --kv-unified`, "    capabilities: { context: 65536 }\n"),
  ],
  [
    "a declared window that is more than a slot has",
    "context",
    one(`${RUN} -c 65536 -np 2`, "    capabilities: { context: 49152 }\n"),
    {
      verdict: "warning",
      next: "Correct capabilities.context, or the size (/ai-server-ctx a 98304)",
      fixable: true,
    },
    one(`${RUN} -c 98304 -np 2`, "    capabilities: { context: 49152 }\n"),
  ],
  [
    "a limit for each slot below the declared window",
    "context",
    one(`${RUN} -c 65536 -np 4 --kv-unified-per-slot 16384`, "    capabilities: { context: 65536 }\n"),
    { verdict: "warning", next: "Set capabilities.context to 16384.", fixable: false },
    one(`${RUN} -c 65536 -np 4 --kv-unified-per-slot 16384`, "    capabilities: { context: 16384 }\n"),
  ],
  [
    "a window that pi's prompt fills",
    "context",
    one("${server} --ctx-size ${size}", "", `macros:\n  server: "${RUN}"\n  size: 4096\n`),
    { verdict: "warning", seen: /^a request gets 4096 tokens: pi's own prompt/, fixable: true },
    one(`${RUN} --embedding --ctx-size 512`),
  ],
  [
    "a window that slots make too small",
    "context",
    one(`${RUN} -c 16384 -np 4`),
    { verdict: "warning", seen: /^--parallel 4 leaves a request 4096 of its 16384 tokens: pi's/ },
    one(`${RUN} -c 0`),
  ],
  [
    "templates that are not read",
    "jinja",
    one("${server}", "", `macros: { server: "${RUN} --jinja --no-jinja" }\n`),
    {
      verdict: "fault",
      subject: "Tools of a",
      seen: /--no-jinja llama-server refuses every request that brings tools/,
    },
    one(`${RUN} --no-jinja --jinja`),
  ],
  [
    "templates that are not read by a variable",
    "jinja",
    one(RUN, "    env: [LLAMA_ARG_JINJA=0]\n"),
    { verdict: "fault" },
    one(RUN),
  ],
  [
    "models with one port that may run together",
    "ports",
    `models:\n  a: { cmd: "x --port 9001", proxy: "http://localhost:9001" }\n  b: { cmd: "x --port 9001", proxy: "http://localhost:9001" }\ngroups: { g: { swap: false, members: [a, b] } }\n`,
    {
      verdict: "fault",
      subject: "Port of b",
      seen: "its --port 9001 is that of a too, and both may be loaded at once",
    },
    `models:\n  a: { cmd: "x --port 9001", proxy: "http://localhost:9001" }\n  b: { cmd: "x --port 9001", proxy: "http://localhost:9001" }\ngroups: { g: { swap: true, members: [a, b] } }\n`,
  ],
  [
    "a proxy to another port",
    "ports",
    one("llama-server --port 9001 -m /m/a.gguf", "    proxy: http://127.0.0.1:9002\n"),
    { verdict: "fault", seen: "it listens on port 9001, and its `proxy` sends requests to 9002" },
    one(
      "docker run -p 9002:9001 ghcr.io/ggml-org/llama.cpp:server --port 9001",
      "    proxy: http://127.0.0.1:9002\n",
    ),
  ],
  [
    "a short idle time",
    "idle-time",
    one(RUN, "    ttl: 30\n", "globalTTL: 600\n"),
    { verdict: "warning", seen: /unloaded after 30 s/ },
    one(RUN, "    ttl: 0\n", "globalTTL: 30\n"),
  ],
  [
    "a short idle time of all",
    "idle-time",
    one(RUN, "    ttl: -1\n", "globalTTL: 30\n"),
    { verdict: "warning" },
    one(RUN, "", "globalTTL: 1800\n"),
  ],
  [
    "a key in a command",
    "command-secrets",
    one(`${RUN} --api-key geheim-1234`),
    {
      verdict: "warning",
      seen: /holds a secret \(--api-key\), which every holder of a certificate can read in \/running/,
    },
    one(`${RUN} --api-key-file /etc/key`, "    env: [LLAMA_API_KEY=geheim-1234]\n"),
  ],
  [
    "a token in a command",
    "command-secrets",
    one(`env HF_TOKEN=geheim-1234 ${RUN} -hft geheim-1234`),
    { verdict: "warning", seen: /\(-hft, HF_TOKEN\)/ },
    one(`env LANG=C ${RUN} --cache-reuse 256 --keep 3`),
  ],
];

function matching(found: Partial<Record<keyof ShownFinding, unknown>>): Record<string, unknown> {
  const entries = Object.entries(found);
  return Object.fromEntries(
    entries.map(([key, value]) => [key, value instanceof RegExp ? expect.stringMatching(value) : value]),
  );
}

describe("a config that is wrong", () => {
  test.each(WRONG)("by %s", async (_, check, text, expected, right) => {
    const found = await foundIn(text);
    expect(bad(of(found, check))).toEqual([expect.objectContaining(matching(expected))]);
    expect(JSON.stringify(found)).not.toContain("geheim");
    if (right === undefined) return;
    expect(of(await foundIn(right), check)).toEqual([expect.objectContaining({ verdict: "ok" })]);
  });

  test("is missing", async () => {
    const place = await startPlace(CONFIG, { AI_SERVER_PRESET_PATH: "/nowhere/config.yaml" });
    const found = await configFindings(place);
    expect(found).toMatchObject([{ check: "config-file", verdict: "fault", subject: "The config" }]);
    expect(found[0]?.seen).toContain("/nowhere/config.yaml does not exist on this machine");
  });

  test("is of another kind than the server", async () => {
    const place = await startPlace(CONFIG, { AI_SERVER_PRESET_PATH: "/nowhere/models.ini" });
    const found = await configFindings(place);
    expect(found).toMatchObject([{ check: "config-file", verdict: "fault" }]);
    expect(found[0]?.seen).toContain("a preset of llama.cpp's router, but the server is llama-swap");
  });

  test("has a model in two of its files", async () => {
    const found = await foundIn(CONFIG, (place) => {
      writeFileSync(join(place.folder, "more.yaml"), one(RUN).replace("  a:", "  small:"));
      place.set({ AI_SERVER_PRESET_PATH: place.folder });
    });
    expect(of(found, "config-file").map(({ verdict }) => verdict)).toEqual(["ok", "ok"]);
    expect(bad(of(found, "config-names"))).toMatchObject([
      {
        verdict: "fault",
        seen: "config.yaml and more.yaml both have the model small: llama-swap does not start.",
      },
    ]);
  });
});
