import { writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { pathToFileURL } from "node:url";
import { afterAll, beforeAll, expect, test } from "vitest";
import { readConfig } from "../../config.ts";
import { Http, readText } from "../../server/http/http.ts";
import { type Sim, startSim } from "../../sim/server.ts";
import { enter } from "../support/admin-terminal.ts";
import { EventRelay } from "../support/event-relay.ts";
import { EXTENSION, makeWorkplace, NEWEST_PI, piCli, piProblem, type Workplace } from "../support/pi.ts";
import { openPi, storeModels } from "../support/pi-terminal.ts";
import { eventually } from "../support/processes.ts";
import { missingProgram, realSuite } from "../support/programs.ts";
import type { Terminal } from "../support/terminal.ts";

const CMD = `llama-server --port \${PORT} --no-reasoning`;
const CONFIG = `
models:
  quick: { cmd: "${CMD} --load 0.2 -c 16384", metadata: { context_length: 16384 } }
  slow: { cmd: "${CMD} --load 3 -c 65536", metadata: { context_length: 65536 } }
`;

/** llama-swap keeps as much of each of its two logs, and sends both to each client that follows its events. */
const HISTORY_BYTES = 100 * 1024;
const LONG = 8000;

/** Contrast below this cannot be read well (WCAG 2.1 asks for 3 at least); pi 1.6 gives its own dim text 3.25. */
const LEAST_CONTRAST = 3;

const problem = (await piProblem(NEWEST_PI)) ?? missingProgram("tmux");
realSuite(problem, `the panel on a light theme, behind a way that breaks the events, pi ${NEWEST_PI}`, () => {
  let sim: Sim;
  let relay: EventRelay;
  let place: Workplace;
  let terminal: Terminal;

  beforeAll(async () => {
    sim = await startSim({ config: CONFIG, tls: "none" });
    relay = await EventRelay.to(sim.port);
    place = await makeWorkplace();
    await writeFile(join(place.agentDir, "settings.json"), JSON.stringify({ theme: "light" }));
    // Offline nothing would be asked at rest, and the footer would stay empty.
    const env = { AI_SERVER_URL: relay.url };
    const options = { version: NEWEST_PI, agentDir: place.agentDir, env, offline: false };
    await storeModels(options);
    terminal = await openPi({ ...options, args: ["-e", EXTENSION, "--model", "ai-server/slow"] });
    await terminal.waitFor(/no model loaded/);
  });
  afterAll(async () => {
    await terminal?.close();
    await relay?.close();
    await sim?.close();
    await place?.remove();
  });

  /** As another client of the same server. */
  async function get(path: string): Promise<void> {
    const http = new Http(readConfig({ AI_SERVER_URL: sim.url }, {}, place.folder));
    try {
      await readText((await http.request({ method: "GET", path })).body, 10_000);
    } finally {
      await http.close();
    }
  }

  /** The colours of pi's own light theme, as pi itself resolves them. */
  async function lightTheme(): Promise<(name: string) => string> {
    const file = join(dirname(dirname(await piCli(NEWEST_PI))), "modes/interactive/theme/theme.js");
    const theme = (await import(/* @vite-ignore */ pathToFileURL(file).href)) as {
      getResolvedThemeColors(name: string): Record<string, string>;
    };
    const colours = theme.getResolvedThemeColors("light");
    return (name) => colours[name] ?? "";
  }

  test("working line, footer, panel and question have the light theme's colours and no others, and can be read", async () => {
    const light = await lightTheme();
    const coloursOf = async (wanted: RegExp): Promise<Set<string> | undefined> => {
      await terminal.waitFor(wanted);
      const [plain, coloured] = [await terminal.screen(), await terminal.colors()];
      return coloursByLine(coloured)[plain.split("\n").findIndex((line) => wanted.test(line))];
    };
    await terminal.submit("sim: say Hello.");
    // The rule that the line stands in is pi's own.
    expect(await coloursOf(/Loading slow · \d s/)).toEqual(new Set([light("thinkingOff"), light("muted")]));
    await terminal.waitFor(/^ *Hello\./m);
    expect(await coloursOf(/^slow ready · 64k/m)).toEqual(new Set([light("dim")]));
    await enter(terminal, "/ai-server quick");
    await terminal.waitFor(/slow \(in pi\) +ready[\s\S]*→ quick +unloaded/);
    await terminal.press("Enter");
    await terminal.waitFor(/Loading quick[\s\S]*Host memory|quick is loaded[\s\S]*Host memory/);
    await terminal.waitFor(/quick is loaded; it took/);
    const colours = new Set(coloursByLine(await terminal.colors()).flatMap((line) => [...line]));
    const wanted = ["accent", "success", "muted", "dim"].map(light);
    expect([...colours].toSorted()).toEqual(wanted.toSorted());
    for (const colour of [...wanted, light("warning"), light("error")])
      expect(contrastOnWhite(colour), colour).toBeGreaterThan(LEAST_CONTRAST);
    await terminal.press("Escape");
    await terminal.waitUntil("the panel has gone", (screen) => !screen.includes("In flight"));
    await enter(terminal, "/ai-server-unload");
    await terminal.waitFor(/^Unload every model\?[\s\S]*escape no$/m);
    const asked = new Set(coloursByLine(await terminal.colors()).flatMap((line) => [...line]));
    expect(asked.size).toBeGreaterThan(1);
    expect(wanted).toEqual(expect.arrayContaining([...asked]));
    await terminal.press("Enter");
    await terminal.waitFor(/Nothing was unloaded\./);
  });

  test("200 kB of history and events that break off in a frame: the panel is right, and pi goes on", async () => {
    for (let bytes = 0; bytes <= HISTORY_BYTES; bytes += LONG)
      await get(`/upstream/quick/${"x".repeat(LONG)}`);
    const [bytes, asked] = [relay.bytes, relay.asked];
    await enter(terminal, "/ai-server");
    await terminal.waitFor(/^AI server · live[\s\S]*quick +ready/);
    await eventually("the history has come", () => relay.bytes - bytes > 2 * HISTORY_BYTES || undefined);
    relay.cutNext();
    await get("/upstream/slow/health");
    await terminal.waitFor(/slow \(in pi\) +ready[\s\S]*quick +unloaded/);
    const screen = await terminal.waitFor(/^AI server · live/);
    expect(screen).not.toMatch(/x{20}|Working|NaN|undefined|Error/);
    expect(relay.asked).toBeGreaterThanOrEqual(asked + 2);
    await terminal.press("Escape");
    await terminal.waitUntil("the panel has gone", (now) => !now.includes("In flight"));
    await enter(terminal, "sim: say Still here.");
    await terminal.waitFor(/^ *Still here\./m);
    await terminal.press("C-d");
    expect(await terminal.exitCode()).toBe(0);
    await eventually("every connection is closed", () => relay.connections === 0 || undefined);
  });
});

/** The colours of the text on each line: `#rrggbb`, or the bare code of what is no colour of a theme's. */
function coloursByLine(screen: string): Set<string>[] {
  let colour: string | undefined;
  return screen.split("\n").map((line) => {
    const colours = new Set<string>();
    for (const part of line.split(/(\p{Cc}\[[\d;:]*m)/u)) {
      if (!part.startsWith("\x1b")) {
        if (colour !== undefined && part.trim() !== "") colours.add(colour);
        continue;
      }
      const codes = part.slice(2, -1).split(/[;:]/);
      const [kind, space, ...rgb] = codes.slice(codes[0] === "1" ? 1 : 0);
      if (kind === "38" && space === "2") colour = hex(rgb);
      else if (["0", "39", ""].includes(kind ?? "")) colour = undefined;
      // Neither the end of bold nor of a background.
      else if (kind !== undefined && kind !== "22" && kind !== "49") colour = codes.join(";");
    }
    return colours;
  });
}

function hex(parts: readonly string[]): string {
  return `#${parts.map((part) => Number(part).toString(16).padStart(2, "0")).join("")}`;
}

/** By WCAG 2.1: from 1 for white to 21 for black. */
function contrastOnWhite(colour: string): number {
  const [red = 0, green = 0, blue = 0] = [1, 3, 5].map((at) => {
    const value = Number.parseInt(colour.slice(at, at + 2), 16) / 255;
    return value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
  });
  return 1.05 / (0.2126 * red + 0.7152 * green + 0.0722 * blue + 0.05);
}
