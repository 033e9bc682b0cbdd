import { chmodSync, existsSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { piVersion } from "../../../admin/doctor/settings.ts";
import { issue, makeAuthority, writePemFiles } from "../../../sim/certificates.ts";
import { type Place, startPlace } from "../../support/command-place.ts";
import { saying } from "../../support/command-user.ts";
import { findings } from "../../support/doctor-findings.ts";

const keyOf = (place: Place): string => join(place.sim.certsDir, "client-key.pem");

const WIDE = `
models:
  wide:
    cmd: llama-server --port \${PORT} -m /models/wide.gguf --ctx-size 65536
    metadata: { context_length: 65536 }
`;

/** A certificate of another CA in the place of this laptop's. */
async function reissue(place: Place, of: "another" | "the same name", usage: "client" | "server" = "client") {
  const authority = await makeAuthority(of === "another" ? "Another CA" : "Stand-in CA");
  const { cert, key } = await issue(authority, { commonName: "laptop", usage });
  writePemFiles(place.sim.certsDir, { "client.pem": cert, "client-key.pem": key });
}

test("a laptop on which everything is right gives no warning", async () => {
  const place = await startPlace(WIDE);
  await place.type("/ai-server-refresh");
  const laptop = Object.values(await findings(place)).filter(({ group }) => group === "laptop");
  expect(laptop.map(({ check, verdict }) => [check, verdict])).toEqual([
    ["certificates", "ok"],
    ["certificate-expiry", "ok"],
    ["certificate-usage", "ok"],
    ["certificate-chain", "ok"],
    ["key-mode", "ok"],
    ["variables", "ok"],
    ["pi-version", "ok"],
    ["compaction", "ok"],
  ]);
});

describe("the certificates", () => {
  test("are missing", async () => {
    const place = await startPlace();
    rmSync(keyOf(place));
    const found = await findings(place);
    expect(found.certificates).toMatchObject({ verdict: "fault", fixable: true });
    expect(found.certificates?.seen).toContain("The client key is missing");
  });

  test("expire within 30 days", async () => {
    const place = await startPlace();
    const authority = await makeAuthority("Stand-in CA");
    const notAfter = new Date(Date.now() + 10.5 * 86_400_000);
    const { cert, key } = await issue(authority, { commonName: "laptop", usage: "client", notAfter });
    writePemFiles(place.sim.certsDir, { "client.pem": cert, "client-key.pem": key });
    const { "certificate-expiry": expiry } = await findings(place);
    expect(expiry).toMatchObject({
      verdict: "warning",
      next: "Renew it with /ai-server-devices enrol.",
      fixable: true,
    });
    expect(expiry?.seen).toMatch(/ 10 days more$/);
  });

  test("are for servers", async () => {
    const place = await startPlace();
    await reissue(place, "another", "server");
    expect((await findings(place))["certificate-usage"]).toMatchObject({
      verdict: "fault",
      seen: "the certificate is not one for clients: its extended key usage lacks clientAuth",
    });
  });

  test("were issued by a CA that was made a second time", async () => {
    const place = await startPlace();
    await reissue(place, "the same name");
    expect((await findings(place))["certificate-chain"]).toMatchObject({ verdict: "warning", fixable: true });
  });

  test("were issued by a CA that is not at hand, which may be right", async () => {
    const place = await startPlace();
    await reissue(place, "another");
    expect((await findings(place))["certificate-chain"]).toMatchObject({ verdict: "unchecked" });
  });

  test("have a key that others can read, and --fix sets its mode", async () => {
    const place = await startPlace(WIDE);
    await place.type("/ai-server-refresh");
    chmodSync(keyOf(place), 0o644);
    expect((await findings(place))["key-mode"]).toMatchObject({ verdict: "warning", fixable: true });
    const user = saying(true);
    await place.type("/ai-server-doctor --fix", user);
    expect(user.questions.map(({ title }) => title)).toContain("Set the mode of the client key to 600?");
    expect(statSync(keyOf(place)).mode & 0o777).toBe(0o600);
    expect(user.told).toContain(`✓ Key file: only you can read ${keyOf(place)} (mode 600)`);
  });

  test("stay as they are where the user says no", async () => {
    const place = await startPlace();
    chmodSync(keyOf(place), 0o644);
    const user = saying(false);
    await place.type("/ai-server-doctor --fix", user);
    expect(statSync(keyOf(place)).mode & 0o777).toBe(0o644);
    expect(user.told).toContain("Key file: left as it is.");
  });
});

describe("a variable that does nothing is named:", () => {
  test.each([
    [
      { AI_SERVER_ULR: "x" },
      "AI_SERVER_ULR is set, but there is no such variable; did you mean AI_SERVER_URL?",
    ],
    [
      { AI_SERVER_SSH_MODE: "wrapper" },
      "AI_SERVER_SSH_MODE has no effect: the server is this machine (AI_SERVER_SSH_HOST=local)",
    ],
    [
      { AI_SERVER_QUOTES_FILE: "q.txt" },
      "AI_SERVER_QUOTES_FILE has no effect: AI_SERVER_INDICATOR is not quotes",
    ],
  ])("%o", async (env, seen) => {
    const { variables } = await findings(await startPlace(WIDE, env));
    expect(variables).toMatchObject({ verdict: "warning", seen, fixable: false });
  });

  test("what the wrapper has on the server", async () => {
    const env = { AI_SERVER_SSH_HOST: "user@127.0.0.1", AI_SERVER_SSH_MODE: "wrapper" };
    const place = await startPlace(WIDE, { ...env, AI_SERVER_SERVICE_UNIT: "other.service" });
    place.installsWrapper();
    const { variables } = await findings(place);
    expect(variables?.verdict).toBe("warning");
    expect(variables?.seen).toContain("with AI_SERVER_SSH_MODE=wrapper ai-server-admin has its own");
  });
});

test("an old pi is named", () => {
  expect(piVersion("1.4.9")).toMatchObject({ verdict: "warning", next: "Update pi." });
  expect(piVersion("1.10.0")).toMatchObject({ verdict: "ok" });
});

describe("a context that is too small for pi's compaction settings", () => {
  const SMALL = WIDE.replaceAll("65536", "16384");
  const settingsOf = (place: Place): string => join(place.agentDir, "settings.json");

  async function fixed(before: string | undefined) {
    const place = await startPlace(SMALL);
    if (before !== undefined) writeFileSync(settingsOf(place), before, { mode: 0o640 });
    await place.type("/ai-server-refresh");
    expect((await findings(place)).compaction).toMatchObject({ verdict: "warning", fixable: true });
    const user = saying(true);
    await place.type("/ai-server-doctor --fix", user);
    return { user, place };
  }

  test("gets settings of its own by --fix, and the others stay", async () => {
    const before = { theme: "dark", compaction: { enabled: true, modelOverrides: { "x/y": { a: 1 } } } };
    const { user, place } = await fixed(JSON.stringify(before));
    expect(JSON.parse(readFileSync(settingsOf(place), "utf8"))).toEqual({
      theme: "dark",
      compaction: {
        enabled: true,
        modelOverrides: {
          "x/y": { a: 1 },
          "ai-server/wide": { reserveTokens: 4096, keepRecentTokens: 4096 },
        },
      },
    });
    expect(statSync(settingsOf(place)).mode & 0o777).toBe(0o640);
    expect(user.told.at(-1)).toBe("✓ Compaction: pi's settings suit the context of 1 model");
  });

  test("gets them in a new file where there is none", async () => {
    const { place } = await fixed(undefined);
    expect(readFileSync(settingsOf(place), "utf8")).toContain('"ai-server/wide"');
  });

  test("leaves a file that is not JSON as it is", async () => {
    const { user, place } = await fixed("{ theme: ");
    expect(readFileSync(settingsOf(place), "utf8")).toBe("{ theme: ");
    expect(user.told.at(-1)).toContain("is not a JSON object, so nothing was added");
    expect(existsSync(`${settingsOf(place)}.${process.pid}.tmp`)).toBe(false);
  });
});
