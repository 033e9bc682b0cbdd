// `npm run pictures`: the README's pictures, of real pi on the stand-in.
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { readConfig } from "../../config.ts";
import { Http, readText } from "../../server/http/http.ts";
import { type Sim, startSim } from "../../sim/server.ts";
import {
  EXTENSION,
  makeWorkplace,
  type PiOptions,
  piCommand,
  REPOSITORY,
  runPi,
  type Workplace,
} from "./pi.ts";
import { screenSvg } from "./screen-svg.ts";
import { Terminal } from "./terminal.ts";

const COLUMNS = 100;
const ROWS = 24;
const IMAGES = join(REPOSITORY, "docs/images");
const MODEL = "Qwen3.6-35B";

const COMMAND = `llama-server --port \${PORT} --no-reasoning --token-rate 38 --prompt-rate 1200`;
const ON_MODEL = ["-e", EXTENSION, "--model", `ai-server/${MODEL}`];

const CONFIG = `
models:
  ${MODEL}:
    cmd: ${COMMAND} --load 5 -m /models/qwen.gguf --ctx-size 131072
    ttl: 1800
    metadata: { context_length: 131072 }
  MiniMax-M2.7:
    cmd: ${COMMAND} --load 5 -m /models/minimax.gguf --ctx-size 65536
    metadata: { context_length: 65536 }
  gemma-4-31B:
    cmd: ${COMMAND} --load 5 -m /models/gemma.gguf --ctx-size 32768
    metadata: { context_length: 32768 }
`;

/** Long enough that reading it can be seen. */
const SYSTEM_PROMPT = "word ".repeat(6000);

async function openPi(sim: Sim, workplace: Workplace): Promise<Terminal> {
  const bin = join(workplace.folder, "bin");
  await mkdir(bin);
  // pi would fetch these two from the internet.
  for (const name of ["fd", "rg"]) await writeFile(join(bin, name), "#!/bin/sh\n", { mode: 0o755 });
  const env = { ...clientEnv(sim), PATH: `${bin}:${process.env.PATH}` };
  // Offline nothing would be asked at rest, and the footer would stay empty.
  const options = {
    version: "1.6.0" as const,
    agentDir: workplace.agentDir,
    env,
    offline: false,
  };
  await runPi({ ...options, args: ["-e", EXTENSION, "--list-models"] });
  await loadOnce(sim, options);
  // As a file: tmux takes no command of this length.
  await writeFile(join(workplace.agentDir, "APPEND_SYSTEM.md"), SYSTEM_PROMPT);
  const terminal = await Terminal.start({
    ...(await piCommand({ ...options, args: ON_MODEL })),
    columns: COLUMNS,
    rows: ROWS,
  });
  await terminal.waitFor(/no model loaded/);
  return terminal;
}

function clientEnv(sim: Sim): { AI_SERVER_URL: string; AI_SERVER_CERTS_DIR: string } {
  return { AI_SERVER_URL: sim.url, AI_SERVER_CERTS_DIR: sim.certsDir };
}

/** The line of the screen that matches, once there is one, with its colours. */
async function lineOf(terminal: Terminal, wanted: RegExp): Promise<string> {
  await terminal.waitFor(wanted);
  const [plain, colored] = [(await terminal.screen()).split("\n"), (await terminal.colors()).split("\n")];
  const at = plain.findIndex((line) => wanted.test(line));
  // tmux tells a colour once, on whichever line it begins.
  const before =
    colored
      .slice(0, at)
      .join("")
      .match(/\p{Cc}\[[\d;:]*m/gu) ?? [];
  return before.join("") + (colored[at] ?? "");
}

/** A turn before the picture, so that how long the load takes is known in it. */
async function loadOnce(sim: Sim, options: Omit<PiOptions, "args">): Promise<void> {
  await runPi({ ...options, args: [...ON_MODEL, "-p", "sim: tokens 20"] });
  const http = new Http(readConfig(clientEnv(sim), {}, "/nowhere"));
  try {
    const { body } = await http.request({ method: "POST", path: "/api/models/unload" });
    await readText(body, 1000);
  } finally {
    await http.close();
  }
}

async function workingLine(terminal: Terminal): Promise<string> {
  await terminal.submit("sim: tokens 200");
  const lines = [
    await lineOf(terminal, /Loading .* [34] s of about \d+ s/),
    await lineOf(terminal, /Reading prompt · [3-7]\d % .* left/),
    await lineOf(terminal, /3\d tok\/s · \d{3} tokens/),
  ];
  const rest = await lineOf(terminal, new RegExp(`^${MODEL} ready`, "m"));
  return [...lines, rest].join("\x1b[0m\n\n");
}

async function panel(terminal: Terminal): Promise<string> {
  await terminal.submit(`/ai-server ${MODEL}`);
  await terminal.waitFor(/In flight: nothing/);
  await terminal.waitFor(/Host memory/);
  return terminal.colors();
}

async function draw(name: string, screen: string): Promise<void> {
  await writeFile(join(IMAGES, name), screenSvg(screen, COLUMNS));
}

const [sim, workplace] = await Promise.all([startSim({ config: CONFIG }), makeWorkplace()]);
let terminal: Terminal | undefined;
try {
  await mkdir(IMAGES, { recursive: true });
  terminal = await openPi(sim, workplace);
  await draw("working-line.svg", await workingLine(terminal));
  await draw("panel.svg", await panel(terminal));
} finally {
  await terminal?.close();
  await sim.close();
  await workplace.remove();
}
