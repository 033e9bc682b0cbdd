import { mkdtempSync, readFileSync, rmSync, symlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, onTestFinished, test } from "vitest";
import { inFolder, writeDemoModels, writeDemoTools } from "../../../sim/demo-tools.ts";
import { CONFIG, startPlace } from "../../support/command-place.ts";
import { saying } from "../../support/command-user.ts";
import { docsBlock } from "../../support/docs.ts";
import { configFindings, worstFindings } from "../../support/doctor-client.ts";
import { bad, foundIn, of, oneModel as one, RUN } from "../../support/doctor-config.ts";
import { FIT_HELP, installFitTools } from "../../support/fit-tools.ts";

const DEMO = readFileSync(new URL("../../../sim/demo.yaml", import.meta.url), "utf8");

describe("a config that is right", () => {
  test("as the manual has it", async () => {
    // The stand-in's models are trained for less unless a flag says it.
    const text = docsBlock("server.md", "config").replace("--temp 0.7", "--temp 0.7 --n-ctx-train 262144");
    const place = await startPlace(text);
    place.unitRuns("/home/x/.local/bin/llama-swap -config /home/x/config.yaml -listen :8080");
    const found = await configFindings(place);
    expect(bad(found)).toEqual([]);
    expect(found.filter(({ verdict }) => verdict === "unchecked")).toMatchObject([{ check: "memory-fit" }]);
    expect(of(found, "context")).toMatchObject([{ seen: "a request gets all that is set" }]);
    expect(of(found, "load-time")).toMatchObject([{ seen: "600 s; no load is remembered here" }]);
    expect(of(found, "idle-time")).toMatchObject([
      { seen: "a model is unloaded after 30 min without a request" },
    ]);
  });

  test("as the demo has it, but for the faults that are in it to be found", async () => {
    const folder = mkdtempSync(join(tmpdir(), "doctor-models-"));
    onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
    writeDemoModels(folder);
    const place = await startPlace(inFolder(DEMO, folder));
    writeDemoTools(folder, place.sim);
    for (const name of ["llama-server", "llama-fit-params"])
      symlinkSync(join(folder, name), join(place.folder, "..", "tools", name));
    const found = await configFindings(place);
    expect(bad(found).map(({ check }) => check)).toEqual(["config-keys", "context", "command-secrets"]);
    expect(of(found, "memory-fit")).toMatchObject([
      { verdict: "ok", seen: "the context sizes of 3 of 3 models fit" },
    ]);
  });

  test("is read by a forced command too", async () => {
    const place = await startPlace();
    place.installsWrapper();
    place.set({ AI_SERVER_SSH_HOST: "ai@server.invalid", AI_SERVER_SSH_MODE: "wrapper" });
    const found = await configFindings(place);
    expect(bad(found)).toEqual([]);
    expect(of(found, "context")[0]?.seen).toContain("16384 for 2 slots, 8192 for a request");
    expect(of(found, "config-file")).toMatchObject([{ subject: "config.yaml", verdict: "ok" }]);
  });

  test("is read while the server does not answer", async () => {
    const place = await startPlace();
    await place.close();
    const found = await configFindings(place);
    expect(bad(found)).toEqual([]);
    expect(of(found, "config-served")).toEqual([]);
    expect(of(found, "config-file")).toMatchObject([{ verdict: "ok", seen: "2 models" }]);
  });

  test("is not read without ssh", async () => {
    const place = await startPlace(CONFIG, { AI_SERVER_SSH_HOST: "" });
    const found = await configFindings(place);
    expect(found).toMatchObject([{ check: "config-file", verdict: "unchecked" }]);
  });

  test("may start what this extension does not understand", async () => {
    const found = await foundIn(one("sh -c 'start-it ${PORT} && start-it again'"));
    expect(bad(found).filter(({ check }) => check !== "config-served")).toEqual([]);
    expect(of(found, "command").map(({ verdict }) => verdict)).toEqual(["ok", "unchecked"]);
  });
});

describe("against the server", () => {
  test("a file that it has not read", async () => {
    const place = await startPlace();
    expect((await worstFindings(place))["config-served"]).toMatchObject({ verdict: "ok" });
    place.text = `${CONFIG}  new:\n    cmd: ${RUN}\n  hidden: { cmd: "${RUN}", unlisted: true }\n`;
    expect((await worstFindings(place))["config-served"]).toMatchObject({
      verdict: "warning",
      seen: `${place.path} has new, which the server does not list`,
    });
  });

  test("a model that runs with an earlier size", async () => {
    const place = await startPlace();
    await place.load("small");
    expect((await worstFindings(place))["context-live"]).toMatchObject({ verdict: "ok" });
    place.text = CONFIG.replace("--ctx-size 8192", "--ctx-size 16384");
    expect((await worstFindings(place))["context-live"]).toMatchObject({
      verdict: "warning",
      subject: "Loaded small",
      seen: "runs with 8192 tokens, and the file says 16384",
    });
  });

  test("a size that the memory has lowered", async () => {
    const config = CONFIG.replace("--ctx-size 8192", "--ctx-size 65536 --n-ctx-train 32768");
    const place = await startPlace(config);
    await place.load("small");
    const found = (await worstFindings(place))["context-live"];
    expect(found).toMatchObject({ verdict: "warning", subject: "Loaded small", fixable: true });
    expect(found?.seen).toContain("a request may use 32768 tokens, and the file gives it 65536");
  });

  test("a size over what a model was trained for", async () => {
    const declared = "    metadata: { architecture: gemma4, parameters: 4, context_length: 131072 }\n";
    const place = await startPlace(one(`${RUN} -c 262144`, declared));
    expect((await worstFindings(place)).context).toMatchObject({
      verdict: "warning",
      seen: "set to 262144 tokens for a request, and trained for 131072: it gets no more, or answers worse beyond that",
      next: "Set what it was trained for (/ai-server-ctx a 131072)",
      fixable: true,
    });
    const stretched = await startPlace(one(`${RUN} -c 262144 --rope-scaling yarn`, declared));
    expect((await worstFindings(stretched)).context).toMatchObject({ verdict: "ok" });
  });

  test("a limit of loads that they nearly reach", async () => {
    const place = await startPlace();
    const { config } = await place.client();
    const { remembered } = place.aiServer;
    await remembered.rememberLoad(config, "small", 80_000);
    expect((await worstFindings(place))["load-time"]).toMatchObject({
      verdict: "ok",
      seen: "120 s, llama-swap's own limit; the slowest load that is remembered here took 1 min 20 s",
    });
    await remembered.rememberLoad(config, "small", 100_000);
    await remembered.rememberLoad(config, "small", 100_000);
    expect((await worstFindings(place))["load-time"]).toMatchObject({
      verdict: "warning",
      subject: "Load of small",
    });
    place.text = `healthCheckTimeout: 600\n${CONFIG}`;
    expect((await worstFindings(place))["load-time"]).toMatchObject({ verdict: "ok" });
    place.text = `healthCheckTimeout: 5\n${CONFIG}`;
    expect((await worstFindings(place))["load-time"]?.seen).toContain("ends one after 15 s");
  });

  test("a port on which llama-swap itself listens", async () => {
    const text = one("llama-server --port 9000 -m /m/a.gguf", "    proxy: http://127.0.0.1:9000\n");
    const clash = await foundIn(text, (place) => place.unitRuns("llama-swap -listen 0.0.0.0:9000"));
    expect(bad(of(clash, "ports"))).toMatchObject([
      { seen: "its --port 9000 is the one on which llama-swap itself listens" },
    ]);
    const none = await foundIn(text, (place) => place.unitRuns("llama-swap --listen=:9001"));
    expect(of(none, "ports")).toMatchObject([{ verdict: "ok" }]);
  });

  test("words about a load in the answers", async () => {
    expect((await foundIn(one(RUN))).find(({ check }) => check === "loading-state")).toMatchObject({
      verdict: "ok",
      seen: "not in the answers; the working line has them",
    });
    const found = await foundIn(one(RUN, "    sendLoadingState: true\n"));
    expect(of(found, "loading-state")[0]?.seen).toContain("into the thinking of the answer");
  });
});

describe("memory", () => {
  test("that a model does not fit into", async () => {
    const found = await foundIn(one(`${RUN} -c 1048576 -np 1`), installFitTools);
    expect(bad(of(found, "memory-fit"))).toMatchObject([
      {
        verdict: "warning",
        subject: "Memory of a",
        next: "Set the largest size that fits: /ai-server-ctx a max.",
        fixable: true,
      },
    ]);
    expect(bad(of(found, "memory-fit"))[0]?.seen).toMatch(
      /^needs 33.1 GiB on Vulkan0 .* of 24 GiB\. It does not fit: /,
    );
  });

  test("that a model fits into", async () => {
    const found = await foundIn(one(`${RUN} -c 32768 -np 1`), installFitTools);
    expect(of(found, "memory-fit")).toMatchObject([
      { verdict: "ok", seen: "the context sizes of 1 of 1 model fit" },
    ]);
  });

  test("is not known without the tool", async () => {
    const found = await foundIn(one(`${RUN} -c 32768 -np 1`));
    expect(of(found, "memory-fit")).toMatchObject([{ verdict: "unchecked", subject: "Memory" }]);
  });

  test("is not known of a model without its file", async () => {
    const found = await foundIn(one(`${RUN} -c 32768 -np 1`), (place) => {
      installFitTools(place);
      place.tool("llama-fit-params", `case $* in --help) echo '${FIT_HELP}'; exit ;; esac; exit 1`);
    });
    expect(bad(found).filter(({ check }) => check !== "config-served")).toMatchObject([
      {
        check: "model-file",
        verdict: "fault",
        seen: "its file /m/a.gguf is missing on this machine, or cannot be read.",
      },
    ]);
    expect(of(found, "memory-fit")).toEqual([]);
  });
});

describe("--fix", () => {
  test("sets a size by the command that asks", async () => {
    const config = CONFIG.replace("--ctx-size 8192", "--ctx-size 4096");
    const place = await startPlace(config);
    const user = saying(true);
    await place.type("/ai-server-doctor --fix", user);
    expect(user.questions.map(({ title }) => title)).toEqual([
      "Change the context size of small to 32768 tokens (32k)?",
    ]);
    expect(place.text).toBe(CONFIG.replace("--ctx-size 8192", "--ctx-size 32768"));
    expect(user.told.at(-1)).toBe("✓ Context of small: the check finds nothing any more.");
  });

  test("leaves it where the user says no", async () => {
    const config = CONFIG.replace("--ctx-size 8192", "--ctx-size 4096");
    const place = await startPlace(config);
    const user = saying(false);
    await place.type("/ai-server-doctor --fix", user);
    expect(place.text).toBe(config);
    expect(user.told.at(-1)).toContain("! Context of small: a request gets 4096 tokens");
  });
});
