import { rmSync } from "node:fs";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from "vitest";
import { ServerDownloads } from "../../host/download/downloads.ts";
import { downloadId } from "../../host/download/request.ts";
import { DownloadPlace, PROJECTOR, SHARDS, SHELLS } from "../support/download-place.ts";
import { DOWNLOAD_PROGRAMS, prepareKill, recordSteps, wasHit } from "../support/kill.ts";
import { eventually } from "../support/processes.ts";
import { missingProgram, realSuite } from "../support/programs.ts";
import { Sshd, SshHost } from "../support/sshd.ts";

const SECOND = SHARDS[1] ?? "";

realSuite(missingProgram("ssh", "sshd", "curl"), "a download over a real sshd", () => {
  let sshd: Sshd;
  let host: SshHost;
  let place: DownloadPlace;
  beforeAll(async () => {
    sshd = await Sshd.start();
  });
  afterAll(() => sshd.stop());
  beforeEach(() => {
    host = new SshHost(sshd, "shell", "");
  });
  afterEach(async () => {
    await place.remove();
  });

  async function checkComplete(): Promise<void> {
    expect(await place.ended()).toMatchObject({ stage: "complete", problem: undefined });
    expect(place.names).toEqual([...SHARDS, PROJECTOR]);
    expect(await place.wrongFiles()).toEqual([]);
  }

  test.each(SHELLS)(
    "in %s it goes on when the connection is gone, and another session finds it",
    async (shell) => {
      place = await DownloadPlace.start(shell, {}, host);
      const held = place.hub.break(SECOND, { holdAfter: 100_000 });
      const laptop = host.shell();
      const { isNew } = await new ServerDownloads(laptop).start(place.request());
      expect(isNew).toBe(true);
      await held.happened;
      await laptop.close();
      const seen = await place.session().read(place.folder);
      expect(seen).toMatchObject([{ label: place.label, stage: "running", totalBytes: 1_100_006 }]);
      expect(seen[0]?.doneBytes).toBeGreaterThanOrEqual(200_000);
      held.end();
      await checkComplete();
    },
  );

  test("a connection that is cut at any step of the start leaves a download that runs, or none, and the next start works", async () => {
    place = await DownloadPlace.start("dash", {}, host);
    const begin = async (name: string, downloads = place.downloads) => {
      const files = place.request().files.map((file) => ({ ...file, path: `${name}/${file.path}` }));
      const request = place.request({ label: name, files });
      return downloads.start(request).then(
        () => "an answer",
        (error: unknown) => (error as { name: string }).name,
      );
    };
    const end = async (name: string) => {
      const state = await place.ended(downloadId(name));
      await place.downloads.clear(place.folder, state.id);
      return state;
    };
    const recorded = recordSteps(host, DOWNLOAD_PROGRAMS);
    expect(await begin("whole")).toBe("an answer");
    const steps = recorded();
    const ofTheStart = steps.slice(0, steps.indexOf("setsid") + 1);
    await end("whole");
    const outcomes: string[] = [];
    for (let step = 0; step < ofTheStart.length; step += 3) {
      const program = ofTheStart[step] ?? "";
      for (const name of DOWNLOAD_PROGRAMS) rmSync(join(host.tools, name), { force: true });
      const at = ofTheStart.slice(0, step + 1).filter((name) => name === program).length;
      prepareKill(host, { at, who: "connection", when: "before" }, [program]);
      outcomes.push(await begin(`${step}`, place.session()));
      expect(wasHit(host), `${program} ${at}`).toBe(true);
      rmSync(join(host.tools, program));
      rmSync(join(host.tools, "count.hit"));
      expect(await begin(`${step}`)).toBe("an answer");
      expect(await end(`${step}`)).toMatchObject({ stage: "complete", problem: undefined });
      expect(place.names.filter((name) => name.startsWith(`${step}/`))).toHaveLength(4);
    }
    expect(new Set(outcomes)).toEqual(new Set(["HostError"]));
    expect(outcomes.length).toBeGreaterThan(8);
  });

  test("the folder may be one of the user's home", async () => {
    place = await DownloadPlace.start("dash", {}, host);
    const folder = `~/${host.folder.split("/").at(-1)}/it's $(touch ran)`;
    const { state } = await place.downloads.start(place.request({ folder }));
    const end = await eventually("it is complete", async () =>
      (await place.downloads.read(folder)).find(({ stage }) => stage === "complete"),
    );
    expect(end.id).toBe(state.id);
    expect(end.files[0]?.path).toBe(join(host.folder, "it's $(touch ran)", SHARDS[0] ?? ""));
    const sizes = await place.downloads.fileSizes([end.files[0]?.path ?? ""]);
    expect(sizes.map(({ kind, bytes }) => [kind, bytes])).toEqual([
      ["file", 200_000],
      ["file", 250_001],
      ["file", 300_002],
    ]);
    expect(await place.downloads.deleteFiles(sizes)).toEqual([]);
    expect((await place.downloads.read(folder))[0]).toMatchObject({
      stage: "failed",
      problem: { code: "gone" },
    });
  });

  test("a key that runs ai-server-admin alone is refused without a connection", async () => {
    place = await DownloadPlace.start("dash", {}, host);
    const wrapper = new SshHost(sshd, "wrapper", "");
    const logins = sshd.logins;
    const downloads = new ServerDownloads(wrapper.shell());
    await expect(downloads.start(place.request())).rejects.toMatchObject({
      code: "not-allowed",
      message: expect.stringMatching(/may only run ai-server-admin \(AI_SERVER_SSH_MODE=wrapper\)/),
    });
    await expect(downloads.read(place.folder)).rejects.toMatchObject({ code: "not-allowed" });
    expect(sshd.logins).toBe(logins);
    // And the wrapper itself knows no such verb.
    const answer = await wrapper.shell().ask({ verb: ["start", place.id] }, { timeoutMs: 5000 });
    expect(answer.error).toBe("not-allowed");
    await wrapper.remove();
  });
});
