import { spawnSync } from "node:child_process";
import { pathToFileURL } from "node:url";
import { REPOSITORY } from "./pi.ts";

export interface Written {
  stdout: string;
  stderr: string;
}

const END = "\u0000";

/**
 * What each script writes to the two descriptors, which cannot be watched from inside. One process runs them all, one
 * after another: starting it and loading pi takes far longer than they do.
 *
 * @param path of a module; the scripts use its exports as `module`
 */
export function writtenByEach(path: string, scripts: readonly string[]): Written[] {
  const module = pathToFileURL(`${REPOSITORY}/${path}`).href;
  const mark = `for (const stream of [process.stdout, process.stderr]) stream.write(${JSON.stringify(END)});`;
  const all = scripts.map((script) => `{ ${script} }\n${mark}`).join("\n");
  const code = `import * as module from ${JSON.stringify(module)};\n${all}`;
  const args = ["--no-warnings", "--input-type=module", "-e", code];
  const { stdout, stderr, status } = spawnSync(process.execPath, args, { encoding: "utf8" });
  const [out, errors] = [stdout.split(END), stderr.split(END)];
  // The last piece follows the last mark.
  if (status !== 0 || out.pop() !== "" || errors.pop() !== "")
    throw new Error(`it ended with ${status}: ${stderr}`);
  return scripts.map((_, at) => ({ stdout: out[at] ?? "", stderr: errors[at] ?? "" }));
}
