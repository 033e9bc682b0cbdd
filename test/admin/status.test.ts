import { rmSync } from "node:fs";
import { describe, expect, test, vi } from "vitest";
import { faultReport } from "../../admin/status.ts";
import { HubClient } from "../../huggingface/hub.ts";
import { type Link, ServerError } from "../../lib/errors.ts";
import type { BackendKind } from "../../server/kinds/backend.ts";
import { startAddPlace } from "../support/add-place.ts";
import { ODD, startPlace } from "../support/command-place.ts";
import { User } from "../support/command-user.ts";
import { installFitTools } from "../support/fit-tools.ts";
import { freePort } from "../support/network.ts";

const DECLARED = (ctx: number, second: string): string => `
models:
  a:
    cmd: llama-server --port \${PORT}
    metadata: { context_length: ${ctx} }
    ttl: 300
  ${second}:
    cmd: llama-server --port \${PORT}
`;

describe("a fault names the link that fails:", () => {
  test.each<[Link, string]>([
    ["configuration", "configuration FAILS"],
    ["certificates", "configuration ok · certificates FAILS"],
    ["DNS", "configuration ok · certificates ok · DNS FAILS"],
    ["TCP", "configuration ok · certificates ok · DNS ok · TCP FAILS"],
    ["TLS", "configuration ok · certificates ok · DNS ok · TCP ok · TLS FAILS"],
    ["Caddy", "configuration ok · certificates ok · DNS ok · TCP ok · TLS ok · Caddy FAILS"],
    ["server", "configuration ok · certificates ok · DNS ok · TCP ok · TLS ok · Caddy ok · server FAILS"],
    [
      "model",
      "configuration ok · certificates ok · DNS ok · TCP ok · TLS ok · Caddy ok · server ok · model FAILS",
    ],
  ])("%s", (link, way) => {
    expect(faultReport(new ServerError("Words.", { link, remedy: "none" }), undefined, true)).toBe(
      `${way}\nWords.`,
    );
  });

  test.each<[BackendKind, string]>([
    ["llama-swap", "llama-swap"],
    ["router", "llama.cpp's router"],
    ["llama-server", "llama-server"],
    ["other", "server"],
  ])("the server by what it is, where that is known: %s", (kind, name) => {
    const report = faultReport(new ServerError("Words.", { link: "model", remedy: "none" }), kind, true);
    expect(report).toContain(`Caddy ok · ${name} ok · model FAILS`);
  });

  test("plain HTTP has no certificates, no TLS and no Caddy", () => {
    const way = (link: Link) =>
      faultReport(new ServerError("Words.", { link, remedy: "none" }), undefined, false);
    expect(way("server")).toBe("configuration ok · DNS ok · TCP ok · server FAILS\nWords.");
    expect(way("Caddy")).toBe("configuration ok · DNS ok · TCP ok · Caddy FAILS\nWords.");
  });

  test("where there is no link there is the sentence alone", () => {
    expect(faultReport(new ServerError("Words.", { link: "stream", remedy: "none" }), undefined, true)).toBe(
      "Words.",
    );
    expect(faultReport(new Error("Words."), undefined, true)).toBe("Words.");
    expect(faultReport("Words.", undefined, true)).toBe("Words.");
  });
});

describe("/ai-server-status", () => {
  test.each([
    ["unlisted: true", "4k +command line"],
    ["metadata: { chat: false }", "4k +command line"],
  ])("shows a loaded model with %s, marked, and no other that pi does not offer", async (hides, context) => {
    const hidden = (id: string): string =>
      `  ${id}:\n    cmd: llama-server --port \${PORT} -c 4096\n    ${hides}\n    ttl: 300\n`;
    const place = await startPlace(DECLARED(32_768, "b") + hidden("secret") + hidden("idle"));
    await place.load("secret");
    const { told } = await place.type("/ai-server-status");
    expect(told[0]).toMatch(new RegExp(`\nsecret +ready, not in /model +${context} +5 min idle`));
    expect(told[0]).not.toContain("idle:");
    expect(told[0]).not.toMatch(/\nidle/);
    expect(told[0]?.match(/\nsecret/g)).toHaveLength(1);
  });

  test("shows address, version and table, and loads nothing", async () => {
    const place = await startPlace(DECLARED(32_768, "b"));
    const { notices } = await place.type("/ai-server-status");
    expect(notices).toEqual([
      {
        level: "info",
        text: [
          `${place.sim.url} · llama-swap 250`,
          "Model  State     Context  From      Unloads  Vision  Thinking",
          "a      unloaded  32k      declared  –        –       –",
          "b      unloaded  –        –         –        –       –",
        ].join("\n"),
      },
    ]);
    expect(place.sim.starts).toEqual({});
  });

  test("warns of a server that asks for no client certificate", async () => {
    const place = await startPlace(DECLARED(32_768, "b"), {}, { tls: "server" });
    const { told } = await place.type("/ai-server-status");
    expect(told[0]?.split("\n")[1]).toBe(
      `${place.sim.url} asks for no client certificate: anyone who can reach it can use it. Demand one with client_auth in the tls block of the Caddyfile, as docs/caddy.md shows.`,
    );
    expect(place.sim.starts).toEqual({});
  });

  test("looks at the door of no server that has not answered", async () => {
    const place = await startPlace(DECLARED(32_768, "b"), { AI_SERVER_MODELS_PATH: "/nowhere" });
    const { openDoor } = await place.aiServer.server();
    const look = vi.spyOn(openDoor, "warnings");
    expect((await place.type("/ai-server-status")).notices[0]?.level).toBe("error");
    expect(look).not.toHaveBeenCalled();
  });

  test("with an id shows all that is known of it, also of an odd one and by its alias", async () => {
    const place = await startPlace();
    await place.load(ODD);
    for (const typed of [ODD, `"${ODD}"`, "groesse"]) {
      const [text = ""] = (await place.type(`/ai-server-status ${typed}`)).told;
      expect(text).toContain("State      ready");
      expect(text).toContain("Context    8192 tokens a request (live)");
      expect(text).toContain("Trained    for 131072 tokens (live)");
      expect(text).toContain("-m /models/g.gguf -c 16384");
    }
    expect((await place.type("/ai-server-status groesse")).told[0]).toContain(`Alias of   ${ODD}`);
    await place.type(`/ai-server-unload ${ODD}`);
    await place.aiServer.remembered.written();
    const [text = ""] = (await place.type(`/ai-server-status ${ODD}`)).told;
    expect(text).toContain("State      unloaded");
    expect(text).toContain("Trained    for 131072 tokens (last seen)");
    expect(place.sim.starts).toEqual({ [ODD]: 1 });
  });

  test("with a wrong id names the nearest, and the way to the model up to there", async () => {
    const { notices } = await (await startPlace()).type("/ai-server-status smol");
    expect(notices[0]?.level).toBe("error");
    expect(notices[0]?.text).toMatch(/model FAILS\nNo model "smol". Did you mean "small"\?$/);
  });

  test.each([
    [{ AI_SERVER_TIMEOUT_MS: "soon" }, "configuration", /AI_SERVER_TIMEOUT_MS is "soon"/],
    [{ AI_SERVER_CLIENT_CERT: "none.pem" }, "certificates", /The client certificate is missing/],
    [{ AI_SERVER_URL: "https://no-such-host.invalid" }, "DNS", /does not exist in DNS/],
    [{ AI_SERVER_CA: "client.pem" }, "TLS", /is not signed by the CA/],
  ])("with %j says that %s fails", async (more, link, words) => {
    const { notices } = await (await startPlace(undefined, more)).type("/ai-server-status");
    expect([notices[0]?.level, notices[0]?.text.split("\n")[0]?.split(" · ").at(-1)]).toEqual([
      "error",
      `${link} FAILS`,
    ]);
    expect(notices[0]?.text).toMatch(words);
  });

  test("with a closed port says that TCP fails, with an empty 502 that llama-swap does", async () => {
    const place = await startPlace();
    place.sim.failNext({ path: "/v1/models", status: 502 });
    expect((await place.type("/ai-server-status")).told[0]).toContain("llama-swap FAILS");
    place.set({ AI_SERVER_URL: `https://127.0.0.1:${await freePort()}` });
    expect((await place.type("/ai-server-status")).told[0]).toContain("TCP FAILS");
  });

  test.each(["print", "json"] as const)(
    "in %s mode writes it, and a fault ends pi with exit status 1",
    async (mode) => {
      const place = await startPlace();
      const good = await place.type("/ai-server-status", new User(mode).readsOutput());
      expect(good.answered).toMatch(/^https:.*\nModel .*\n(.*\n){3}$/);
      expect([good.failed, process.exitCode]).toEqual(["", undefined]);
      const bad = await place.type("/ai-server-status absent", new User(mode).readsOutput());
      expect([bad.answered, bad.failed]).toEqual(["", expect.stringContaining("model FAILS")]);
      expect(process.exitCode).toBe(1);
      expect([...good.notices, ...bad.notices]).toEqual([]);
    },
  );
});

describe("/ai-server-status --ssh", () => {
  const machine = async (place: Awaited<ReturnType<typeof startPlace>>, line = ""): Promise<string[]> =>
    ((await place.type(`/ai-server-status ${line}--ssh`)).told[0]?.split("\n\n")[1] ?? "").split("\n");

  test("says that all is in reach, with an id before it too", async () => {
    const place = await startPlace();
    const all = [
      "this machine: reachable",
      "llama-swap.service: active, running",
      `${place.path}: -rw-r--r--, 2 models`,
      expect.stringMatching(/\/tools\/llama-fit-params$/),
      "llama.cpp's devices: Vulkan0 24 GiB, 23.4 GiB free",
      expect.stringMatching(/^~\/models: [\d.]+ [GT]iB free · downloads with (hf|curl)$/),
    ];
    installFitTools(place);
    expect(await machine(place)).toEqual(all);
    expect(await machine(place, "small ")).toEqual(all);
    expect((await place.type("/ai-server-status --ssh small")).told[0]).toMatch(/\nsmall\n.*State/);
  });

  test("shows a download that runs, and says if nothing could download", async () => {
    const { place, hub, downloads, folder } = await startAddPlace();
    const held = hub.break("Wren-Q4_K_M.gguf", { holdAfter: 120_000 });
    const { quantisations } = await new HubClient({
      url: hub.url,
      isDefault: false,
      token: undefined,
    }).repository("maker/Wren-GGUF", new AbortController().signal);
    await downloads.start({ label: "maker/Wren-GGUF:Q4_K_M", folder, files: quantisations[0]?.files ?? [] });
    await held.happened;
    const lines = await machine(place);
    expect(lines.at(-2)).toMatch(/^\/.*\/models-\w+: .* free · downloads with curl$/);
    expect(lines.at(-1)).toMatch(/^Downloading maker\/Wren-GGUF:Q4_K_M: [\d.]+ of 195 KiB/);
    held.end();
  });

  test("says nothing about downloads where the key can do none", async () => {
    const { place } = await startAddPlace();
    place.installsWrapper();
    place.set({ AI_SERVER_SSH_HOST: "tester@127.0.0.1", AI_SERVER_SSH_MODE: "wrapper" });
    expect((await machine(place)).join()).not.toMatch(/downloads|may only run/);
  });

  test("says how to get the tool that knows what fits, and what is there without it", async () => {
    const place = await startPlace();
    expect((await machine(place))[3]).toMatch(
      /^What fits is not known: .* on Debian: llama\.cpp-tools-extra\)\.$/,
    );
    place.tool("llama-server", "echo 'Available devices:'");
    expect((await machine(place)).slice(3, 5)).toEqual([
      expect.stringMatching(/^llama-fit-params: missing \(llama\.cpp has it/),
      expect.stringMatching(/^llama\.cpp's devices: no devices, \d[\d.]* [GT]iB of memory$/),
    ]);
  });

  test("shows a unit that reloads by itself, and a restart command", async () => {
    const place = await startPlace(undefined, { AI_SERVER_RESTART_COMMAND: "true" });
    place.unitRuns("llama-swap -watch-config");
    expect((await machine(place))[1]).toBe(
      "llama-swap.service: active, running · reloads its config by itself · restarted by your own command",
    );
  });

  test("reports a missing unit, and still the file", async () => {
    const place = await startPlace();
    place.tool("systemctl", "echo LoadState=not-found");
    const [, unit, file] = await machine(place);
    expect(unit).toMatch(/^llama-swap.service: The unit llama-swap.service does not exist on this machine/);
    expect(file).toContain("2 models");
  });

  test("reports a missing file, and one that it cannot parse", async () => {
    const place = await startPlace();
    place.text = "models: [}";
    expect((await machine(place))[2]).toMatch(/config\.yaml: -rw-r--r--, .*line 1/);
    rmSync(place.path);
    expect((await machine(place))[2]).toMatch(
      /config\.yaml: .*does not exist on this machine. Set AI_SERVER_PRESET_PATH/,
    );
  });

  test("reports models whose place in the file it cannot parse", async () => {
    const place = await startPlace();
    place.text = `models:\n  a:\n    cmd: [no, text]\n`;
    const lines = await machine(place);
    expect(lines[2]).toMatch(/1 model; could not parse:/);
    expect(lines[3]).toMatch(/line 3/);
  });

  test("reports once why ssh fails, and still the server", async () => {
    const place = await startPlace(undefined, { AI_SERVER_SSH_HOST: "ops@127.0.0.1" });
    place.tool("ssh", "echo 'ops@127.0.0.1: Permission denied (publickey).' >&2; exit 255");
    const { notices } = await place.type("/ai-server-status --ssh");
    expect(notices[0]?.level).toBe("info");
    expect(notices[0]?.text).toMatch(
      /^https:.*\nModel (.*\n){4}\nssh ops@127.0.0.1: ops@127.0.0.1 does not accept this user's key[^\n]*$/,
    );
  });

  test("reports the machine also where the server is down", async () => {
    const place = await startPlace();
    await place.close();
    const { notices } = await place.type("/ai-server-status --ssh");
    expect(notices[0]?.level).toBe("error");
    expect(notices[0]?.text).toMatch(
      /TCP FAILS\n[^\n]*\n\/ai-server-doctor looks at each of these links\.\n\nthis machine: reachable\nllama-swap.service: active/,
    );
  });
});

describe("/ai-server-refresh", () => {
  test("says what changed, and the models are those from then on", async () => {
    const place = await startPlace(DECLARED(32_768, "b"));
    expect((await place.type("/ai-server-refresh")).notices).toEqual([
      { level: "info", text: "2 changes, 2 models now\na: added\nb: added" },
    ]);
    expect((await place.type("/ai-server-refresh")).told).toEqual(["Nothing changed: 2 models."]);
    place.text = DECLARED(131_072, "c");
    await place.reload();
    expect((await place.type("/ai-server-refresh")).told).toEqual([
      "3 changes, 2 models now\na: context 32k → 128k\nc: added\nb: gone",
    ]);
    expect(place.aiServer.models.map(({ id }) => id)).toEqual(["a", "c"]);
  });

  test("that fails leaves the models as they were", async () => {
    const place = await startPlace();
    await place.type("/ai-server-refresh");
    place.sim.failNext({ path: "/v1/models", status: 503 });
    const { notices } = await place.type("/ai-server-refresh");
    expect([notices[0]?.level, place.aiServer.models.length]).toEqual(["error", 3]);
  });

  test("takes only --config", async () => {
    const place = await startPlace();
    const { notices } = await place.type("/ai-server-refresh small");
    expect(notices).toEqual([
      { level: "error", text: '/ai-server-refresh takes only --config, not "small".' },
    ]);
    expect(place.sim.requests).toEqual([]);
  });
});
