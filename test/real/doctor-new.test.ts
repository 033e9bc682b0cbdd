import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import type { User } from "../support/command-user.ts";
import { CADDYS, DevicePlace } from "../support/device-place.ts";
import { allFindings } from "../support/doctor-findings.ts";
import { isInstalled, missingProgram, realSuite } from "../support/programs.ts";
import { installSystemdHere } from "../support/systemd.ts";

const shownTo = (user: User): string => user.told.join("\n");

for (const program of CADDYS) {
  const problem = isInstalled(program)
    ? missingProgram("curl", "openssl")
    : `${program} is not installed: the caddy of trixie-backports, under this name`;

  realSuite(problem, `from a bare machine to the first answer, with ${program}`, () => {
    let place: DevicePlace;
    let homeBefore: string | undefined;

    beforeEach(async () => {
      place = await DevicePlace.start(program);
      homeBefore = process.env.HOME;
      process.env.HOME = join(place.root, "home");
      mkdirSync(process.env.HOME);
      const config = join(place.root, "config.yaml");
      writeFileSync(config, readFileSync(join(place.sim.dir, "config.yaml"), "utf8"));
      place.set({ AI_SERVER_PRESET_PATH: config, AI_SERVER_MODELS_DIR: place.root });
    });
    afterEach(async () => {
      process.env.HOME = homeBefore;
      await place.close();
    });

    /** What is wrong, as `group check`. */
    async function wrong(argument = ""): Promise<string[]> {
      const found = await allFindings(place, argument);
      return found
        .filter(({ verdict }) => verdict === "warning" || verdict === "fault")
        .map(({ group, check }) => `${group} ${check}`);
    }

    test("the doctor names what is missing, fixes it, and finds nothing more; a model answers", async () => {
      const asked = join(place.root, "asked");
      installSystemdHere({ linger: "Linger=no", does: `echo "$*" >>'${asked}'` });
      expect(await wrong()).toEqual(["laptop certificates", "way tcp", "machine linger"]);

      const user = await place.says("/ai-server-doctor --fix");
      expect(user.questions.map(({ title }) => title)).toEqual([
        `There is no CA on this machine. Make one in ${place.ca}?`,
        expect.stringMatching(/^Enrol this laptop as /),
        expect.stringMatching(/ling|logged in|without a login/i),
      ]);
      expect(readFileSync(asked, "utf8")).toMatch(/ enable-linger -- /);

      // The very lines that enrolling has shown, with the test's upstream.
      const site = /^https:\/\/localhost:\d+ \{\n[\s\S]*?^\}$/m.exec(shownTo(user))?.[0] ?? "";
      place.writeCaddyfile(site);
      await place.startCaddy();
      installSystemdHere();
      expect(await wrong()).toEqual([]);

      await place.says("/ai-server-load one");
      const found = await allFindings(place, "--model one");
      expect(found.find(({ check }) => check === "first-token")).toMatchObject({ verdict: "ok" });
    });
  });
}
