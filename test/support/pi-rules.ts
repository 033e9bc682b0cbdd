/** What pi does with an error, by the rules of both versions that the extension is tried on. */
import { existsSync } from "node:fs";
import { mkdir, mkdtemp, readdir, rename, rm } from "node:fs/promises";
import { dirname, join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import type { AssistantMessage } from "@earendil-works/pi-ai";
import type { Remedy } from "../../lib/errors.ts";
import { npm } from "./npm.ts";
import { runOk } from "./processes.ts";
import { assistant } from "./samples.ts";

/** The two functions of pi's that decide. */
export interface Rules {
  isContextOverflow(message: AssistantMessage, contextWindow?: number): boolean;
  isRetryableAssistantError(message: AssistantMessage): boolean;
}

/** What pi does with an answer that ended in an error of this text. */
export function remedyBy(rules: Rules, errorMessage: string): Remedy {
  const message = assistant([], { stopReason: "error", errorMessage });
  if (rules.isContextOverflow(message, 65_536)) return "compact";
  return rules.isRetryableAssistantError(message) ? "retry" : "none";
}

const OLDER = "1.5.2";
const CACHE = fileURLToPath(new URL("../../node_modules/.cache/", import.meta.url));

/**
 * pi 1.5.2's own functions, out of the published package: that version cannot be installed beside the pinned one.
 *
 * @throws when the package cannot be had from the registry
 */
export async function olderRules(): Promise<Rules> {
  const home = join(CACHE, `pi-ai-${OLDER}`);
  if (!existsSync(join(home, "package", "dist", "utils", "retry.js"))) await unpack(home);
  const load = (name: string): Promise<unknown> =>
    import(/* @vite-ignore */ pathToFileURL(join(home, "package", "dist", "utils", name)).href);
  const [overflow, retry] = await Promise.all([load("overflow.js"), load("retry.js")]);
  return { ...(overflow as object), ...(retry as object) } as Rules;
}

async function unpack(home: string): Promise<void> {
  await mkdir(dirname(home), { recursive: true });
  const temporary = await mkdtemp(join(dirname(home), "unpacking-"));
  try {
    await npm(["pack", `@earendil-works/pi-ai@${OLDER}`, "--pack-destination", temporary], temporary);
    const tarball = (await readdir(temporary)).find((name) => name.endsWith(".tgz"));
    if (tarball === undefined) throw new Error("npm pack left no tarball");
    await runOk("tar", ["-xzf", tarball], { cwd: temporary });
    // Another process may have been quicker; its copy is as good as ours.
    await rename(temporary, home).catch((error: NodeJS.ErrnoException) => {
      if (error.code !== "ENOTEMPTY" && error.code !== "EEXIST") throw error;
    });
  } finally {
    await rm(temporary, { recursive: true, force: true });
  }
}
