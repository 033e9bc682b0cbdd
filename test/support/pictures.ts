// `npm run pictures`: the README's pictures, of real pi on the demo's server, in the demo's project.

import { cp, mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { readConfig } from "../../config.ts";
import { Http, readText } from "../../server/http/http.ts";
import { inFolder, writeDemoModels, writeDemoTools } from "../../sim/demo-tools.ts";
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
import { eventually } from "./processes.ts";
import { screenSvg } from "./screen-svg.ts";
import { Terminal } from "./terminal.ts";

const COLUMNS = 100;
const ROWS = { turn: 34, panel: 20, question: 38 };
const IMAGES = join(REPOSITORY, "docs/images");
const MODEL = "Qwen3.6-35B-A3B-Q8_0";
const ON_MODEL = ["-e", EXTENSION, "--model", `ai-server/${MODEL}`];

/** Slow enough that each phase of a turn can be seen. */
const PACE = "--load 5 --prompt-rate 1200 --token-rate 38 --gpu-mb 39840 --n-ctx-train 262144";
const SYSTEM_PROMPT = "word ".repeat(6000);

const QUESTION = "Is a word with a hyphen counted once?";

/** Replaces what the model reads by what the stand-in is to say, so that the screen shows a question and an answer. */
const SCRIPT = `
const READ = 'sim: think The pattern in word_count.py decides that.\\nsim: tool read {"path":"word_count.py","limit":12}';
const SAY = "sim: say Yes. The pattern takes word characters, and then any number of times a hyphen or an apostrophe " +
  "followed by more of them, so well-known is one match. A hyphen between spaces is no part of a word, and two in a row " +
  "end it: one--two counts as two words. test_word_count.py has a test for the first case, but none for the other two. " +
  "I can add them, and a line about both to the README, if you want to rely on that.";
export default (pi) => pi.on("context", ({ messages }) => {
  const isRead = messages.at(-1)?.role === "toolResult";
  const said = { role: "user", content: isRead ? SAY : READ, timestamp: 0 };
  return { messages: isRead ? [...messages, said] : [...messages.slice(0, -1), said] };
});
`;

const SYSTEMCTL = `#!/bin/sh
echo 'LoadState=loaded
ActiveState=active
SubState=running
MainPID=0
ExecStart={ path=/home/ai-server/.local/bin/llama-swap ; argv[]=llama-swap }'
`;

/** A workplace whose home has the server's config where a server has it, and the demo's project. */
async function prepare(workplace: Workplace): Promise<Sim> {
  const dir = join(workplace.home, ".config/llama-swap");
  await mkdir(dir, { recursive: true });
  const config = await readFile(join(REPOSITORY, "sim/demo.yaml"), "utf8");
  const paced = config.replace(/^( {2}"pace": ").*"$/m, `$1${PACE}"`);
  const models = join(workplace.home, "models");
  await writeFile(join(dir, "config.yaml"), inFolder(paced, models));
  writeDemoModels(models);
  await cp(join(REPOSITORY, "sim/demo-project"), join(workplace.home, "word-count"), { recursive: true });
  await writeFile(join(workplace.folder, "script.ts"), SCRIPT);
  const settings = { quietStartup: true, theme: "dark" };
  await writeFile(join(workplace.agentDir, "settings.json"), JSON.stringify(settings));
  const bin = join(workplace.folder, "bin");
  await mkdir(bin);
  // pi would fetch the first two from the internet.
  const tools = { fd: "#!/bin/sh\n", rg: "#!/bin/sh\n", systemctl: SYSTEMCTL };
  for (const [name, text] of Object.entries(tools)) await writeFile(join(bin, name), text, { mode: 0o755 });
  const sim = await startSim({ dir });
  writeDemoTools(bin, sim);
  return sim;
}

async function openPi(sim: Sim, workplace: Workplace): Promise<Terminal> {
  const env = { ...clientEnv(sim), PATH: `${join(workplace.folder, "bin")}:${process.env.PATH}` };
  const options = {
    version: "1.6.0" as const,
    agentDir: workplace.agentDir,
    cwd: join(workplace.home, "word-count"),
    env,
    // Offline nothing would be asked at rest, and the footer would stay empty.
    offline: false,
  };
  await runPi({ ...options, args: ["-e", EXTENSION, "--list-models"] });
  await loadOnce(sim, options);
  // As a file: tmux takes no command of this length.
  await writeFile(join(workplace.agentDir, "APPEND_SYSTEM.md"), SYSTEM_PROMPT);
  const args = [...ON_MODEL, "-e", join(workplace.folder, "script.ts")];
  const terminal = await Terminal.start({
    ...(await piCommand({ ...options, args })),
    columns: COLUMNS,
    rows: ROWS.turn,
  });
  await terminal.waitFor(/no model loaded/);
  return terminal;
}

function clientEnv(sim: Sim): { AI_SERVER_URL: string; AI_SERVER_CERTS_DIR: string } {
  return { AI_SERVER_URL: sim.url, AI_SERVER_CERTS_DIR: sim.certsDir };
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

const SGR = /\p{Cc}\[[\d;:]*m/gu;
const plain = (text: string): string => text.replace(SGR, "").replace(/\p{Cc}\][^\p{Cc}]*\p{Cc}\\?/gu, "");

/** The lines of the first screen that shows `wanted`, each with all of its colours. */
async function shot(terminal: Terminal, wanted: RegExp): Promise<string[]> {
  let screen = "";
  await eventually(
    `the screen shows ${wanted}`,
    async () => {
      screen = await terminal.colors({ spaces: true });
      return wanted.test(plain(screen)) || undefined;
    },
    30_000,
  ).catch((error: Error) => {
    throw new Error(`${error.message}\nThe screen was:\n${plain(screen)}`);
  });
  // tmux writes a colour once, on the line where it begins.
  let before = "";
  return screen.split("\n").map((line) => {
    const whole = `${before}${line}\x1b[0m`;
    before += (line.match(SGR) ?? []).join("");
    return whole;
  });
}

/** One turn from top to bottom: the working line of each phase stands where the turn had come to. */
async function turn(terminal: Terminal): Promise<string[]> {
  const lineOf = async (wanted: RegExp): Promise<string[]> =>
    (await shot(terminal, wanted)).filter((line) => wanted.test(plain(line))).slice(0, 1);
  await terminal.submit(QUESTION);
  const loading = await lineOf(/Loading .* [34] s of about \d+ s/);
  const reading = await lineOf(/Reading prompt · [3-7]\d % .* left/);
  const writing = await shot(terminal, /\d\d tok\/s · [5-8]\d tokens/);
  const from = writing.findIndex((line) => plain(line).includes(QUESTION)) - 1;
  const until = from + 3;
  await terminal.waitFor(new RegExp(`^${MODEL} ready`, "m"));
  const lines = [...writing.slice(from, until), "", ...loading, "", ...reading, ...writing.slice(until)];
  return lines.filter((line, at) => !isBlank(line) || !isBlank(lines[at + 1] ?? ""));
}

/** Whether a line is empty; one of a coloured box has spaces. */
function isBlank(line: string): boolean {
  return plain(line) === "";
}

async function panel(terminal: Terminal): Promise<string[]> {
  await terminal.resize(COLUMNS, ROWS.panel);
  await terminal.submit(`/ai-server ${MODEL}`);
  await terminal.waitFor(/^Memory +needs/m);
  return shot(terminal, /ready +128k +live +\d\d[\s\S]*^.* Answers/m);
}

async function question(terminal: Terminal): Promise<string[]> {
  await terminal.resize(COLUMNS, ROWS.question);
  await terminal.submit(`/ai-server-ctx ${MODEL} 256k`);
  return shot(terminal, /Change and restart/);
}

/** Writes a picture in which the server is a user's, not one of this machine's. */
async function draw(name: string, lines: readonly string[]): Promise<void> {
  const screen = lines.map((line) => line.replace(/https:\/\/127\.0\.0\.1:\d+/g, "https://ai.example.org"));
  await writeFile(join(IMAGES, name), screenSvg(screen.join("\n").trimEnd(), COLUMNS));
}

const workplace = await makeWorkplace();
const sim = await prepare(workplace);
let terminal: Terminal | undefined;
try {
  await mkdir(IMAGES, { recursive: true });
  terminal = await openPi(sim, workplace);
  await draw("turn.svg", await turn(terminal));
  await draw("panel.svg", await panel(terminal));
  await terminal.press("Escape");
  await terminal.waitFor(new RegExp(`^${MODEL} ready`, "m"));
  await draw("question.svg", await question(terminal));
} finally {
  await terminal?.close();
  await sim.close();
  await workplace.remove();
}
