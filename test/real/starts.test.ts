/** Starts of pi with a second provider beside this one: no prompt of a session of ours ever reaches the other. */
import { cp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import {
  EXTENSION,
  makeWorkplace,
  NEWEST_PI,
  OLDER_PI,
  piProblem,
  runPi,
  type Workplace,
} from "../support/pi.ts";
import { realSuite } from "../support/programs.ts";
import { at, RpcPi } from "../support/rpc.ts";
import { type StandIn, startStandIn } from "../support/stand-in.ts";

/** How many of each kind; which of pi's overlapping refreshes ends last differs from start to start. */
const STARTS = 3;
const PROMPT = "sim: say Here.";

let standIn: StandIn;
let other: Server;
/** What reached the other provider. */
const elsewhere: string[] = [];

beforeAll(async () => {
  standIn = await startStandIn();
  other = createServer((request, response) => {
    elsewhere.push(`${request.method} ${request.url}`);
    response.writeHead(500).end();
  });
  await new Promise<void>((resolve) => other.listen(0, "127.0.0.1", resolve));
});
afterAll(async () => {
  other.close();
  await standIn.stop();
});

for (const version of [NEWEST_PI, OLDER_PI]) {
  realSuite(await piProblem(version), `starts of pi ${version} beside another provider`, () => {
    let place: Workplace;
    /** A session of ours, and how many agent folders like the one that held it were made. */
    let sessionFile = "";
    let copies = 0;

    beforeAll(async () => {
      place = await makeWorkplace();
      const args = ["-e", EXTENSION, "-p", "--model", "ai-server/seer", "sim: say First."];
      const options = { version, agentDir: place.agentDir, env: standIn.env, args, offline: false };
      expect(await runPi(options)).toMatchObject({ code: 0, stdout: "First.\n" });
      const sessions = join(place.agentDir, "sessions");
      const [name = ""] = await readdir(sessions);
      const [file = ""] = await readdir(join(sessions, name));
      sessionFile = join("sessions", name, file);
      await providers({
        cloud: { apiKey: "k", models: [{ id: "x", contextWindow: 65_536, maxTokens: 4096 }] },
      });
      await settings(place.agentDir, { retry: { enabled: false } });
    });
    afterAll(() => place.remove());
    beforeEach(() => {
      elsewhere.length = 0;
    });

    /** What models.json says of providers beside this one, all of them at the same address. */
    async function providers(others: Record<string, object>): Promise<void> {
      const { port } = other.address() as AddressInfo;
      const api = { baseUrl: `http://127.0.0.1:${port}/v1`, api: "openai-completions" };
      const all = Object.entries(others).map(([id, values]) => [id, { ...api, ...values }]);
      const text = JSON.stringify({ providers: Object.fromEntries(all) });
      await writeFile(join(place.agentDir, "models.json"), text);
    }

    /** Another agent folder like the first, without what `forgotten` names. */
    async function copied(...forgotten: string[]): Promise<string> {
      copies += 1;
      const agentDir = join(place.folder, `agent-${copies}`);
      await cp(place.agentDir, agentDir, { recursive: true });
      for (const name of forgotten) await rm(join(agentDir, name), { recursive: true, force: true });
      return agentDir;
    }

    const options = (agentDir: string, env = standIn.env) => ({
      version,
      agentDir,
      env,
      cwd: place.folder,
      offline: false,
    });
    const print = (agentDir: string, args: string[], env = standIn.env) =>
      runPi({ ...options(agentDir, env), args: ["-e", EXTENSION, "-p", ...args, PROMPT] });

    const settings = (folder: string, values: object): Promise<void> =>
      writeFile(join(folder, "settings.json"), JSON.stringify(values));

    test("the model of a continued session answers it at each start", async () => {
      for (let start = 0; start < STARTS; start += 1) {
        const { stdout, stderr } = await print(await copied(), ["--continue"]);
        expect([stdout, standIn.lastChat().model, elsewhere]).toEqual(["Here.\n", "seer", []]);
        expect(stderr).not.toContain("Could not restore model");
      }
    });

    test("a list of stored models is the same as the one that came from the server, with the user's own changes", async () => {
      const agentDir = await copied("models-store.json", "sessions");
      const providers = { "ai-server": { modelOverrides: { seer: { contextWindow: 12_345 } } } };
      await writeFile(join(agentDir, "models.json"), JSON.stringify({ providers }));
      const list = () => runPi({ ...options(agentDir), args: ["-e", EXTENSION, "--list-models"] });
      const first = await list();
      expect(first.stdout).toMatch(/^ai-server +seer +12\.3K /m);
      expect(await list()).toEqual(first);
    });

    test("a list of models brings no warning at any start, with a stored login either", async () => {
      const login = { type: "api_key", env: standIn.env };
      for (let start = 0; start < 4 * STARTS; start += 1) {
        const agentDir = await copied("models.json", "sessions");
        if (start % 2 === 1)
          await writeFile(join(agentDir, "auth.json"), JSON.stringify({ "ai-server": login }));
        const { stdout, stderr } = await runPi({
          ...options(agentDir),
          args: ["-e", EXTENSION, "--list-models"],
        });
        expect([stderr, /^ai-server +seer /m.test(stdout)]).toEqual(["", true]);
      }
    });

    // The older version answers for its own starts; the rest is the extension's part.
    if (version === OLDER_PI) return;

    test("a stored login keeps a continued session on its model at each start", async () => {
      for (let start = 0; start < STARTS; start += 1) {
        const agentDir = await copied();
        const login = { type: "api_key", env: standIn.env };
        await writeFile(join(agentDir, "auth.json"), JSON.stringify({ "ai-server": login }));
        const { stdout, stderr } = await print(agentDir, ["--continue"]);
        expect([stdout, standIn.lastChat().model, elsewhere]).toEqual(["Here.\n", "seer", []]);
        expect(stderr).not.toMatch(/Could not restore model|stays on/);
      }
    });

    test("the default model of the settings answers a new session at each start", async () => {
      for (let start = 0; start < STARTS; start += 1) {
        const agentDir = await copied("sessions");
        await settings(agentDir, { defaultProvider: "ai-server", defaultModel: "seer" });
        const { stdout, stderr } = await print(agentDir, []);
        expect([stdout, standIn.lastChat().model, elsewhere]).toEqual(["Here.\n", "seer", []]);
        expect(stderr).not.toContain("stays on");
      }
    });

    test("the model of a session answers it each time that a running pi resumes it", async () => {
      for (let start = 0; start < STARTS; start += 1) {
        const agentDir = await copied();
        const pi = await RpcPi.start({ ...options(agentDir), args: ["-e", EXTENSION] });
        await pi.send({ type: "switch_session", sessionPath: join(agentDir, sessionFile) });
        await pi.turn(PROMPT);
        const state = await pi.send({ type: "get_state" });
        await pi.close();
        const model = [at(state.data, "model", "provider"), at(state.data, "model", "id")];
        expect([model, standIn.lastChat().model, elsewhere]).toEqual([["ai-server", "seer"], "seer", []]);
        expect(pi.stderr).not.toContain("Could not restore model");
      }
    });

    test("a server that was never reached fails the turn with the reason", async () => {
      const agentDir = await copied("models-store.json");
      await standIn.whileDown(async () => {
        const { code, stdout, stderr } = await print(agentDir, ["--continue"]);
        expect([code, stdout, elsewhere]).toEqual([1, "", []]);
        expect(stderr).toContain("this session stays on ai-server/seer");
        expect(stderr).toContain("refuses connections");
      });
    });

    test("a pi without a set-up fails the turn too, and says what to do", async () => {
      const { code, stdout, stderr } = await print(await copied(), ["--continue"], {});
      expect([code, stdout, elsewhere]).toEqual([1, "", []]);
      expect(stderr).toContain("The AI server of this session is not set up here. Run /login ai-server");
    });

    test("pi asks no other provider for a model that the server no longer offers", async () => {
      // One that pi prefers to all that it does not know itself.
      await providers({ openai: {} });
      const agentDir = await copied("models-store.json");
      const rename = (yaml: string): string => yaml.replace("  seer:", "  watcher:");
      await standIn.withConfig(rename, async () => {
        const env = { ...standIn.env, OPENAI_API_KEY: "k" };
        const { code, stdout, stderr } = await print(agentDir, ["--continue"], env);
        expect([code, stdout, elsewhere]).toEqual([1, "", []]);
        expect(stderr).toContain("this session stays on ai-server/seer");
      });
    });

    test("a thinking level that pi takes away comes back once the model is loaded, and stays in the session", async () => {
      const undeclared = (yaml: string): string => yaml.replace(", thinking: true", "");
      const agentDir = await copied("models-store.json", "ai-server.json");
      const start = (...args: string[]): Promise<RpcPi> =>
        RpcPi.start({ ...options(agentDir), args: ["-e", EXTENSION, ...args] });
      const state = async (pi: RpcPi): Promise<unknown[]> => {
        const { data } = await pi.send({ type: "get_state" });
        return [at(data, "model", "id"), at(data, "thinkingLevel")];
      };
      await standIn.withConfig(undeclared, async () => {
        await standIn.unloadAll();
        const pi = await start("--model", "ai-server/thinker");
        expect(await state(pi)).toEqual(["thinker", "off"]);
        await pi.turn(PROMPT);
        await pi.waitFor((event) => event.type === "thinking_level_changed" && event.level === "medium");
        await pi.close();
        const later = await start("--continue");
        expect(await state(later)).toEqual(["thinker", "medium"]);
        await later.close();
        expect(await readFile(join(agentDir, "settings.json"), "utf8")).toBe('{"retry":{"enabled":false}}');
      });
    });
  });
}
