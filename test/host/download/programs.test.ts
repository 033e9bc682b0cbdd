import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { afterEach, describe, expect, onTestFinished, test } from "vitest";
import { DownloadPlace, PROJECTOR, REPOSITORY, SHARDS, SHELLS } from "../../support/download-place.ts";

const SECOND = SHARDS[1] ?? "";
const MODEL = "Model-Q4_K_M.gguf";
const TOKEN = "hf_SecretOfTheTester";
const GATED = {
  repositories: {
    [REPOSITORY]: {
      gated: "manual" as const,
      readers: [TOKEN],
      files: { [MODEL]: { bytes: 90_000, seed: "1" } },
    },
  },
};

let place: DownloadPlace;
afterEach(() => place.remove());

/** Every process whose command line, or environment, holds the text; with the program's name. */
function processesWith(text: string, file: "cmdline" | "environ"): string[] {
  return readdirSync("/proc").flatMap((id) => {
    try {
      if (!/^\d+$/.test(id) || !readFileSync(`/proc/${id}/${file}`, "latin1").includes(text)) return [];
      return [readFileSync(`/proc/${id}/comm`, "latin1").trim()];
    } catch {
      // It has ended, or is another user's.
      return [];
    }
  });
}

/** The files below a folder that hold the text. */
function filesWith(text: string, folder: string): string[] {
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name))
    .filter((path) => readFileSync(path, "latin1").includes(text));
}

describe.each(SHELLS)("in %s", (shell) => {
  test.each(["curl", "hf"] as const)(
    "by %s the token reaches the hub alone: no command line, no file, no other host",
    async (program) => {
      place = await DownloadPlace.start(shell, GATED);
      if (program === "hf") place.installHf();
      const held = place.hub.break(MODEL, { holdAfter: 10_000 });
      await place.downloads.start(place.request({ token: TOKEN }));
      await held.happened;
      expect(await place.state()).toMatchObject({ stage: "running", program });
      expect(processesWith(TOKEN, "cmdline")).toEqual([]);
      const inEnvironment = processesWith(TOKEN, "environ");
      if (program === "curl") expect(inEnvironment).toEqual([]);
      // hf takes it from there; other users cannot read it.
      else expect(inEnvironment).toContain("hf");
      expect(filesWith(TOKEN, place.host.folder)).toEqual([]);
      held.end();
      expect(await place.ended()).toMatchObject({ stage: "complete" });
      const sent = (requests: typeof place.hub.requests) =>
        requests.map(({ headers }) => headers.authorization);
      expect(sent(place.hub.requests.filter(({ path }) => path.includes("/resolve/")))).toEqual([
        `Bearer ${TOKEN}`,
      ]);
      expect(sent(place.hub.transfers)).toEqual([undefined]);
      expect(filesWith(TOKEN, place.host.folder)).toEqual([]);
      // The next start needs it again.
      await place.downloads.clear(place.folder, place.id);
      expect(filesWith(TOKEN, place.host.folder)).toEqual([]);
    },
  );

  test("hf fetches what it can, and its progress is seen", async () => {
    place = await DownloadPlace.start(shell);
    place.installHf();
    place.host.tool("curl", `case $* in *-K*) exec /usr/bin/curl "$@" ;; esac`);
    const held = place.hub.break(SECOND, { holdAfter: 100_000 });
    await place.downloads.start(place.request());
    await held.happened;
    await place.sees("its bytes count", ({ doneBytes }) => doneBytes > 290_000);
    held.end();
    expect(await place.ended()).toMatchObject({ stage: "complete", program: "hf" });
    expect(await place.wrongFiles()).toEqual([]);
    expect(place.names).toEqual([...SHARDS, PROJECTOR]);
    expect(place.staged.filter((name) => name.endsWith(".hf"))).toEqual([]);
  });

  test("what hf leaves unfinished is for curl, which can go on", async () => {
    place = await DownloadPlace.start(shell);
    place.installHf();
    const held = place.hub.break(SECOND, { holdAfter: 100_000, times: 1 });
    await place.downloads.start(place.request());
    await held.happened;
    await place.downloads.stop(place.folder, place.id);
    held.end();
    place.hub.break(SECOND, { cutAfter: 70_000, times: 1 });
    await place.downloads.start(place.request());
    expect(await place.ended()).toMatchObject({ stage: "complete", program: "hf" });
    expect(await place.wrongFiles()).toEqual([]);
    // The first shard, hf's try at the second, curl's two, and hf again for the rest.
    expect(place.hub.transfers.map(({ headers }) => headers.range)).toEqual([
      undefined,
      undefined,
      undefined,
      "bytes=70000-",
      undefined,
      undefined,
    ]);
  });

  test("where hf fails curl goes on, and without curl hf's own words are the reason", async () => {
    place = await DownloadPlace.start(shell);
    place.host.tool("hf", "echo 'ImportError: no module named typer' >&2; exit 1");
    await place.downloads.start(place.request());
    expect(await place.ended()).toMatchObject({ stage: "complete", program: "curl" });
    await place.downloads.clear(place.folder, place.id);
    place.without("curl");
    const label = "another";
    const files = place.request().files.map((file, at) => ({ ...file, path: `again/${at}.gguf` }));
    const { state } = await place.downloads.start(place.request({ label, files }));
    expect(await place.ended(state.id)).toMatchObject({
      stage: "failed",
      program: "hf",
      problem: {
        code: "hf-failed",
        message:
          "hf on this machine failed: ImportError: no module named typer Install curl there to go on without it.",
      },
    });
    place.installHf();
    await place.downloads.start(place.request({ label, files }));
    expect(await place.ended(state.id)).toMatchObject({ stage: "complete", program: "hf" });
  });
});

test("a redirect to another host brings neither the token nor a way to a file of the machine", async () => {
  place = await DownloadPlace.start("dash", GATED);
  const seen: (string | undefined)[] = [];
  const other = createServer((request, response) => {
    seen.push(request.headers.authorization);
    response.writeHead(302, { Location: "file:///etc/passwd" }).end();
  });
  await new Promise<void>((resolve) => other.listen(0, "127.0.0.1", resolve));
  onTestFinished(() => void other.close());
  const { port } = other.address() as AddressInfo;
  place.hub.failNext({ path: "/org", status: 302, headers: { Location: `http://localhost:${port}/x` } });
  await place.downloads.start(place.request({ token: TOKEN }));
  expect(await place.ended()).toMatchObject({ stage: "failed", problem: { code: "curl-failed" } });
  expect(seen).toEqual([undefined]);
  expect(place.names).toEqual([]);
});

test("the user's own ~/.curlrc is left out", async () => {
  place = await DownloadPlace.start();
  const log = join(place.host.folder, "trace");
  place.host.tool("curl", `HOME='${place.host.folder}' exec /usr/bin/curl "$@"`);
  writeFileSync(join(place.host.folder, ".curlrc"), `trace-ascii = "${log}"\n`);
  await place.downloads.start(place.request());
  expect(await place.ended()).toMatchObject({ stage: "complete" });
  expect(existsSync(log)).toBe(false);
});

describe("systemd", () => {
  const start = async (linger: boolean, kills: boolean) => {
    place = await DownloadPlace.start();
    const calls = join(place.host.folder, "calls");
    writeFileSync(calls, "");
    place.host.own(calls);
    // As its manual has it: a scope runs the command in the place of systemd-run itself.
    place.host.tool(
      "systemd-run",
      `echo "$*" >>'${calls}'; [ "$1 $2 $3" = '--user --scope --quiet' ] || exit 1; shift 3; exec "$@"`,
    );
    place.host.tool(
      "loginctl",
      `case $* in 'show-user -p Linger -- '*) echo Linger=${linger ? "yes" : "no"} ;; 'show-session -p KillUserProcesses') echo KillUserProcesses=${kills ? "yes" : "no"} ;; *) exit 1 ;; esac`,
    );
    const { warning } = await place.downloads.start(place.request());
    expect(await place.ended()).toMatchObject({ stage: "complete" });
    return { warning, calls: readFileSync(calls, "utf8").trimEnd().split("\n") };
  };

  test("a user who lingers gets a scope of its own", async () => {
    const { warning, calls } = await start(true, true);
    expect(warning).toBeUndefined();
    expect(calls).toEqual([
      "--user --scope --quiet true",
      expect.stringMatching(/^--user --scope --quiet sh .*\.worker /),
    ]);
  });

  test("one who does not is warned where systemd ends what a login has left", async () => {
    expect(await start(false, true)).toEqual({
      warning: expect.stringMatching(/^systemd on this machine ends this download .*loginctl enable-linger/),
      calls: [""],
    });
  });

  test("and is not where it leaves it alone", async () => {
    expect(await start(false, false)).toEqual({ warning: undefined, calls: [""] });
  });
});
