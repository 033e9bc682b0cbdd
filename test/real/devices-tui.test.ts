import { existsSync, mkdirSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { choose, clearEditor, enter } from "../support/admin-terminal.ts";
import { DevicePlace } from "../support/device-place.ts";
import {
  EXTENSION,
  makeWorkplace,
  NEWEST_PI,
  OLDER_PI,
  type PiVersion,
  piProblem,
  type Workplace,
} from "../support/pi.ts";
import { openPi, storeModels } from "../support/pi-terminal.ts";
import { eventually, run, runOk } from "../support/processes.ts";
import { missingProgram, realSuite } from "../support/programs.ts";
import { readQr } from "../support/qr-screen.ts";
import type { Terminal } from "../support/terminal.ts";

const SIZES = [
  [80, 24],
  [60, 20],
] as const;
const LOOPBACK = "A link on 127.0.0.1, for a browser on this laptop";

const programs = missingProgram("caddy", "curl", "openssl", "tmux", "zbarimg", "certutil", "pk12util");

for (const version of [NEWEST_PI, OLDER_PI] as const) {
  realSuite(programs ?? (await piProblem(version)), `devices in the terminal, pi ${version}`, () => {
    let place: DevicePlace;
    let workplace: Workplace;
    let terminal: Terminal;

    beforeAll(async () => {
      place = await DevicePlace.start("caddy");
      await place.says("/ai-server-devices enrol laptop");
      place.writeCaddyfile();
      await place.startCaddy();
      workplace = await makeWorkplace();
      const options = optionsOf(version);
      await storeModels(options);
      terminal = await openPi({ ...options, args: ["-e", EXTENSION, "--model", "ai-server/one"] });
    });
    afterAll(async () => {
      await terminal?.close();
      await workplace?.remove();
      await place.close();
    });
    afterEach(async () => {
      await terminal.resize(80, 24);
      await clearEditor(terminal);
    });

    function optionsOf(pi: PiVersion) {
      const env = {
        AI_SERVER_URL: place.url,
        AI_SERVER_CERTS_DIR: place.certs,
        AI_SERVER_SSH_HOST: "local",
        AI_SERVER_CA_DIR: place.ca,
      };
      return { version: pi, agentDir: workplace.agentDir, env };
    }

    /** What a camera reads from the screen: it waits until the screen is drawn. */
    const codeOn = (): Promise<string> =>
      eventually("the screen shows a code", async () =>
        readQr(await terminal.colors({ spaces: true })).catch(() => undefined),
      );
    const passwordOn = (screen: string): string => /\b[a-km-np-z2-9]{24}\b/.exec(screen)?.[0] ?? "";

    test("a phone is added by a QR code, which then shows the server, and is revoked by a key", async () => {
      await enter(terminal, "/ai-server-devices");
      const list = await terminal.waitFor(/^→ laptop \(this device\)/m);
      expect(list).toMatch(/^Devices of the CA on this machine\n +Device +Issued +Expires +Last seen/);
      await terminal.type("a");
      await terminal.waitFor(/^Name of the new device/m);
      await terminal.type("phone");
      await terminal.waitFor(/^> phone/m);
      await terminal.press("Enter");
      await choose(terminal, LOOPBACK);

      let url = "";
      let password = "";
      for (const [columns, rows] of SIZES) {
        await terminal.resize(columns, rows);
        const screen = await terminal.waitUntil("all is on the screen", (now) => {
          const lines = now.split("\n");
          return (
            // After a resize, tmux shows the end of the screen before it until pi draws.
            /1 Scan this, or open:/.test(now) &&
            /escape end the link/.test(now) &&
            lines.length <= rows &&
            lines.every((line) => line.length <= columns)
          );
        });
        expect(screen).toMatch(/Its password, shown once:/);
        password = passwordOn(screen);
        url = await codeOn();
        expect(url).toMatch(/^HTTP:\/\/127\.0\.0\.1:\d+\/[A-Z2-7]{16}$/);
        // For a device that has no camera.
        expect(screen.replace(/[█▀▄ \n]/g, "")).toContain(url);
        // In the link there is no password, and in the code neither.
        expect(password).toHaveLength(24);
        expect(url).not.toContain(password);
      }
      const file = join(place.root, "phone.p12");
      await runOk("curl", ["-sS", "--fail", "-o", file, url]);
      await terminal.waitFor(/3 Scan for the server:/);
      await expect.poll(codeOn).toBe(place.url);
      expect(passwordOn(await terminal.screen())).toBe(password);
      // Once.
      expect((await run("curl", ["-sS", "--fail", url])).code).not.toBe(0);
      expect((await place.curl("--cert-type", "P12", "--cert", `${file}:${password}`)).stdout).toContain(
        '"one"',
      );
      await terminal.press("Escape");
      await terminal.waitFor(/^phone has fetched its certificate, and is on the list\./m);
      const after = await terminal.waitFor(/^ {2}phone +\d{4}-/m);
      expect(after).not.toContain(password);

      await terminal.press("Down");
      await terminal.waitFor(/^→ phone/m);
      await terminal.type("r");
      await terminal.waitFor(/^Revoke phone\?/m);
      await choose(terminal, "Revoke");
      await terminal.waitFor(/^phone was revoked\.$/m);
      expect((await place.curl("--cert-type", "P12", "--cert", `${file}:${password}`)).code).not.toBe(0);
      expect((await place.curlAsLaptop()).code).toBe(0);
      await terminal.press("Escape");
    });

    test("a link that is left without a fetch ends, and the device can be taken off again", async () => {
      await enter(terminal, "/ai-server-devices add tablet");
      await choose(terminal, LOOPBACK);
      await terminal.waitFor(/escape end the link/);
      const url = await codeOn();
      await terminal.press("Escape");
      await terminal.waitFor(/^tablet has not fetched its certificate\. What now\?/m);
      expect((await run("curl", ["-sS", "--fail", url])).code).not.toBe(0);
      await choose(terminal, "A new link");
      await terminal.waitFor(/escape end the link/);
      expect(await codeOn()).not.toBe(url);
      await terminal.press("Escape");
      await choose(terminal, "Take tablet off the list again");
      await terminal.waitFor(/tablet was taken off the list again/);
      expect(place.onList("devices")).toEqual(["laptop"]);
    });

    if (version === OLDER_PI) return;

    test("a terminal too small for the code says how large it must be, and shows the rest", async () => {
      await enter(terminal, "/ai-server-devices add watch");
      await choose(terminal, LOOPBACK);
      await terminal.waitFor(/escape end the link/);
      const url = await codeOn();
      await terminal.resize(50, 14);
      const small = await terminal.waitFor(
        /The QR code needs a larger terminal: \d+\s+columns\s+and\s+\d+\s+rows/,
      );
      expect(small).toContain(url);
      expect(small).toMatch(/\b[a-km-np-z2-9]{24}\b/);
      await terminal.resize(80, 24);
      await terminal.waitFor(/▀/);
      expect(await codeOn()).toBe(url);
      await terminal.press("Escape");
      await choose(terminal, "Take watch off the list again");
      await terminal.waitFor(/watch was taken off/);
    });

    test("a file is written where only this user reads it, and shown with the server's code", async () => {
      mkdirSync(workplace.home, { recursive: true });
      await enter(terminal, "/ai-server-devices add browser");
      await choose(terminal, "A file on this laptop, ~/browser.p12");
      const screen = await terminal.waitFor(/3 Scan for the server:/);
      await expect.poll(codeOn).toBe(place.url);
      const file = join(workplace.home, "browser.p12");
      expect(existsSync(file)).toBe(true);
      const store = join(place.root, "nssdb");
      mkdirSync(store);
      await runOk("certutil", ["-d", `sql:${store}`, "-N", "--empty-password"]);
      await runOk("pk12util", ["-d", `sql:${store}`, "-i", file, "-W", passwordOn(screen)]);
      await terminal.press("Enter");
      await terminal.waitFor(/browser is on the list\./);
      expect(await terminal.history()).not.toContain(passwordOn(screen));
    });

    test("Tab completes the subcommands and the names on the list", async () => {
      await terminal.type("/ai-server-devices rev");
      await terminal.press("Tab");
      await terminal.waitFor(/\/ai-server-devices revoke$/m);
      await terminal.press("Tab");
      await terminal.waitFor(/browser +device/);
      // The list first, then what was typed.
      await terminal.press("Escape");
      await terminal.waitUntil("the list is closed", (screen) => !/browser +device/.test(screen));
    });

    test("this laptop is renewed by a key", async () => {
      await enter(terminal, "/ai-server-devices");
      await terminal.waitFor(/e renew this laptop/);
      await terminal.type("e");
      await terminal.waitFor(/^Renew the certificate of this laptop, laptop,/m);
      await choose(terminal, "Renew");
      await terminal.waitFor(/^This laptop is enrolled as laptop/m);
      await terminal.press("Escape");
      expect(readdirSync(place.certs).filter((name) => name.includes(".bak-"))).toHaveLength(2);
    });
  });
}
