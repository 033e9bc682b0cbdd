import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { ModelServer } from "../../server/model-server.ts";
import { type Caddy, startCaddy } from "../support/caddy.ts";
import { writeCertificates } from "../support/certificates.ts";
import { fastClock } from "../support/clock.ts";
import { FreezingProxy } from "../support/freezing-proxy.ts";
import { type LlamaServer, llamaServerProblem, startLlamaServer, TINY_ID } from "../support/llama-server.ts";
import { eventually } from "../support/processes.ts";
import { missingProgram, realSuite } from "../support/programs.ts";
import { assistant, model, transcript, user } from "../support/samples.ts";
import { SCRIPTS } from "../support/tiny-model.ts";
import { beginTurn, type RunningTurn } from "../support/turns.ts";
import { clientOf } from "../support/wire.ts";

const LIMIT_MS = 30_000;
/** The waits of a turn are this many times as short. The system's own probes of a connection stay slower than they. */
const CLOCK = fastClock(5);

realSuite(
  missingProgram("caddy") ?? llamaServerProblem(),
  "dead connections to a real llama-server behind real Caddy",
  () => {
    let folder: string;
    let llama: LlamaServer;
    let caddy: Caddy;
    const opened: { close(): Promise<void> }[] = [];

    beforeAll(async () => {
      folder = await mkdtemp(join(tmpdir(), "dead-connection-"));
      await writeCertificates(folder);
      llama = await startLlamaServer({ args: ["-np", "1"] });
      const pem = (name: string) => join(folder, name);
      const files = {
        certificate: pem("server.pem"),
        key: pem("server-key.pem"),
        clientCa: pem("root-ca.pem"),
      };
      caddy = await startCaddy({ ...files, upstream: `127.0.0.1:${llama.port}` });
    });
    afterEach(async () => {
      for (const one of opened.splice(0).reverse()) await one.close();
    });
    afterAll(async () => {
      await caddy?.stop();
      await llama?.stop();
      await rm(folder, { recursive: true, force: true });
    });

    async function place(): Promise<{ proxy: FreezingProxy; begin(text: string): RunningTurn }> {
      const proxy = await FreezingProxy.to(caddy.port);
      const server = new ModelServer({
        ...clientOf(`https://localhost:${proxy.port}`, folder),
        isLoopGuarded: false,
      });
      opened.push(proxy, server);
      const begin = (text: string): RunningTurn => {
        const context = transcript(user("Hello"), assistant("Hi"), user(text));
        // So long that it is not over at once, and so short that its slot is free soon.
        const options = { maxTokens: 2000 };
        return beginTurn(server, { clock: CLOCK, on: model({ id: TINY_ID }), context, options });
      };
      return { proxy, begin };
    }

    test("are found between two turns, and in the midst of an answer, within 30 s", async () => {
      const [between, within] = [await place(), await place()];
      expect((await between.begin("Hello").ended).message.stopReason).toBe("stop");
      expect(between.proxy.freeze()).toBeGreaterThan(0);
      const begun = CLOCK.now();
      const { message, activities } = await between.begin("Hello").ended;
      expect(message.content.at(-1)).toEqual({ type: "text", text: SCRIPTS.text.pieces.join("") });
      expect(CLOCK.now() - begun).toBeLessThan(LIMIT_MS);
      expect(activities).toContainEqual({ kind: "retrying", why: "the connection is dead", delayMs: 1000 });

      const turn = within.begin(SCRIPTS.endless.cue);
      await eventually("the model speaks", () => turn.events.includes("text_delta") || undefined);
      expect(within.proxy.freeze()).toBeGreaterThan(0);
      const frozen = CLOCK.now();
      const ended = await turn.ended;
      expect(ended.message.errorMessage).toMatch(
        /^The answer broke off: the server does not have this request/,
      );
      expect(CLOCK.now() - frozen).toBeLessThan(LIMIT_MS);
    });
  },
);
