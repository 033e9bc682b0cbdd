import { describe, expect, test, vi } from "vitest";
import type { Finding } from "../../../admin/doctor/finding.ts";
import { defectsOf } from "../../../admin/doctor/server/defects.ts";
import { server } from "../../../admin/doctor/server.ts";
import type { Visit } from "../../../admin/doctor/visit.ts";
import { ModelServer } from "../../../server/model-server.ts";
import { SITES, stand } from "../../conformance/sites.ts";
import { startPlace } from "../../support/command-place.ts";
import { inspected, laptopFor, worstFindings } from "../../support/doctor-client.ts";
import { startKind } from "../../support/kinds.ts";
import { clientOf, drained, kept } from "../../support/wire.ts";

/** What is wrong for sure with some of the sites. */
const WRONG: Readonly<Record<string, readonly string[]>> = {
  "llama.cpp's router": ["model-state State of empty"],
  "llama-swap v217 as recorded": [
    "version-defects Defect: models that are loading",
    "version-defects Defect: ids that begin like another one",
  ],
};

describe.each(SITES)("$title", (site) => {
  test("has no warning and no fault beyond its own", async () => {
    const doctor = laptopFor((await stand(site)).env);
    // One llama-server may still load its model.
    const found = await vi.waitFor(async () => {
      const all = await inspected(doctor);
      expect(all).toContainEqual(expect.objectContaining({ check: "version", verdict: "ok" }));
      return all;
    });
    const bad = found.filter(({ verdict }) => verdict === "warning" || verdict === "fault");
    expect(bad.map(({ check, subject }) => `${check} ${subject}`)).toEqual(WRONG[site.title] ?? []);
    expect(found.filter(({ group }) => group === "config")).toMatchObject([
      { check: "config-file", verdict: "unchecked" },
    ]);
  });

  test("has nothing loaded by it", async () => {
    const { env, loads } = await stand(site);
    const before = await loads();
    await inspected(laptopFor(env));
    expect(await loads()).toBe(before);
  });
});

describe("known defects of llama-swap", () => {
  const names = (version: string, ids: readonly string[] = []) =>
    defectsOf("llama-swap", version, ids)?.map(({ name }) => name);

  test.each([
    ["v160", 6],
    ["v161", 5],
    ["v177", 5],
    ["v178", 4],
    ["v185", 4],
    ["v186", 3],
    ["v203", 3],
    ["v204", 2],
    ["v205", 1],
    ["v217", 1],
    ["v218", 1],
    ["v224", 1],
    ["v225", 0],
    ["250", 0],
  ])("of %s are %i", (version, count) => {
    expect(names(version)).toHaveLength(count);
  });

  test("with SIGHUP end with v205, and those of invalid errors begin with v218", () => {
    expect(names("v204")).toContain("reload by SIGHUP");
    expect(names("v205")).not.toContain("reload by SIGHUP");
    expect(names("v217")).toEqual(["models that are loading"]);
    expect(names("v218")).toEqual(["errors that are no JSON"]);
  });

  test("concern ids only where one begins like another", () => {
    expect(names("v227", ["org", "org/model"])).toEqual(["ids that begin like another one"]);
    expect(names("v227", ["organ", "org/model"])).toEqual([]);
    expect(names("v228", ["org", "org/model"])).toEqual([]);
  });

  test("are not known of a build without a number", () => {
    expect(names("local_0bdb3720")).toBeUndefined();
    expect(defectsOf("llama-swap", undefined, [])).toBeUndefined();
  });
});

describe("the server", () => {
  test("is not asked where it is out of reach", async () => {
    const visit = { outOfReach: "the name is unknown" } as unknown as Visit;
    const found: Finding[] = [];
    for await (const finding of server.examine(visit)) found.push(finding);
    expect(found).toMatchObject([{ verdict: "unchecked", seen: "not asked: the name is unknown" }]);
  });

  test("that does not answer is a fault of its list", async () => {
    const place = await startPlace();
    await place.close();
    const found = await worstFindings(place);
    expect(found.models).toMatchObject({ group: "server", verdict: "fault" });
  });

  test("lists its models, and what is loaded", async () => {
    const place = await startPlace();
    await place.load("small");
    const found = await worstFindings(place);
    expect(found.version).toMatchObject({ verdict: "ok", seen: "llama-swap 250" });
    expect(found["version-defects"]).toMatchObject({ verdict: "ok" });
    expect(found.models).toMatchObject({ verdict: "ok", seen: "3 models to chat with; loaded: small" });
    expect(found["model-state"]).toMatchObject({ verdict: "ok" });
  });

  test("that lists none, or none that chats, is of no use", async () => {
    const place = await startPlace("models: {}\n");
    expect((await worstFindings(place)).models).toMatchObject({
      verdict: "fault",
      seen: "the server lists no model",
      next: "/ai-server-add adds one.",
    });
    const other = await startPlace(
      "models:\n  e: { cmd: 'llama-server --port ${PORT} --embedding', metadata: { chat: false } }\n",
    );
    expect((await worstFindings(other)).models?.seen).toBe(
      "the server lists 1 model, and none that can chat",
    );
  });

  test("that lists too many says how many are left out", async () => {
    const models = Array.from(
      { length: 1001 },
      (_, at) => `  m${at}: { cmd: "llama-server --port \${PORT}" }`,
    );
    const place = await startPlace(`models:\n${models.join("\n")}\n`, { AI_SERVER_SSH_HOST: "" });
    const found = await worstFindings(place);
    expect(found.models).toMatchObject({ verdict: "warning" });
    expect(found.models?.seen).toContain("The server lists 1001 models");
  });

  test("reports a model whose process has failed", async () => {
    const preset = "[a]\nmodel = /models/a.gguf\nfail-after = 0.1\n[b]\nmodel = /models/b.gguf\n";
    const stood = await kept(startKind("router", { preset, speed: 20 }));
    const doctor = laptopFor(stood.env);
    expect((await worstFindings(doctor))["model-state"]).toMatchObject({ verdict: "ok" });
    const client = await kept(new ModelServer(clientOf(stood.url, stood.certsDir)));
    const body = JSON.stringify({ model: "a" });
    const headers = { "content-type": "application/json" };
    await drained((await client.http.request({ method: "POST", path: "/models/load", body, headers })).body);
    await vi.waitFor(async () => {
      const bad = (await inspected(doctor)).filter(({ check }) => check === "model-state");
      expect(bad).toMatchObject([
        { subject: "State of a", verdict: "warning", next: "/ai-server-logs a shows the log." },
      ]);
      expect(bad[0]?.seen).toMatch(/^its last process ended with exit code \d+: a load that failed/);
    });
  });

  test("reports a section of a preset without a model", async () => {
    const stood = await kept(startKind("router", { preset: "[a]\nctx-size = 8192\n" }));
    expect((await worstFindings(laptopFor(stood.env)))["model-state"]).toMatchObject({
      verdict: "warning",
      subject: "State of a",
      next: "Add `model = <file>` to the section, then /ai-server-refresh.",
    });
  });
});
