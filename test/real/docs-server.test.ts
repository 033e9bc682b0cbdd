import { existsSync, mkdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { startSim } from "../../sim/server.ts";
import { docsBlock, withOwn } from "../support/docs.ts";
import { DocsPlace } from "../support/docs-place.ts";
import { missingProgram, realSuite } from "../support/programs.ts";

const UNITS = [
  ["unit", "llama-swap.service", ".local/bin/llama-swap"],
  ["router-unit", "llama-server.service", ".local/llama.cpp/llama-server"],
] as const;

let place: DocsPlace;
beforeEach(() => {
  place = new DocsPlace();
});
afterEach(() => place.remove());

realSuite(
  missingProgram("systemd-analyze", "systemctl"),
  "the documented units, by systemd's own tools",
  () => {
    beforeEach(() => {
      place.env.XDG_RUNTIME_DIR = join(place.home, "run");
      mkdirSync(place.env.XDG_RUNTIME_DIR, { mode: 0o700 });
      // There is no running systemd here: what can be done without one is done.
      place.env.SYSTEMD_OFFLINE = "1";
      for (const [, , program] of UNITS) place.write(program, "#!/bin/sh\n", 0o755);
    });

    const verify = docsBlock("server.md", "enable").split("\n")[0] ?? "";
    const put = (text: string, file: string) => place.write(`.config/systemd/user/${file}`, text);

    test.each(UNITS)("%s is right", async (name, file) => {
      put(docsBlock("server.md", name), file);
      const line = verify.replace("llama-swap.service", file);
      expect(await place.run(line)).toEqual({ code: 0, stdout: "", stderr: "" });
    });

    test("a setting that does not exist is found by them", async () => {
      put(
        docsBlock("server.md", "unit").replace("[Service]", "[Service]\nLimitMEMLOCK_BYTES=infinity"),
        "llama-swap.service",
      );
      expect((await place.run(verify)).stderr).toContain("Unknown key 'LimitMEMLOCK_BYTES'");
    });

    test("so is a program that is not there", async () => {
      put(docsBlock("server.md", "unit").replace("bin/llama-swap", "bin/lama-swap"), "llama-swap.service");
      expect((await place.run(verify)).stderr).toContain("lama-swap");
    });

    test("the lines that enable it do", async () => {
      put(docsBlock("server.md", "unit"), "llama-swap.service");
      await place.runOk(docsBlock("server.md", "enable"));
      const link = join(place.home, ".config/systemd/user/default.target.wants/llama-swap.service");
      expect(readFileSync(link, "utf8")).toBe(docsBlock("server.md", "unit"));
    });
  },
);

describe("installing llama-swap from its archive", () => {
  const lines = docsBlock("server.md", "install-llama-swap");
  const archive = "llama-swap_250_linux_amd64.tar.gz";

  beforeEach(async () => {
    place.write("made/llama-swap", '#!/bin/sh\necho "version: $*"\n', 0o755);
    place.write("made/README.md", "");
    await place.runOk(
      `tar -C made -czf ${archive} README.md llama-swap
      { sha256sum ${archive}; printf '%064d  %s\\n' 0 llama-swap_250_darwin_arm64.tar.gz; } > llama-swap_250_checksums.txt`,
    );
  });

  test("puts the program where the unit looks for it", async () => {
    const { stdout } = await place.runOk(lines);
    expect(stdout).toBe(`${archive}: OK\nversion: -version\n`);
    expect(statSync(join(place.home, ".local/bin/llama-swap")).mode & 0o777).toBe(0o755);
  });

  test("stops at a damaged archive", async () => {
    place.write(archive, "damaged");
    expect((await place.run(lines)).code).not.toBe(0);
    expect(existsSync(join(place.home, ".local/bin/llama-swap"))).toBe(false);
  });
});

realSuite(missingProgram("curl"), "asking llama-swap on its own machine", () => {
  test("gives the list of models", async () => {
    const sim = await startSim({ config: docsBlock("server.md", "config"), tls: "none", speed: 1000 });
    try {
      const line = withOwn(docsBlock("server.md", "ask"), { "http://localhost:8080": sim.url });
      const { stdout } = await place.runOk(line);
      expect(JSON.parse(stdout)).toMatchObject({ object: "list", data: [{}, {}] });
    } finally {
      await sim.close();
    }
  });
});
