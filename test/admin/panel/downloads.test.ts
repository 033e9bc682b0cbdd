import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { initTheme } from "@earendil-works/pi-coding-agent";
import { beforeAll, expect, test } from "vitest";
import { type AddPlace, startAddPlace } from "../../support/add-place.ts";
import { saying } from "../../support/command-user.ts";
import { Sitter } from "../../support/panel-sitter.ts";
import { eventually } from "../../support/processes.ts";

beforeAll(() => initTheme());

const ESCAPE = "\u001b";
const WREN = "maker/Wren-GGUF:Q4_K_M";

/** Writes down each shell that is started on the server's machine; gives their number so far. */
function countShells({ place, folder }: AddPlace): () => number {
  const log = join(folder, "shells");
  writeFileSync(log, "");
  place.tool("sh", `[ "$1" != -s ] || echo shell >>'${log}'\nexec /bin/sh "$@"`);
  return () => readFileSync(log, "utf8").length / "shell\n".length;
}

async function opened({ place }: AddPlace) {
  const sitter = new Sitter(place);
  const over = sitter.open();
  await sitter.sees(/live · llama-swap/);
  return { sitter, over };
}

/** Begins the download of a model and leaves it running in its middle. */
async function leftRunning(all: AddPlace) {
  const held = all.hub.break("Wren-Q4_K_M.gguf", { holdAfter: 120_000 });
  const user = saying(true, "tui");
  user.confirms = ({ title }) => title.startsWith("Download");
  const typed = all.place.type(`/ai-server-add ${WREN}`, user);
  await user.shows(`Downloading ${WREN}: `);
  await held.happened;
  user.escape();
  await typed;
  return held;
}

test("without any download the panel asks nothing over ssh, until the user does", async () => {
  const all = await startAddPlace();
  const shells = countShells(all);
  const { sitter, over } = await opened(all);
  await sitter.sees(/small +unloaded/);
  expect(shells()).toBe(0);
  sitter.press("d");
  await sitter.sees(/There is no download on the server\./);
  expect(shells()).toBe(1);
  expect(sitter.screen).not.toContain("d download");
  sitter.press(ESCAPE);
  await over;
});

test("a download that was left running is shown at once, also in a later session, and d opens it", async () => {
  const all = await startAddPlace();
  const held = await leftRunning(all);
  const { sitter, over } = await opened(all);
  await sitter.sees(/Downloading maker\/Wren-GGUF:Q4_K_M\n█+░+ 1\d\d(\.\d)? of 195 KiB/);
  expect(sitter.screen).toContain("d download");
  sitter.answers = (title) => (title.startsWith("Stop the download") ? "Leave it running" : undefined);
  sitter.press("d");
  await sitter.sees(/Downloading maker\/Wren-GGUF:Q4_K_M: 1\d\d/);
  expect(sitter.screen).not.toContain("In flight");
  sitter.press(ESCAPE);
  await sitter.sees(/The server goes on with the download/);
  held.end();
  await sitter.sees(/maker\/Wren-GGUF:Q4_K_M\n█+░ downloaded, not in the config/);
  sitter.press(ESCAPE);
  await over;
  // Nothing looks any more.
  const shells = countShells(all);
  await all.downloads.read(all.folder);
  expect(shells()).toBe(1);
});

test("one that is stopped is shown too, and the panel asks no more once there is none", async () => {
  const all = await startAddPlace();
  await leftRunning(all);
  const [state] = await all.downloads.read(all.folder);
  await all.downloads.stop(all.folder, state?.id ?? "");
  const { sitter, over } = await opened(all);
  await sitter.sees(/maker\/Wren-GGUF:Q4_K_M\n█+░+ stopped at \d\d %/);
  sitter.press(ESCAPE);
  await over;
  await all.downloads.clear(all.folder, state?.id ?? "");
  const again = await opened(all);
  await eventually("it is known that there is none", () =>
    all.place.rememberedText.includes('"hasDownloads":false') ? true : undefined,
  );
  expect(again.sitter.screen).not.toContain("maker/");
  again.sitter.press(ESCAPE);
  await again.over;
});
