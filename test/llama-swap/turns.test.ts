import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type AssistantMessage, createAssistantMessageEventStream } from "@earendil-works/pi-ai";
import { expect, onTestFinished, test } from "vitest";
import { Activities } from "../../activity/activities.ts";
import { AiServer } from "../../provider/ai-server.ts";
import { runTurn } from "../../provider/run-turn.ts";
import { loadModel } from "../../server/load.ts";
import { type LlamaSwap, startLlamaSwap } from "../support/llama-swap.ts";
import { model, transcript, user } from "../support/samples.ts";
import { SCRIPTS } from "../support/tiny-model.ts";

const program = process.env.LLAMA_SWAP ?? "";
const NEVER = new AbortController().signal;
const MODELS = `
healthCheckTimeout: 15
models:
  first: { cmd: "serve --port \${PORT} -c 32768 -np 1" }
  second: { cmd: "serve --port \${PORT} -c 8192 -np 1" }
  slow: { cmd: "/bin/sh -c 'sleep 3; exec $0 $*' serve --port \${PORT}" }
  broken: { cmd: "/bin/sh -c 'echo out of memory \${PORT}; exit 1'" }
  announced: { cmd: "/bin/sh -c 'echo out of memory \${PORT}; exit 1'", sendLoadingState: true }
`;

/** A llama-swap, and a user of pi. */
class Place {
  readonly swap: LlamaSwap;
  readonly aiServer: AiServer;
  readonly activities = new Activities();

  constructor(swap: LlamaSwap, agentDir: string) {
    this.swap = swap;
    const env = { AI_SERVER_URL: swap.url, AI_SERVER_LOOP_GUARD: "off" };
    this.aiServer = new AiServer({ env, agentDir, now: Date.now, onChanged: () => {} });
  }

  /** Runs a turn as pi does; `onText` is called with the first text that comes. */
  async turn(id: string, text: string, onText = () => {}, signal = NEVER): Promise<AssistantMessage> {
    const stream = createAssistantMessageEventStream();
    const on = model({ id, name: id });
    const context = transcript(user(text));
    const running = runTurn(this.aiServer, this.activities, stream, on, context, { signal });
    // As the terminal does, while it shows the activity.
    const looks = setInterval(() => this.activities.front(undefined)?.turn.look(), 100);
    for await (const event of stream) if (event.type === "text_delta") onText();
    clearInterval(looks);
    await running;
    return stream.result();
  }
}

async function open(...args: string[]): Promise<Place> {
  const swap = await startLlamaSwap(program, MODELS, args);
  const agentDir = mkdtempSync(join(tmpdir(), "llama-swap-agent-"));
  const place = new Place(swap, agentDir);
  onTestFinished(async () => {
    await place.aiServer.close();
    await swap.stop();
    rmSync(agentDir, { recursive: true, force: true });
  });
  return place;
}

test("a turn that waits for another's request loads nothing but its own model", async () => {
  const place = await open();
  await place.turn("first", "Hello");
  const end = new AbortController();
  const begun = Promise.withResolvers<void>();
  const others = place.turn("first", SCRIPTS.endless.cue, begun.resolve, end.signal);
  await begun.promise;
  const own = new Place(place.swap, "/nowhere");
  onTestFinished(() => own.aiServer.close());
  const waiting = own.turn("second", "Hello");
  // Until it has looked who keeps the model, and given up hearing.
  setTimeout(() => end.abort(), 5000);
  expect((await waiting).stopReason).toBe("stop");
  await others;
  const { running } = (await (await fetch(`${place.swap.url}/running`)).json()) as { running: unknown[] };
  expect(running).toMatchObject([{ model: "second", state: "ready" }]);
  // What was queued behind it would be served by now.
  await new Promise((resolve) => setTimeout(resolve, 1000));
  expect(place.swap.starts()).toBe(2);
}, 40_000);

test("a turn and a load go on when a reload of the config breaks the load off", async () => {
  const place = await open("-watch-config");
  const server = await place.aiServer.server();
  for (const [number, begin] of [
    () => place.turn("slow", "Hello").then(({ stopReason }) => stopReason),
    () => loadModel(server, "slow", { report: () => {}, signal: NEVER }).then(() => "stop"),
  ].entries()) {
    const ended = begin();
    await new Promise((resolve) => setTimeout(resolve, 1200));
    place.swap.write(`${MODELS}# ${number}\n`);
    expect(await ended).toBe("stop");
    await fetch(`${place.swap.url}/unload`);
  }
}, 60_000);

test.each(["broken", "announced"])(
  "a turn says why %s cannot be loaded",
  async (id) => {
    const place = await open();
    const { stopReason, errorMessage } = await place.turn(id, "Hello");
    expect(stopReason).toBe("error");
    expect(errorMessage).toMatch(/^(broken|announced) could not be loaded: .*exited prematurely/);
  },
  40_000,
);
