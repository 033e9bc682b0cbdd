import { chmodSync, rmSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { examineShown } from "../../../admin/doctor/examination.ts";
import { type Group, ok } from "../../../admin/doctor/finding.ts";
import type { Visit } from "../../../admin/doctor/visit.ts";
import { startPlace } from "../../support/command-place.ts";
import { User } from "../../support/command-user.ts";

describe("the arguments:", () => {
  test.each([
    ["small", '/ai-server-doctor takes --fix and --model <id>; "small" is not understood.'],
    ["--model", "Which model? Use /ai-server-doctor --model <id>; Tab completes the id."],
    ["--fix now", '/ai-server-doctor takes --fix and --model <id>; "now" is not understood.'],
  ])("%s", async (argument, sentence) => {
    const user = await (await startPlace()).type(`/ai-server-doctor ${argument}`);
    expect(user.notices).toEqual([{ level: "error", text: sentence }]);
  });
});

describe("print mode", () => {
  test("gets plain lines on standard output, and a fault ends it with status 1", async () => {
    const place = await startPlace();
    rmSync(join(place.sim.certsDir, "client-key.pem"));
    const user = await place.type("/ai-server-doctor", new User("print").readsOutput());
    expect(user.stdout).toMatch(
      /^This laptop\n✗ Certificates: The client key is missing.*\n {2}→ The sentence/,
    );
    expect(user.stdout).toMatch(/\n✗ .*Certificates/);
    expect(user.errors).toBe("");
    expect(process.exitCode).toBe(1);
  });

  test("refuses --fix, since it cannot ask", async () => {
    const user = await (await startPlace()).type("/ai-server-doctor --fix", new User("print").readsOutput());
    expect(user.failed).toContain("print mode cannot ask. Nothing was changed");
    expect(user.stdout).toBe("");
  });
});

test("an RPC client gets the object of JSON mode as a notice", async () => {
  const place = await startPlace();
  rmSync(join(place.sim.certsDir, "client-key.pem"));
  const { notices } = await place.type("/ai-server-doctor", new User("rpc"));
  expect(notices).toEqual([{ level: "error", text: expect.stringMatching(/^\{.*\}$/) }]);
  const object = JSON.parse(notices[0]?.text ?? "");
  expect(object).toMatchObject({ type: "ai_server_result", command: "ai-server-doctor", ok: false });
  expect(object.findings[0]).toMatchObject({ check: "certificates", verdict: "fault" });
});

test("a wrong setting is the one finding", async () => {
  const place = await startPlace();
  place.set({ AI_SERVER_TIMEOUT_MS: "soon" });
  const user = await place.type("/ai-server-doctor", new User("json").readsOutput());
  expect(user.objects[0]).toMatchObject({
    ok: false,
    summary: { faults: 1, warnings: 0, ok: 0, unchecked: 0 },
    findings: [{ check: "settings", verdict: "fault", fixable: false }],
  });
  expect(user.everything).toContain("AI_SERVER_TIMEOUT_MS");
});

test("with no fault to fix, --fix says so", async () => {
  const place = await startPlace(undefined, {});
  chmodSync(join(place.sim.certsDir, "client-key.pem"), 0o600);
  const user = await place.type("/ai-server-doctor --fix", new User("rpc"));
  expect(user.told.at(-1)).toBe("Nothing here can be fixed by the doctor.");
});

describe("in the terminal", () => {
  const title = "A slow place";

  /** A group whose second check comes when the visit is stopped. */
  const slow = (stopsAt: () => void): Group => ({
    name: "way",
    title,
    async *examine({ signal }) {
      yield ok("first", "First", "seen");
      stopsAt();
      await new Promise((resolve) => signal.addEventListener("abort", resolve));
      yield ok("second", "Second", "not seen");
    },
  });

  async function visitOf(user: User, stop: AbortController): Promise<Visit> {
    const place = await startPlace();
    const waiting = {
      signal: new AbortController().signal,
      say() {},
      ask: (dialog: () => unknown) => dialog(),
    };
    const call = { ctx: place.contextOf(user), waiting, ended: place.ended.signal };
    return { call, signal: stop.signal } as unknown as Visit;
  }

  test("the table grows, Escape stops it, and what was found stays", async () => {
    const user = new User("tui");
    const stop = new AbortController();
    const visit = await visitOf(user, stop);
    const seen = examineShown(
      visit,
      [slow(() => void user.shows("✓ First: seen").then(() => user.escape()))],
      () => stop.abort(),
    );
    const [examination] = await seen;
    expect(examination).toMatchObject({ isStopped: true, findings: [{ check: "first" }] });
    expect(user.screen).toBe("");
  });

  test("names what is looked at, and the key that stops it", async () => {
    const user = new User("tui");
    const stop = new AbortController();
    const visit = await visitOf(user, stop);
    const seen = examineShown(visit, [slow(() => {})], () => stop.abort());
    await user.shows(`Checking: ${title}`);
    expect(user.screen).toContain("escape stop");
    user.escape();
    await seen;
  });
});

test("a check that fails in an unexpected way does not hide the others", async () => {
  const visit = {
    call: { ctx: { mode: "print" }, waiting: { signal: new AbortController().signal, say() {} } },
    signal: new AbortController().signal,
  } as unknown as Visit;
  const broken: Group = {
    name: "way",
    title: "Broken",
    async *examine() {
      yield ok("first", "First", "seen");
      throw new Error("Boom.");
    },
  };
  const examined = await examineShown(visit, [broken, broken], () => {});
  expect(examined.map(({ findings }) => findings.map(({ verdict, seen }) => [verdict, seen]))).toEqual([
    [
      ["ok", "seen"],
      ["unchecked", "Boom."],
    ],
    [
      ["ok", "seen"],
      ["unchecked", "Boom."],
    ],
  ]);
});
