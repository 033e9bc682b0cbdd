import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { Agent, request as httpsRequest } from "node:https";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { openCa } from "../../admin/devices/ca-access.ts";
import { keyPem, laptopKey, signingRequest } from "../../devices/keys.ts";
import { issue, makeAuthority } from "../../sim/certificates.ts";
import { User } from "../support/command-user.ts";
import { CADDYS, DevicePlace } from "../support/device-place.ts";
import { run, runOk } from "../support/processes.ts";
import { isInstalled, missingProgram, realSuite } from "../support/programs.ts";

const told = (user: User): string => user.told.join("\n");
const passwordIn = (user: User): string => /shown once: (\S+)/.exec(told(user))?.[1] ?? "";

for (const program of CADDYS) {
  const problem = isInstalled(program)
    ? missingProgram("curl", "openssl", "certutil", "pk12util")
    : (missingProgram("caddy") ??
      `${program} is not installed: the caddy of trixie-backports, under this name`);

  realSuite(problem, `devices, with ${program}`, () => {
    let place: DevicePlace;
    const home = (): string => join(place.root, "home");
    let homeBefore: string | undefined;

    /** A place whose laptop is enrolled, behind a Caddy with the list. */
    beforeEach(async () => {
      place = await DevicePlace.start(program);
      // Where a file is put that is handed over.
      homeBefore = process.env.HOME;
      process.env.HOME = home();
      mkdirSync(home());
    });
    afterEach(async () => {
      process.env.HOME = homeBefore;
      await place.close();
    });

    async function enrolled(): Promise<void> {
      await place.says("/ai-server-devices enrol laptop");
      place.writeCaddyfile();
      await place.startCaddy();
    }

    async function addPhone(): Promise<string[]> {
      const user = await place.says("/ai-server-devices add phone", "A file");
      expect(told(user)).toMatch(/phone is on the list\./);
      return ["--cert-type", "P12", "--cert", `${join(home(), "phone.p12")}:${passwordIn(user)}`];
    }

    test("from nothing: a CA, the lines for Caddy, and this laptop gets in with them", async () => {
      const user = await place.says("/ai-server-devices enrol laptop");
      expect(user.questions.map(({ title }) => title)).toEqual([
        `There is no CA on this machine. Make one in ${place.ca}?`,
        "Enrol this laptop as laptop?",
      ]);
      const shown = told(user);
      expect(shown).toMatch(/Put this into Caddy's Caddyfile/);
      expect(shown).toMatch(
        /This laptop is enrolled as laptop\. .*\nThe server was not reached with it yet: /,
      );
      // The very lines that were shown, with the test's upstream.
      const site = /^https:\/\/localhost:\d+ \{\n[\s\S]*?^\}$/m.exec(shown)?.[0] ?? "";
      expect(site).toContain("client_auth");
      place.writeCaddyfile(site);
      await place.startCaddy();
      expect((await place.curlAsLaptop()).stdout).toContain('"one"');
      expect(told(await place.type("/ai-server-status"))).toMatch(/one/);
      // Without a certificate, or with one of another CA, nothing gets in.
      expect((await place.curl()).code).not.toBe(0);
    });

    test("a phone gets in with the file and its password, until it is revoked; this laptop still does", async () => {
      await enrolled();
      const phone = await addPhone();
      expect((await place.curl(...phone)).stdout).toContain('"one"');
      expect(
        (await place.curl("--cert-type", "P12", "--cert", `${join(home(), "phone.p12")}:wrong`)).code,
      ).not.toBe(0);
      const user = await place.says("/ai-server-devices revoke phone");
      expect(user.questions[0]?.title).toBe("Revoke phone?");
      expect(told(user)).toBe(
        [
          "phone was revoked.",
          "This laptop still gets in.",
          "phone is off the list, and Caddy has read it. Its certificate could not be tried: its key is not on this laptop.",
          "Its idle connections are closed. A request that it has in flight goes on until the answer ends; a restart of Caddy, or /ai-server-restart, ends it at once.",
        ].join("\n"),
      );
      expect((await place.curl(...phone)).code).not.toBe(0);
      expect((await place.curlAsLaptop()).code).toBe(0);
      // Nor after Caddy has started again.
      await place.stopCaddy();
      await place.startCaddy();
      expect((await place.curl(...phone)).code).not.toBe(0);
      expect((await place.curlAsLaptop()).code).toBe(0);
    });

    test("the file goes into the store of Chromium and its key with it", async () => {
      await enrolled();
      const user = await place.says("/ai-server-devices add browser", "A file");
      const store = join(place.root, "nssdb");
      mkdirSync(store);
      await runOk("certutil", ["-d", `sql:${store}`, "-N", "--empty-password"]);
      const file = join(home(), "browser.p12");
      await runOk("pk12util", ["-d", `sql:${store}`, "-i", file, "-W", passwordIn(user)]);
      const { stdout } = await runOk("certutil", ["-d", `sql:${store}`, "-L"]);
      expect(stdout).toMatch(/^browser +u,u,u *$/m);
      expect(stdout).toMatch(/^AI server CA +,, *$/m);
      expect((await runOk("certutil", ["-d", `sql:${store}`, "-K"])).stdout).toContain("browser");
      expect((await run("pk12util", ["-d", `sql:${store}`, "-i", file, "-W", "wrong"])).code).not.toBe(0);
    });

    test("an open connection of a revoked device ends, and a resumed session does not let it in", async () => {
      await enrolled();
      // A device whose key this test has.
      const key = await laptopKey();
      const signed = await (await openCa(place.config)).sign("tablet", signingRequest("tablet", key), {});
      const agent = new Agent({
        keepAlive: true,
        maxSockets: 1,
        maxCachedSessions: 10,
        ca: readFileSync(join(place.ca, "root-ca.pem")),
        cert: signed.certificate,
        key: keyPem(key),
      });
      const sockets = new Set<unknown>();
      const ask = (): Promise<number> =>
        new Promise((resolve, reject) => {
          const request = httpsRequest(`${place.url}/v1/models`, { agent }, (response) => {
            response.resume();
            response.once("end", () => resolve(response.statusCode ?? 0));
          });
          request.once("socket", (socket) => sockets.add(socket));
          request.once("error", reject);
          request.end();
        });
      expect([await ask(), await ask()]).toEqual([200, 200]);
      expect(sockets.size).toBe(1);
      await place.says("/ai-server-devices revoke tablet");
      await expect(ask()).rejects.toThrow();
      await expect(ask()).rejects.toThrow();
      agent.destroy();
    });

    test("a request in flight ends where the reload command restarts Caddy", async () => {
      await enrolled();
      const phone = await addPhone();
      const flag = join(place.root, "restart");
      place.set({
        AI_SERVER_CADDY_RELOAD: `: >'${flag}'; while [ -e '${flag}' ]; do sleep 0.05; done`,
      });
      const restarting = (async () => {
        await vi.waitFor(() => expect(existsSync(flag)).toBe(true), 60_000);
        await place.stopCaddy();
        await place.startCaddy();
        rmSync(flag);
      })();
      const stream = run(
        "curl",
        [...["-sS", "-N", "--cacert", join(place.ca, "root-ca.pem"), ...phone, `${place.url}/api/events`]],
        { timeoutMs: 60_000 },
      );
      await vi.waitFor(
        () => expect(place.sim.requests.some(({ path }) => path.startsWith("/api/events"))).toBe(true),
        20_000,
      );
      const user = await place.says("/ai-server-devices revoke phone");
      await restarting;
      expect(told(user)).toMatch(/This laptop still gets in\./);
      expect((await stream).code).not.toBe(0);
    });

    test("a renewed certificate takes the old one's place, which is revoked and refused", async () => {
      await enrolled();
      const before = place.certificate();
      const user = await place.says("/ai-server-devices enrol");
      expect(user.questions[0]?.title).toMatch(
        /^Renew the certificate of this laptop, laptop, which expires on \d{4}-/,
      );
      expect(told(user)).toMatch(
        /^This laptop is enrolled as laptop\. Its certificate is valid until \d{4}-\d\d-\d\d\.\nThe server admits it\.\nThe previous files are at .*client-key\.pem\.bak-\d{8}T\d{6}Z and .*\nThis laptop still gets in\.\nTried: the server refuses the old certificate of laptop\.$/,
      );
      expect(user.notices.at(-1)?.level).toBe("info");
      expect(place.certificate()).not.toBe(before);
      expect([place.onList("devices"), place.onList("revoked")]).toEqual([["laptop"], ["laptop"]]);
      expect((await place.curlAsLaptop()).code).toBe(0);
      const backup = readdirSync(place.certs).find((name) => name.startsWith("client.pem.bak-")) ?? "";
      const stamp = backup.slice("client.pem.bak-".length);
      const old = [
        "--cert",
        join(place.certs, backup),
        "--key",
        join(place.certs, `client-key.pem.bak-${stamp}`),
      ];
      expect((await place.curl(...old)).code).not.toBe(0);
    });

    test("the list shows each device, this one, when it was seen last, and those that were revoked apart", async () => {
      await enrolled();
      const phone = await addPhone();
      await place.curl(...phone);
      await place.says("/ai-server-devices add tablet", "A file");
      await place.says("/ai-server-devices revoke tablet");
      await vi.waitFor(() =>
        expect(readFileSync(place.accessLog, "utf8")).toContain('"client_common_name":"phone"'),
      );
      const user = await place.type("/ai-server-devices", new User("json").readsOutput());
      const [answer] = user.objects;
      const today = new Date().toISOString().slice(0, 10);
      expect(answer?.devices).toEqual([
        {
          name: "laptop",
          isThisDevice: true,
          revoked: null,
          serial: expect.stringMatching(/^4[0-9a-f]{31}$/),
          issued: expect.stringContaining(today),
          expires: expect.any(String),
          seen: expect.stringContaining(today.slice(0, 4)),
        },
        {
          name: "phone",
          isThisDevice: false,
          revoked: null,
          serial: expect.any(String),
          issued: expect.any(String),
          expires: expect.any(String),
          seen: expect.stringContaining(today.slice(0, 4)),
        },
        {
          name: "tablet",
          isThisDevice: false,
          revoked: expect.stringContaining(today.slice(0, 4)),
          serial: expect.any(String),
          issued: expect.any(String),
          expires: expect.any(String),
          seen: null,
        },
      ]);
      const plain = told(await place.type("/ai-server-devices list"));
      expect(plain).toMatch(
        /^Devices of the CA on this machine: 2 admitted, 1 revoked\nDevice +Issued +Expires +Last seen/,
      );
      expect(plain).toMatch(/^laptop \(this device\) .*\d\d:\d\d/m);
      expect(plain).toMatch(/^Revoked +When[\s\S]*^tablet +\d{4}-/m);
    });

    test("this laptop cannot revoke itself, and an unknown name is compared with those on the list", async () => {
      await enrolled();
      await addPhone();
      expect(told(await place.type("/ai-server-devices revoke laptop"))).toMatch(
        /^That is this laptop: it would lock itself out\./,
      );
      expect(told(await place.type("/ai-server-devices revoke phon"))).toBe(
        'No device "phon" is on the list. Did you mean phone?',
      );
      expect(told(await place.type("/ai-server-devices add phone"))).toMatch(
        /^phone is on the list already\./,
      );
      expect(place.onList("devices")).toEqual(["laptop", "phone"]);
    });

    test("a laptop whose certificate has expired enrols, and keeps the old files", async () => {
      await enrolled();
      const authority = await makeAuthority("Another CA");
      const day = 86_400_000;
      const expired = await issue(authority, {
        commonName: "old",
        usage: "client",
        notBefore: new Date(Date.now() - 9 * day),
        notAfter: new Date(Date.now() - day),
      });
      writeFileSync(place.config.clientCert, expired.cert);
      writeFileSync(place.config.clientKey, expired.key);
      const status = told(await place.type("/ai-server-status"));
      expect(status).toMatch(/expired on .* Renew it with \/ai-server-devices enrol/);
      const user = await place.says("/ai-server-devices enrol laptop-2");
      expect(told(user)).toMatch(/^This laptop is enrolled as laptop-2\. .*\nThe server admits it\./);
      expect((await place.curlAsLaptop()).code).toBe(0);
      expect(readdirSync(place.certs).filter((name) => name.includes(".bak-"))).toHaveLength(2);
      expect(told(await place.type("/ai-server-status"))).toMatch(/one/);
    });

    test("a Caddyfile without the list: enrol and add work, and revoke says what to add", async () => {
      await place.says("/ai-server-devices enrol laptop");
      const bare = place
        .site()
        .replace(/\n\t+verifier leaf \{\n.*\n\t+\}|\n\t+trusted_leaf_cert_file.*|\n\t+import .*/g, "");
      expect(bare).not.toMatch(/leaf/);
      place.writeCaddyfile(bare);
      await place.startCaddy();
      const phone = await addPhone();
      expect((await place.curl(...phone)).code).toBe(0);
      const renewed = await place.says("/ai-server-devices enrol");
      expect(told(renewed)).toMatch(/the server still admits the old certificate of laptop/);
      const user = await place.type("/ai-server-devices revoke phone");
      expect(told(user)).toMatch(
        /has no list of devices: every certificate of the CA is admitted until it expires/,
      );
      expect(told(user)).toMatch(
        program === "caddy" ? /import .*\/devices\/\*\/leaf\.caddy/ : /verifier leaf \{/,
      );
      expect(user.questions).toEqual([]);
      expect(place.onList("devices")).toEqual(["laptop", "phone"]);
      // With what it says, it works.
      const lines = (
        /in place of what is there, and reload Caddy:\n([\s\S]*)$/.exec(told(user))?.[1] ?? ""
      ).trimEnd();
      place.writeCaddyfile(
        bare.replace(/(client_auth \{\n)[\s\S]*?(\n\t\t\})/, (_, begin, end) => `${begin}${lines}${end}`),
      );
      expect(told(await place.says("/ai-server-devices revoke phone"))).toMatch(/^phone was revoked\./);
      expect((await place.curl(...phone)).code).not.toBe(0);
      expect((await place.curlAsLaptop()).code).toBe(0);
    });

    test("a Caddyfile that Caddy refuses: the old one runs on, and nothing is signed or revoked", async () => {
      await enrolled();
      const phone = await addPhone();
      const good = readFileSync(place.caddyfile, "utf8");
      writeFileSync(place.caddyfile, good.replace("reverse_proxy", "reverse_poxy"));
      const why =
        /Caddy on this machine did not read the list of devices: .*reverse_poxy.*It runs on as before\. Nothing was changed\.$/;
      expect(told(await place.says("/ai-server-devices revoke phone"))).toMatch(why);
      expect(told(await place.says("/ai-server-devices add tablet", "A file"))).toMatch(why);
      const before = place.certificate();
      expect(told(await place.says("/ai-server-devices enrol"))).toMatch(why);
      expect([place.onList("devices"), place.onList("revoked"), place.certificate()]).toEqual([
        ["laptop", "phone"],
        [],
        before,
      ]);
      expect(existsSync(join(home(), "tablet.p12"))).toBe(false);
      expect(readdirSync(place.certs).filter((name) => name.startsWith("."))).toEqual([]);
      expect([(await place.curl(...phone)).code, (await place.curlAsLaptop()).code]).toEqual([0, 0]);
    });

    test("if the new list locks this laptop out, all is put back at once", async () => {
      await enrolled();
      const phone = await addPhone();
      const away = join(place.root, "away");
      const list = join(place.ca, "devices");
      // As if the laptop's entry hung on the phone's: it is away while that is.
      place.set({
        AI_SERVER_CADDY_RELOAD: `if ls '${list}' | grep -q phone; then mv '${away}'/* '${list}'/ 2>/dev/null; else mkdir -p '${away}'; mv '${list}'/laptop.* '${away}'/; fi; ${program} reload --force --config '${place.caddyfile}' --adapter caddyfile`,
      });
      const user = await place.says("/ai-server-devices revoke phone");
      expect(told(user)).toMatch(
        /^With the device off the list, this laptop did not get in: .*It was put back, and this laptop gets in again\. Nothing was revoked\.$/s,
      );
      expect(user.notices.at(-1)?.level).toBe("error");
      expect([place.onList("devices"), place.onList("revoked")]).toEqual([["laptop", "phone"], []]);
      expect([(await place.curl(...phone)).code, (await place.curlAsLaptop()).code]).toEqual([0, 0]);
    });

    test("a new certificate that the server does not admit is taken back, and the old one stays", async () => {
      await enrolled();
      const before = place.certificate();
      // A reload that never comes to Caddy: the new certificate is on no list that it has read.
      place.set({ AI_SERVER_CADDY_RELOAD: "true" });
      const user = await place.says("/ai-server-devices enrol");
      expect(told(user)).toMatch(
        /^The server was not reached with the new certificate, so the old one stays: nothing was replaced\. The server refused the client certificate/,
      );
      expect([place.certificate(), place.onList("devices")]).toEqual([before, ["laptop"]]);
      expect(readdirSync(place.certs).sort()).toEqual(["client-key.pem", "client.pem", "root-ca.pem"]);
      expect((await place.curlAsLaptop()).code).toBe(0);
    });

    if (program === "caddy") {
      test("the last device cannot be taken off: an empty list may admit every device", async () => {
        await enrolled();
        await addPhone();
        // As with a laptop whose certificate was never put on the list.
        for (const name of readdirSync(join(place.ca, "devices")))
          if (name.startsWith("laptop.")) rmSync(join(place.ca, "devices", name), { recursive: true });
        expect(told(await place.says("/ai-server-devices revoke phone"))).toMatch(
          /^That is the last device on the list, and this laptop is not on it/,
        );
        expect(place.onList("devices")).toEqual(["phone"]);
      });

      test("an empty list admits no client, by the line with the CA's own certificate", async () => {
        await enrolled();
        for (const name of readdirSync(join(place.ca, "devices")))
          rmSync(join(place.ca, "devices", name), { recursive: true });
        await place.stopCaddy();
        await place.startCaddy();
        expect((await place.curlAsLaptop()).code).not.toBe(0);
      });
    }
  });
}
