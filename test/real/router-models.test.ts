import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from "vitest";
import { httpProbe } from "../../admin/change.ts";
import { readConfig } from "../../config.ts";
import { type NewModel, planAddition, planRemoval } from "../../host/config/config-file.ts";
import type { ChangeOutcome, Edit } from "../../host/outcome.ts";
import type { ServerProbe } from "../../host/probe.ts";
import type { HostFile } from "../../host/ssh/machine.ts";
import { ModelServer } from "../../server/model-server.ts";
import { type LlamaServer, llamaServerProblem, startRouter, TINY_MODEL } from "../support/llama-server.ts";
import { missingProgram, realSuite } from "../support/programs.ts";
import { Sshd, SshHost } from "../support/sshd.ts";
import { changeAt } from "../support/whole-change.ts";

const PRESET = `version = 1

[*]
n-gpu-layers = 0

; for everyday questions
[small]
model = ${TINY_MODEL}
ctx-size = 2048 ; enough
temp = 0.7
`;
const LIMITS = { restartTimeoutMs: 10_000, loadTimeoutMs: 60_000, pollMs: 50, reloadTimeoutMs: 2000 };

const problem = llamaServerProblem() ?? missingProgram("ssh", "sshd");
realSuite(problem, "the preset of a real router, over a real sshd", () => {
  let sshd: Sshd;
  let host: SshHost;
  let router: LlamaServer;
  let server: ModelServer;
  let probe: ServerProbe;
  let path: string;

  beforeAll(async () => {
    sshd = await Sshd.start();
  });
  afterAll(() => sshd.stop());

  beforeEach(async () => {
    host = new SshHost(sshd, "shell", "");
    path = join(host.folder, "models.ini");
    writeFileSync(path, PRESET);
    host.own(path);
    // A router that reloads needs no unit.
    host.tool("systemctl", "echo LoadState=not-found");
    router = await startRouter({ preset: "", args: ["--models-preset", path, "--models-max", "2"] });
    server = new ModelServer(readConfig({ AI_SERVER_URL: router.url }, {}, "/nowhere"));
    const backend = await server.backend(AbortSignal.timeout(10_000));
    probe = httpProbe(server, { onLoading: () => {}, onLoaded: () => {} }, backend);
    await probe.load("small", AbortSignal.timeout(60_000));
  });
  afterEach(async () => {
    await server.close();
    await router.stop();
    await host.remove();
  });

  let text: string;

  function change(plan: (file: HostFile) => Edit): Promise<ChangeOutcome> {
    const machine = host.machine({ presetPath: path });
    return changeAt({ machine, probe, limits: LIMITS }, (file) => {
      const edit = plan(file);
      text = edit.text;
      return edit;
    });
  }

  const adding =
    (model: Partial<NewModel>) =>
    (file: HostFile): Edit => {
      const addition = planAddition(file.text, "ini", { id: "new", file: TINY_MODEL, ...model });
      const { tokens = 0, slots } = addition.setting;
      return { file, text: addition.text, model: { id: "new", contextSize: tokens, slots, isAdded: true } };
    };

  async function fileNow(): Promise<string | undefined> {
    return (await host.machine({ presetPath: path }).read())[0]?.text;
  }

  async function ready(): Promise<string[]> {
    const running = await probe.running(AbortSignal.timeout(5000));
    return running.map(({ id, state }) => `${id} ${state}`).sort();
  }

  test("a new section is read and loaded with its context, and taken out again; the other model stays loaded", async () => {
    expect(await change(adding({ from: "small", context: 4096 }))).toMatchObject({
      kind: "changed",
      context: { kind: "as asked", tokens: 4096 },
      notes: [],
    });
    expect(text).toBe(`${PRESET}\n[new]\nmodel = ${TINY_MODEL}\nctx-size = 4096\ntemp = 0.7\n`);
    expect([await fileNow(), await ready()]).toEqual([text, ["new ready", "small ready"]]);

    const removing = (file: HostFile): Edit => ({
      file,
      text: planRemoval(file.text, "ini", "new").text,
      removed: { id: "new", mayStay: true },
    });
    expect(await change(removing)).toMatchObject({ kind: "changed", context: undefined, notes: [] });
    expect([await fileNow(), await ready()]).toEqual([PRESET, ["small ready"]]);
    expect(await probe.lists("new", AbortSignal.timeout(5000))).toBe(false);
  });

  test("a section whose file is no model goes again, and nothing else was unloaded", async () => {
    const broken = join(host.folder, "broken.gguf");
    writeFileSync(broken, "no model at all");
    host.own(broken);
    expect(await change(adding({ file: broken, context: 4096 }))).toMatchObject({
      kind: "rolled back",
      failed: "load",
      file: "old",
      isHealthy: true,
      notes: [],
    });
    expect([await fileNow(), await ready()]).toEqual([PRESET, ["small ready"]]);
    expect(await probe.lists("new", AbortSignal.timeout(5000))).toBe(false);
  });

  test("the last model can go too, and a first one can come into an empty preset", async () => {
    const removing = (file: HostFile): Edit => ({
      file,
      text: planRemoval(file.text, "ini", "small").text,
      removed: { id: "small", mayStay: true },
    });
    expect(await change(removing)).toMatchObject({ kind: "changed", notes: [] });
    expect([text, await ready()]).toEqual(["version = 1\n\n[*]\nn-gpu-layers = 0\n", []]);
    expect(await change(adding({ context: 1024 }))).toMatchObject({ context: { tokens: 1024 } });
    expect(await ready()).toEqual(["new ready"]);
  });
});
