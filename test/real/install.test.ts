import { existsSync } from "node:fs";
import { cp, mkdir, readdir, readFile } from "node:fs/promises";
import { basename, join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { npm } from "../support/npm.ts";
import {
  makeWorkplace,
  NEWEST_PI,
  OLDER_PI,
  type PiVersion,
  piCommand,
  piProblem,
  REPOSITORY,
  runPi,
  type Workplace,
} from "../support/pi.ts";
import { runOk } from "../support/processes.ts";
import { missingProgram, realSuite } from "../support/programs.ts";
import { type StandIn, startStandIn } from "../support/stand-in.ts";
import { Terminal } from "../support/terminal.ts";

const NOT_COPIED = new Set(["node_modules", ".git", "coverage"]);

let standIn: StandIn;
let place: Workplace;
let packed: string;
let copied: string;

beforeAll(async () => {
  standIn = await startStandIn();
  place = await makeWorkplace();
  copied = await copyFolder(join(place.folder, "ai-server"));
  packed = await unpackTarball(place.folder);
  // The dependencies are the same, and npm takes long to find them without the lock, which no tarball carries.
  await cp(join(copied, "node_modules"), join(packed, "node_modules"), { recursive: true });
});

afterAll(async () => {
  await standIn.stop();
  await place.remove();
});

/** What `npm pack` makes of the repository, unpacked far from it. */
async function unpackTarball(folder: string): Promise<string> {
  await npm(["pack", "--pack-destination", folder], REPOSITORY);
  const tarball = (await readdir(folder)).find((name) => name.endsWith(".tgz"));
  await runOk("tar", ["-xzf", `${tarball}`], { cwd: folder });
  return join(folder, "package");
}

/** The repository's folder as a user copies it, without what was installed or built in it. */
async function copyFolder(target: string): Promise<string> {
  await cp(REPOSITORY, target, { recursive: true, filter: (path) => !NOT_COPIED.has(basename(path)) });
  await npm(["install", "--omit=dev", "--prefer-offline"], target);
  return target;
}

/** `pi --list-models` in a fresh agent folder that `prepare` may fill. */
async function listedBy(
  version: PiVersion,
  args: string[],
  prepare: (agentDir: string) => Promise<void> = async () => {},
): Promise<string> {
  const own = await makeWorkplace();
  try {
    await prepare(own.agentDir);
    const options = { version, agentDir: own.agentDir, env: standIn.env, offline: false };
    const { code, stdout, stderr } = await runPi({ ...options, args: [...args, "--list-models"] });
    expect(stderr).toBe("");
    expect(code).toBe(0);
    return stdout;
  } finally {
    await own.remove();
  }
}

function expectModels(listed: string): void {
  for (const id of standIn.modelIds) expect(listed).toMatch(new RegExp(`^ai-server +${id} `, "m"));
}

test("the tarball carries what the extension needs and nothing of its tests", async () => {
  const files = await readdir(packed);
  expect(files).toEqual(
    expect.arrayContaining(["index.ts", "server", "README.md", "LICENSE", "package.json"]),
  );
  expect(files).not.toEqual(expect.arrayContaining(["test"]));
  expect(files).not.toEqual(expect.arrayContaining(["sim"]));
  expect(files).not.toEqual(expect.arrayContaining(["bench"]));
});

test("installing for use brings neither pi nor the tools of development", () => {
  expect(existsSync(join(copied, "node_modules/undici/package.json"))).toBe(true);
  expect(existsSync(join(copied, "node_modules/vitest"))).toBe(false);
  expect(existsSync(join(copied, "node_modules/@earendil-works"))).toBe(false);
});

for (const version of [NEWEST_PI, OLDER_PI]) {
  const problem = await piProblem(version);

  realSuite(problem, `installing on pi ${version}`, () => {
    test("pi install adds a folder to an empty agent folder", async () => {
      const listed = await listedBy(version, [], async (agentDir) => {
        const install = { version, agentDir, env: standIn.env, args: ["install", copied] };
        const { code, stderr } = await runPi(install);
        expect(stderr).toBe("");
        expect(code).toBe(0);
        const settings = JSON.parse(await readFile(join(agentDir, "settings.json"), "utf8"));
        expect(settings.packages).toHaveLength(1);
      });
      expectModels(listed);
    });

    // The older version loads a folder from anywhere in the same way.
    if (version === OLDER_PI) return;

    test("-e loads the unpacked tarball", async () => {
      expectModels(await listedBy(version, ["-e", packed]));
    });

    test("pi finds a folder copied to extensions/ai-server of the agent folder", async () => {
      const listed = await listedBy(version, [], async (agentDir) => {
        await mkdir(join(agentDir, "extensions"));
        await cp(copied, join(agentDir, "extensions", "ai-server"), { recursive: true });
      });
      expectModels(listed);
    });
  });

  if (version === OLDER_PI) continue;

  realSuite(problem ?? missingProgram("tmux"), `a running pi ${version}`, () => {
    test("/reload loads a folder that was copied meanwhile", async () => {
      const own = await makeWorkplace();
      const command = await piCommand({ version, agentDir: own.agentDir, env: standIn.env, args: [] });
      const terminal = await Terminal.start({ ...command, columns: 120 });
      try {
        await terminal.waitFor(/No models available/);
        await mkdir(join(own.agentDir, "extensions"));
        await cp(copied, join(own.agentDir, "extensions", "ai-server"), { recursive: true });
        await terminal.submit("/reload");
        await terminal.waitFor(/\[Extensions\]\s+ai-server/);
        await terminal.submit("/ai-server-status");
        await terminal.waitFor(new RegExp(`${standIn.modelIds[0]}`));
      } finally {
        await terminal.close();
        await own.remove();
      }
    });
  });
}
