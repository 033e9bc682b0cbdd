import { chmodSync, rmSync, statSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { type Place, startPlace } from "../../support/command-place.ts";
import { saying } from "../../support/command-user.ts";
import { findings } from "../../support/doctor-findings.ts";

const keyOf = (place: Place): string => join(place.sim.certsDir, "client-key.pem");

describe("the certificates", () => {
  test("are in order", async () => {
    const place = await startPlace();
    const found = await findings(place);
    expect(found.certificates).toMatchObject({ group: "laptop", verdict: "ok", next: null, fixable: false });
    expect(found["certificate-expiry"]).toMatchObject({ verdict: "ok" });
    expect(found["key-mode"]).toMatchObject({ verdict: "ok" });
  });

  test("are missing", async () => {
    const place = await startPlace();
    rmSync(keyOf(place));
    const found = await findings(place);
    expect(found.certificates).toMatchObject({ verdict: "fault", fixable: true });
    expect(found.certificates?.seen).toContain("The client key is missing");
  });

  test("have a key that others can read, and --fix sets its mode", async () => {
    const place = await startPlace();
    chmodSync(keyOf(place), 0o644);
    expect((await findings(place))["key-mode"]).toMatchObject({ verdict: "warning", fixable: true });
    const user = saying(true);
    await place.type("/ai-server-doctor --fix", user);
    expect(user.questions[0]?.title).toBe("Set the mode of the client key to 600?");
    expect(statSync(keyOf(place)).mode & 0o777).toBe(0o600);
    expect(user.told.at(-1)).toBe(`✓ Key file: only you can read ${keyOf(place)} (mode 600)`);
  });

  test("stay as they are where the user says no", async () => {
    const place = await startPlace();
    chmodSync(keyOf(place), 0o644);
    const user = saying(false);
    await place.type("/ai-server-doctor --fix", user);
    expect(statSync(keyOf(place)).mode & 0o777).toBe(0o644);
    expect(user.told.at(-1)).toBe("Key file: left as it is.");
  });
});
