import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { parse } from "yaml";
import { blocksOf, DOCS, docsBlock, docsPages, headingAnchors, readPage } from "../support/docs.ts";

const ROOT = join(DOCS, "..");

function textsOf(folder: string, pattern: RegExp): string {
  return readdirSync(join(ROOT, folder))
    .filter((name) => pattern.test(name))
    .map((name) => readFileSync(join(ROOT, folder, name), "utf8"))
    .join("\n");
}

const README = readFileSync(join(ROOT, "README.md"), "utf8");
const ALL_PAGES = docsPages().map(readPage).join("\n");

/** Everything but code blocks. */
const proseOf = (page: string): string => readPage(page).replace(/^( *)```[\s\S]*?^\1```$/gm, "");

describe("every code block", () => {
  const tests = `${textsOf("test/docs", /\.test\.ts$/)}\n${textsOf("test/real", /^docs.*\.test\.ts$/)}`;

  test.each(docsPages().flatMap(blocksOf))("$page:$line is tried, or says that it is not", (block) => {
    const { page, line, name, excuse } = block;
    expect(name ?? excuse, "has a mark above it").toBeDefined();
    if (name !== undefined) {
      expect(tests.includes(`"${name}"`), "is asked for by a test").toBe(true);
      return;
    }
    const above = readPage(page)
      .split("\n")
      .slice(0, line - 2)
      .join("\n");
    const paragraph = above
      .trimEnd()
      .split(/\n\s*\n/)
      .at(-1)
      ?.replace(/\s+/g, " ");
    expect(paragraph, "says so where it is read").toContain("not tried here");
  });

  test("has a name of its own", () => {
    const names = docsPages().flatMap((page) => blocksOf(page).flatMap(({ name }) => name ?? []));
    expect(names.filter((name, at) => names.indexOf(name) !== at)).toEqual([]);
  });
});

describe("links", () => {
  const links = [...docsPages(), "../README.md"].flatMap((page) =>
    [...proseOf(page).matchAll(/\]\(([^)\s]+)\)/g)].map(([, target = ""]) => [page, target] as const),
  );

  test.each(links.filter(([, target]) => !/^https:/.test(target)))("of %s to %s", (page, target) => {
    const [file = "", anchor] = target.split("#");
    const path = file === "" ? join(DOCS, page) : join(DOCS, page, "..", file);
    expect(existsSync(path)).toBe(true);
    if (anchor !== undefined) expect(headingAnchors(readFileSync(path, "utf8"))).toContain(anchor);
  });

  test("lead from the first page to all others", () => {
    const others = docsPages().filter((page) => page !== "README.md");
    for (const page of others) expect(readPage("README.md")).toContain(`](${page})`);
  });
});

describe("names", () => {
  /** The text of all sources of a folder, and of the folders in it. */
  const sources = (folder: string): string =>
    readdirSync(join(ROOT, folder), { recursive: true, encoding: "utf8" })
      .filter((name) => name.endsWith(".ts"))
      .map((name) => readFileSync(join(ROOT, folder, name), "utf8"))
      .join("\n");
  const variables = (text: string) => [...new Set(text.match(/AI_SERVER_[A-Z_]*[A-Z]/g))].sort();
  const commands = (text: string) => [...new Set(text.match(/(?<=[`/"])ai-server-[a-z]+\b/g))].sort();
  const config = readFileSync(join(ROOT, "config.ts"), "utf8");

  test("every variable that is named exists, and every one that exists is named", () => {
    expect(variables(ALL_PAGES).filter((name) => !config.includes(name))).toEqual([]);
    expect(variables(config).filter((name) => !`${README}${ALL_PAGES}`.includes(name))).toEqual([]);
  });

  test("the defaults of the variables for administration are the ones of the code", async () => {
    const { DEFAULTS } = await import("../../config.ts");
    const rows = [
      ...readPage("administration.md").matchAll(/^\| `(AI_SERVER_\w+)`\s*\| (?:`([^`]+)`|none)\s*\|/gm),
    ];
    expect(rows.length).toBeGreaterThanOrEqual(7);
    for (const [, name = "", value] of rows) {
      const known = Object.entries(DEFAULTS).find(([key]) => key === name)?.[1];
      expect([name, value]).toEqual([name, known === undefined ? undefined : String(known)]);
    }
  });

  test("the table of variables has each one with the default of the code", async () => {
    const { DEFAULTS } = await import("../../config.ts");
    const rows = [
      ...readPage("variables.md").matchAll(/^\| (`AI_SERVER_\w+`(?:, `AI_SERVER_\w+`)?) *\| (.+?) *\|/gm),
    ];
    const inTicks = (cell = ""): string[] => [...cell.matchAll(/`([^`]+)`/g)].map(([, text = ""]) => text);
    const shown = rows.flatMap(([, names, values]) =>
      inTicks(names).map((name, at): [string, string | undefined] => [name, inTicks(values)[at]]),
    );
    const known: Record<string, string | number> = { AI_SERVER_CERTS_DIR: "~/.pi/agent/certs", ...DEFAULTS };
    expect(shown.map(([name]) => name).sort()).toEqual(variables(config));
    expect(shown).toEqual(shown.map(([name]) => [name, known[name]?.toString()]));
  });

  test("every command that is named exists, and every one that exists is named", () => {
    const known = commands(`${textsOf(".", /^(index|admin)\.ts$/)}\n${sources("admin")}`);
    const scripts = ["ai-server-admin", "ai-server-download", "ai-server-examine", "ai-server-ca"];
    const named = commands(`${README}${ALL_PAGES}`).filter((name) => !scripts.includes(name));
    expect(named).toEqual(known);
  });

  test("every message that is quoted as this extension's is one", () => {
    const folders = ["server", "host", "lib", "ui", "admin", "provider", "session", "stream", "messages"];
    const all = `${textsOf(".", /\.ts$/)}\n${folders.map(sources).join("\n")}`;
    const foreign = [
      "No API key found for ai-server",
      "[no model path]",
      'no default model is configured for provider "ai-server"',
    ];
    const quoted = [...readPage("troubleshooting.md").matchAll(/^\| (.+?) \| /gm)]
      .flatMap(([, cell = ""]) => [...cell.matchAll(/`([^`]+)`/g)].map(([, message = ""]) => message))
      .filter((message) => message.includes(" ") && !foreign.includes(message));
    expect(quoted.length).toBeGreaterThan(25);
    // A name that the sentence puts in stands as … here and as ${…} there.
    const missing = quoted
      .flatMap((message) => message.split("…").map((piece) => piece.trim()))
      .filter((piece) => piece !== "" && !all.includes(piece));
    expect(missing).toEqual([]);
  });
});

test("the README's pictures are there, whole and small", () => {
  const pictures = [...README.matchAll(/!\[[^\]]+\]\(([^)]+)\)/g)].map(([, path = ""]) => path);
  expect(pictures).toEqual(["docs/images/turn.svg", "docs/images/panel.svg", "docs/images/question.svg"]);
  for (const path of pictures) {
    const svg = readFileSync(join(ROOT, path), "utf8");
    expect(svg).toMatch(/^<svg [\s\S]*<text [\s\S]*<\/svg>\n$/);
    expect(svg.length).toBeLessThan(60_000);
  }
});

test("the README fits into 200 lines", () => {
  expect(README.trimEnd().split("\n").length).toBeLessThanOrEqual(200);
});

test("the working lines on the page are in the program's words", () => {
  const shown = docsBlock("waiting.md", "working-line");
  const known = readdirSync(join(ROOT, "activity")).map((name) =>
    readFileSync(join(ROOT, "activity", name), "utf8"),
  );
  const pieces = [
    "Waiting for ",
    "which answers ",
    "The server is restarting (",
    "Loading ",
    " of about ",
  ].concat(["Reading prompt · ", " cached)", " tok/s", " left", "No answer for ", "the server is stopping "]);
  for (const piece of pieces) {
    expect(shown).toContain(piece);
    expect(known.join("\n")).toContain(piece);
  }
});

test("no unit holds what does not belong into one of a user's", () => {
  for (const name of ["unit", "router-unit"]) {
    expect(docsBlock("server.md", name)).not.toMatch(
      /^(User|Group|LimitMEMLOCK_BYTES)=|network\.target|multi-user\.target/m,
    );
  }
});

test("the router's command line has no context size", () => {
  expect(docsBlock("server.md", "router-unit")).not.toMatch(/ (-c|--ctx-size)\b/);
});

test("docker compose mounts the certificates read-only where the Caddyfile has them", () => {
  const compose: unknown = parse(docsBlock("caddy.md", "compose"));
  expect(compose).toEqual({
    services: {
      caddy: {
        image: "caddy:2",
        restart: "unless-stopped",
        ports: ["443:443"],
        volumes: [
          "./conf:/etc/caddy:ro",
          "./certs:/etc/caddy/certs:ro",
          "caddy_data:/data",
          "caddy_config:/config",
        ],
      },
    },
    volumes: { caddy_data: null, caddy_config: null },
  });
  for (const name of ["caddyfile", "caddyfile-2.6"]) {
    const paths = docsBlock("caddy.md", name).match(/\/\S+\.pem/g) ?? [];
    expect(paths).toHaveLength(3);
    for (const path of paths) expect(path).toMatch(/^\/etc\/caddy\/certs\/[\w-]+\.pem$/);
  }
});
