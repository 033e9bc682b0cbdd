/** The stand-in's router downloads as the recorded one did. */
import { readFileSync } from "node:fs";
import { beforeEach, expect, onTestFinished, test } from "vitest";
import { type Hub, startHub } from "../../sim/hub.ts";
import { type KindStandIn, startKind } from "../support/kinds.ts";
import { Client, eventually, type Reply } from "../support/sim-client.ts";
import { kept } from "../support/wire.ts";
import { parseEvents } from "./sse.ts";

const TINY = "maker/Tiny-GGUF:Q4_K_M";
const VISION = "maker/Vision-GGUF:Q4_K_M";
const BYTES = { bytes: 768_160 };

const recorded = (name: string): string =>
  readFileSync(new URL(`../fixtures/llama-server/${name}`, import.meta.url), "utf8");

let hub: Hub;
let sim: KindStandIn;
let client: Client;

beforeEach(async () => {
  hub = await kept(
    startHub({
      repositories: {
        "maker/Tiny-GGUF": { files: { "Tiny-Q4_K_M.gguf": BYTES, "Tiny-UD-Q8_K_XL.gguf": BYTES } },
        "maker/Vision-GGUF": {
          files: { "Vision-Q4_K_M.gguf": BYTES, "mmproj-F16.gguf": { bytes: 900_000 } },
        },
        "maker/Gated-GGUF": { gated: "auto", files: { "Gated-Q4_K_M.gguf": BYTES } },
      },
    }),
  );
  const preset = "[tiny]\nmodel = /srv/models/tiny.gguf\nctx-size = 4096\nn-ctx-train = 32768\n";
  sim = await startKind("router", { preset, hub: hub.url, speed: 20 });
  client = new Client(sim);
  onTestFinished(async () => {
    await client.close();
    await sim.close();
  });
});

const post = (path: string, model: string): Promise<Reply> =>
  client.send(path, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ model }),
  });

const remove = (query: string): Promise<Reply> => client.send(`/models${query}`, { method: "DELETE" });

type Entry = { id: string; status: { value: string; args: string[] } };
const list = async (): Promise<Entry[]> => JSON.parse((await client.send("/models")).body).data;
const isOver = (): Promise<void> =>
  eventually(async () =>
    expect((await list()).map(({ status }) => status.value)).not.toContain("downloading"),
  );

/** The ranges of the transfers so far. */
const transfers = () =>
  hub.transfers.filter(({ method }) => method === "GET").map(({ headers }) => headers.range);

/** Keys and what is no number, list or text that the machine decides. */
function shapeOf(entry: object): unknown {
  const { status, source, can_remove, architecture, ...rest } = entry as Record<string, unknown>;
  const { value } = status as Entry["status"];
  return [Object.keys(rest), Object.keys(status as object), value, source, can_remove, architecture];
}

test("the recorded answers, models and events", async () => {
  const events = client.send("/models/sse", { until: (text) => text.includes("model_remove") });
  await eventually(() => expect(sim.asked()).toEqual(["GET /models/sse"]));

  hub.setPace(1_500_000);
  expect((await post("/models", TINY)).body).toBe(recorded("r05-download.json"));
  const again = await post("/models", TINY);
  expect([again.status, again.body]).toEqual([400, recorded("r05-download-again.json")]);
  const during = JSON.parse(recorded("r05-models-downloading.json")).data;
  expect((await list()).map(shapeOf)).toEqual(during.map(shapeOf));
  await isOver();
  const after = JSON.parse(recorded("r05-models-downloaded.json")).data;
  const [model] = await list();
  expect(model?.status.args).toEqual(expect.arrayContaining(["--hf-repo", TINY]));
  expect(Object.keys(model ?? {}).sort()).toEqual(Object.keys(after[0]).sort());
  expect(model).toMatchObject({ id: TINY, source: "cache", can_remove: true });

  hub.setPace(400_000);
  const before = transfers().length;
  await post("/models", VISION);
  await eventually(() => expect(transfers().length).toBeGreaterThan(before));
  expect((await post("/models/unload", VISION)).body).toBe(recorded("r05-download-cancel.json"));
  await isOver();
  for (const name of ["maker/Gated-GGUF:Q4_K_M", "maker/Nothing:Q4_K_M"]) {
    expect((await post("/models", name)).body).toBe(recorded("r05-download.json"));
    await isOver();
  }
  for (const [name, refusal] of [
    ["tiny", "r05-download-name.json"],
    ["", "r05-download-empty.json"],
  ] as const) {
    const { status, body } = await post("/models", name);
    expect([status, body]).toEqual([400, recorded(refusal)]);
  }
  for (const [query, answer, status] of [
    [`?model=${encodeURIComponent(TINY)}`, "r05-delete.json", 200],
    ["?model=tiny", "r05-delete-preset.json", 500],
    ["?model=zzz", "r05-delete-unknown.json", 500],
    ["", "r05-delete-none.json", 400],
  ] as const) {
    const reply = await remove(query);
    expect([reply.status, reply.body]).toEqual([status, recorded(answer)]);
  }
  expect((await list()).map(({ id }) => id)).toEqual(["tiny"]);

  /** One after another, several reports of progress as one. */
  const steps = (text: string): string[] =>
    parseEvents(text)
      .map(({ model: name, event, data }) => {
        const { progress } = Object(data) as { progress?: Record<string, object> };
        const files = Object.values(progress ?? {}).map((file) => Object.keys(file).join());
        return JSON.stringify([name, event, Object.keys(Object(data)), [...new Set(files)]]);
      })
      .filter((step, at, all) => step !== all[at - 1]);
  expect(steps((await events).body)).toEqual(steps(recorded("r05-models-sse.sse")));
});

test("a transfer that is cut continues where it was", async () => {
  hub.break("Tiny-Q4_K_M.gguf", { cutAfter: 300_000, times: 1 });
  await post("/models", TINY);
  await isOver();
  expect((await list()).map(({ id }) => id)).toEqual([TINY, "tiny"]);
  expect(transfers()).toEqual([undefined, "bytes=300000-"]);
});

test("a section of its name puts its settings on a downloaded model, which chats", async () => {
  await post("/models", "maker/Tiny-GGUF:UD-Q8_K_XL");
  await isOver();
  expect((await list()).map(({ id }) => id)).toEqual(["maker/Tiny-GGUF:Q8_K_XL", "tiny"]);
  const chat = { model: "maker/Tiny-GGUF:Q8_K_XL", messages: [{ role: "user", content: "sim: say Hello" }] };
  expect((await client.chat(chat)).status).toBe(200);
});
