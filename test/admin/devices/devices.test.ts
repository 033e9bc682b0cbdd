import { execFileSync } from "node:child_process";
import { mkdirSync, readFileSync, renameSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, onTestFinished, test } from "vitest";
import { completeDevices } from "../../../admin/devices/completion.ts";
import { deviceName, suggestedName } from "../../../admin/devices/names.ts";
import { listResult, remarksOn } from "../../../admin/devices/words.ts";
import { clientAuthLines, siteLines } from "../../../host/ca/caddyfile.ts";
import type { Device, DeviceList } from "../../../host/ca/devices.ts";
import { plainLines } from "../../../ui/result.ts";
import { CaHost } from "../../support/ca-host.ts";
import { startPlace } from "../../support/command-place.ts";
import { type Mode, saying, User } from "../../support/command-user.ts";

const NOW = Date.parse("2026-11-30T12:00:00Z");
const DAY_MS = 86_400_000;

function device(name: string, change: Partial<Device> = {}): Device {
  return {
    name,
    serial: `4${name}`,
    issued: new Date(NOW - DAY_MS),
    expires: new Date(NOW + 800 * DAY_MS),
    revoked: undefined,
    seen: undefined,
    ...change,
  };
}

function listed(devices: readonly Device[], change: Partial<DeviceList> = {}): DeviceList {
  return {
    authority: "",
    folder: "/home/ai/ai-server-ca",
    key: "open",
    devices,
    caddy: {
      list: "leaf",
      file: "/etc/caddy/Caddyfile",
      version: "2.11.2",
      hasReloadCommand: false,
      isPending: false,
      closedFolder: undefined,
    },
    ...change,
  };
}

describe("names", () => {
  test.each(["phone", "annas-tablet", "2nd", "x".repeat(40)])("%s is one", (name) => {
    expect(deviceName(name)).toBe(name);
  });
  test.each(["Phone", "a b", "-x", "größe", "a.b", "../x", "", "x".repeat(41), "a\nb", "\u001b[2J"])(
    "%j is none",
    (name) => {
      expect(() => deviceName(name)).toThrow(
        /cannot be the name of a device\. Use small letters, digits and hyphens/,
      );
    },
  );
  test("this laptop is called after its own name, and never like another device", () => {
    expect(suggestedName("Annas-MacBook.local", new Set())).toBe("annas-macbook");
    expect(suggestedName("DESKTOP_X1", new Set(["desktop-x1"]))).toBe("desktop-x1-2");
    for (const odd of ["", "...", "Größe!", `-${"x".repeat(80)}`])
      expect(deviceName(suggestedName(odd, new Set()))).toBeTruthy();
  });
});

describe("the list in words", () => {
  const devices = [
    device("laptop", { seen: new Date(NOW) }),
    device("phone", { expires: new Date(NOW + 5.5 * DAY_MS) }),
    device("tablet", { expires: new Date(NOW - DAY_MS) }),
    device("old", { revoked: new Date(NOW - 3 * DAY_MS) }),
  ];
  const lines = (width: number, list = listed(devices)): string[] =>
    plainLines(listResult(list, "4laptop", "on ca", NOW), width);

  test("marks this device and what is due, and shows those that were revoked apart", () => {
    const shown = lines(120);
    expect(shown[0]).toBe("Devices of the CA on ca: 3 admitted, 1 revoked");
    expect(shown[2]).toMatch(
      /^laptop \(this device\) {2}2026-11-29 {2}\d{4}-\d\d-\d\d +2026-11-30 \d\d:00 {2}4laptop$/,
    );
    expect(shown[3]).toMatch(/^phone .* 2026-12-06 \(5 days\) +– /);
    expect(shown[4]).toMatch(/^tablet .* 2026-11-29 \(expired\)/);
    expect(shown.slice(5)).toEqual([
      "",
      expect.stringMatching(/^Revoked +When +Serial$/),
      expect.stringMatching(/^old +2026-11-27 /),
    ]);
  });

  test("fits narrow terminals, the name and the expiry last", () => {
    for (const width of [20, 40, 60, 78])
      for (const line of lines(width)) expect(line.length).toBeLessThanOrEqual(Math.max(width, 50));
    expect(lines(60)[1]).toMatch(/^Device +Expires/);
  });

  test.each([
    [
      { key: "missing" as const },
      /The CA's key is not in \/home\/ai\/ai-server-ca: devices can be revoked, but none can be added\./,
    ],
    [{ key: "unreadable" as const }, /cannot be read by the user that logs in/],
    [
      { caddy: { ...listed([]).caddy, list: "none" as const } },
      /^\/etc\/caddy\/Caddyfile has no list of devices/,
    ],
    [{ caddy: { ...listed([]).caddy, isPending: true } }, /has changed since Caddy read it/],
  ])("says what is wrong: %j", (change, words) => {
    expect(remarksOn(listed(devices, change))).toEqual([expect.stringMatching(words)]);
    expect(listResult(listed(devices, change), undefined, "on ca", NOW).level).toBe("warning");
  });

  test("of a CA without devices says that there are none", () => {
    expect(lines(80, listed([]))).toEqual([
      "Devices of the CA on ca: 0 admitted, 0 revoked",
      "No device has a certificate of this CA.",
    ]);
  });
});

describe("the Caddyfile's lines", () => {
  test.each([
    ["2.11.2", true],
    ["2.8.0", true],
    ["3.0.0", true],
    [undefined, true],
    ["2.7.6", false],
    ["2.6.2", false],
  ])("for Caddy %s", (version, isNew) => {
    const text = clientAuthLines("/ca", version).join("\n");
    expect(text.includes("verifier leaf")).toBe(isNew);
    expect(text.includes("import /ca/devices/*/leaf.caddy")).toBe(!isNew);
    // With no line of its own, Caddy 2.6 would admit every certificate of the CA.
    expect(text.includes("trusted_leaf_cert_file /ca/root-ca.pem")).toBe(!isNew);
  });
  test("a folder with spaces is one word", () => {
    const text = siteLines("ai.example.org", '/my "ca"', { version: "2.11.0" }).join("\n");
    expect(text).toContain('tls "/my \\"ca\\"/server.pem" "/my \\"ca\\"/server-key.pem" {');
    expect(text).toContain('folder "/my \\"ca\\"/devices"');
  });
});

describe("Tab", () => {
  const values = (argument: string) =>
    completeDevices(["laptop", "phone"], argument).map(({ value }) => value);
  test("offers the subcommands, and after revoke the names on the list", () => {
    expect(values("")).toEqual(["list", "enrol", "add ", "revoke "]);
    expect(values("re")).toEqual(["revoke "]);
    expect(values("revoke ")).toEqual(["revoke laptop", "revoke phone"]);
    expect(values("revoke ph")).toEqual(["revoke phone"]);
    expect([values("add "), values("enrol x"), values("none ")]).toEqual([[], [], []]);
  });
});

/** A CA on this machine, for the commands of a place whose server knows nothing of it. */
async function caPlace(options?: ConstructorParameters<typeof CaHost>[0]) {
  const host = new CaHost(options);
  onTestFinished(() => host.remove());
  const place = await startPlace();
  place.tool("journalctl", "exit 1");
  place.set({ AI_SERVER_CA_HOST: "local", AI_SERVER_CA_DIR: host.folder, AI_SERVER_CADDY_RELOAD: "true" });
  return { host, place };
}

describe("/ai-server-devices", () => {
  test.each<Mode>(["print", "json"])("in %s mode lists, and refuses what would ask", async (mode) => {
    const { place, host } = await caPlace();
    const listedBy = await place.type("/ai-server-devices", new User(mode).readsOutput());
    expect(listedBy.answered).toContain("No device has a certificate of this CA.");
    for (const line of ["enrol", "enrol laptop", "add phone", "revoke phone"]) {
      const user = await place.type(`/ai-server-devices ${line}`, new User(mode).readsOutput());
      expect([user.answered, user.failed]).toEqual(["", expect.stringContaining("cannot ask")]);
    }
    expect(host.names("devices")).toEqual([]);
  });

  test("an unknown word is compared with the subcommands", async () => {
    const { place } = await caPlace();
    const told = async (line: string) => (await place.type(line)).told;
    expect(await told("/ai-server-devices enroll")).toEqual([
      '/ai-server-devices knows list, enrol, add, revoke, and not "enroll". Did you mean enrol?',
    ]);
    expect(await told("/ai-server-devices constructor")).toEqual([expect.stringMatching(/knows list/)]);
    expect(await told("/ai-server-devices list x")).toEqual(["/ai-server-devices list takes no argument."]);
    expect(await told("/ai-server-devices add")).toEqual([
      expect.stringMatching(/^What is the device called\?/),
    ]);
    expect(await told("/ai-server-devices revoke")).toEqual([expect.stringMatching(/^Which device\?/)]);
    expect(await told("/ai-server-devices add My Phone")).toEqual([
      expect.stringMatching(/cannot be the name/),
    ]);
  });

  test("without a machine for the CA it names the variable, and over plain http it says why not", async () => {
    const { place } = await caPlace();
    place.set({ AI_SERVER_CA_HOST: "", AI_SERVER_SSH_HOST: "" });
    expect((await place.type("/ai-server-devices")).told).toEqual([
      expect.stringMatching(/^AI_SERVER_CA_HOST is not set/),
    ]);
    place.set({ AI_SERVER_URL: "http://127.0.0.1:1", AI_SERVER_CA_HOST: "local" });
    expect((await place.type("/ai-server-devices enrol")).told).toEqual([
      expect.stringMatching(/^AI_SERVER_URL begins with http:, so no certificate is used\./),
    ]);
  });

  test("where there is no CA, list says who makes one, and enrol asks; no is no", async () => {
    const { place, host } = await caPlace({ has: false });
    expect((await place.type("/ai-server-devices")).told).toEqual([
      expect.stringMatching(/^There is no CA in .*\/ai-server-devices enrol offers to make one/),
    ]);
    const user = await place.type("/ai-server-devices enrol", saying(false));
    expect(user.questions.map(({ title }) => title)).toEqual([
      `There is no CA on this machine. Make one in ${host.folder}?`,
    ]);
    expect(user.told).toEqual(["Nothing was changed."]);
    expect(host.names()).toEqual([]);
  });

  test("a no changes nothing anywhere", async () => {
    const { place, host } = await caPlace();
    const cert = place.aiServer.config().clientCert;
    const before = readFileSync(cert, "utf8");
    for (const line of ["enrol laptop", "add phone"]) {
      const user = await place.type(`/ai-server-devices ${line}`, saying(false));
      expect(user.told).toEqual(["Nothing was changed."]);
    }
    expect([host.names("devices"), readFileSync(cert, "utf8")]).toEqual([[], before]);
  });

  test("a passphrase of the CA's key is asked for, three times at most, and shown nowhere", async () => {
    const { place, host } = await caPlace();
    const args = [
      "pkcs8",
      "-topk8",
      "-in",
      host.path("ca-key.pem"),
      "-out",
      host.path("e.pem"),
      "-passout",
      "pass:open sesame",
    ];
    execFileSync("openssl", args, { stdio: "pipe" });
    renameSync(host.path("e.pem"), host.path("ca-key.pem"));
    host.own(host.path("ca-key.pem"));

    const wrong = saying(true);
    const titles: string[] = [];
    wrong.types = (title) => {
      titles.push(title);
      return "guess";
    };
    await place.type("/ai-server-devices enrol laptop", wrong);
    expect(titles).toEqual([
      "Passphrase of the CA's key on this machine",
      ...Array(2).fill(
        "The passphrase does not open the CA's key on this machine. Nothing was signed. Passphrase of the CA's key on this machine",
      ),
    ]);
    expect(wrong.told.at(-1)).toMatch(/^The passphrase does not open/);
    const given = saying(true);
    given.types = () => undefined;
    await place.type("/ai-server-devices enrol laptop", given);
    expect(given.told).toEqual(["Nothing was changed."]);
    expect(host.names("devices")).toEqual([]);

    const right = saying(true);
    right.types = () => "open sesame";
    await place.type("/ai-server-devices enrol laptop", right);
    expect(host.revoked).toEqual(["laptop"]);
    // The place's own server trusts another CA.
    expect(right.told.at(-1)).toMatch(
      /^The server was not reached with the new certificate, so the old one stays/,
    );
    expect(right.everything).not.toContain("sesame");
  });

  test("a file is handed over with its password in an RPC client, and never over another one", async () => {
    const { place, host } = await caPlace();
    const home = join(host.root, "home");
    mkdirSync(home);
    const before = process.env.HOME;
    process.env.HOME = home;
    onTestFinished(() => {
      process.env.HOME = before;
    });
    const adds = async (name: string): Promise<User> => {
      const user = new User("rpc");
      user.ui.select = async (_asked, offered) => offered.at(-1);
      return place.type(`/ai-server-devices add ${name}`, user);
    };
    const user = await adds("phone");
    expect(user.told[0]).toMatch(
      /^The file is .*phone\.p12\.\nThe file's password, shown once: [a-z2-9]{24}\nAfter the import, open https:/,
    );
    expect(user.told.at(-1)).toMatch(/^phone is on the list\. Its certificate is in .*phone\.p12/);
    expect(host.admitted).toEqual(["phone"]);
    // What another program has put there stays, and then there is no device either.
    writeFileSync(join(home, "tablet.p12"), "mine");
    const refused = await adds("tablet");
    expect(refused.told.at(-1)).toMatch(
      /tablet\.p12 could not be written: it exists already\. tablet was not added\./,
    );
    symlinkSync("/nowhere", join(home, "watch.p12"));
    expect((await adds("watch")).told.at(-1)).toMatch(/could not be written/);
    expect([host.admitted, readFileSync(join(home, "tablet.p12"), "utf8")]).toEqual([["phone"], "mine"]);
    expect(place.aiServer.remembered.deviceNames).toEqual(["phone"]);
  });
});
