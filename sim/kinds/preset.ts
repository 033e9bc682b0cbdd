import { quote } from "shlex";
import { type Behaviour, readBehaviour } from "../flags.ts";
import { LlamaError } from "../llama-replies.ts";

/** One section of a router's preset file, with those of `[*]` below its own. */
export interface Section {
  id: string;
  aliases: string[];
  /** The command line that the router starts for it. */
  args: string[];
  /** The section as the router writes it back into `/models`. */
  text: string;
  /** Whether it names a model: a section that does not is still listed, and never finishes loading. */
  hasModel: boolean;
  behaviour: Behaviour;
}

const TRUE = ["true", "on", "1", "enabled"];

/**
 * Reads a `--models-preset` file: keys are llama-server's long flags, or those of `sim/flags.ts`.
 * @throws {LlamaError} 500 for an invalid line
 */
export function readPreset(text: string): Map<string, Section> {
  const sections = new Map<string, Map<string, string>>();
  let current = new Map<string, string>();
  for (const line of text.split(/\r?\n/)) {
    const header = /^\[[ \t]*([^\]]+)\]/.exec(line)?.[1];
    const entry = /^([A-Za-z_][\w.-]*)[ \t]*=[ \t]*(.*?)[ \t]*(?:[;#].*)?$/.exec(line);
    if (header !== undefined) {
      current = sections.get(header) ?? new Map();
      sections.set(header, current);
    } else if (entry) current.set(entry[1] ?? "", entry[2] ?? "");
    else if (!/^[ \t]*([;#].*)?$/.test(line)) {
      throw new LlamaError(500, "server_error", "failed to parse server config file");
    }
  }
  const shared = sections.get("*") ?? new Map<string, string>();
  sections.delete("*");
  return new Map(
    [...sections]
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([id, own]) => [id, readSection(id, new Map([...shared, ...own]))]),
  );
}

function readSection(id: string, keys: Map<string, string>): Section {
  const aliases = (keys.get("alias") ?? "").split(",").map((alias) => alias.trim());
  keys.delete("alias");
  const sorted = [...keys].sort(([a], [b]) => (a < b ? -1 : 1));
  const flags = sorted.flatMap(([key, value]) => [`--${key}`, ...(TRUE.includes(value) ? [] : [value])]);
  const own = ["/usr/bin/llama-server", "--host", "127.0.0.1", "--port", "0", "--alias", id];
  const args = [...own, ...flags];
  const lines = sorted.map(([key, value]) => `${key} = ${TRUE.includes(value) ? "1" : value}\n`);
  return {
    id,
    aliases: aliases.filter((alias) => alias !== "").sort(),
    args,
    text: `[${id}]\n${lines.join("")}\n`,
    hasModel: ["model", "m", "hf-repo", "hf"].some((key) => keys.has(key)),
    behaviour: readBehaviour(args.map(quote).join(" ")),
  };
}
