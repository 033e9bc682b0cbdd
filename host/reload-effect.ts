/** What becomes of a server's models when it reads another text of its configuration without a restart. Pure. */

import { contextOfCommand } from "./config/command/running-command.ts";
import { type ConfigFormat, findContext } from "./config/config-file.ts";
import { changedModels } from "./config/ini/presets.ts";
import type { Expected } from "./steps.ts";

export interface ReloadEffect {
  /** The models that are unloaded; undefined where that cannot be told, as of a text that is not understood. */
  readonly changed: readonly string[] | undefined;
  /** By which of them it can be seen that the server has read the text. */
  readonly expected: readonly Expected[];
}

export function reloadEffect(before: string, after: string, format: ConfigFormat): ReloadEffect {
  if (format !== "ini") return { changed: undefined, expected: [] };
  try {
    const changed = changedModels(before, after);
    return { changed, expected: changed.flatMap((id) => expectedOf(before, after, id)) };
  } catch {
    return { changed: undefined, expected: [] };
  }
}

/** A model whose context size is set anew shows that on its command line. */
function expectedOf(before: string, after: string, id: string): Expected[] {
  const [old, tokens] = [before, after].map((text) => sizeIn(text, id));
  if (tokens === undefined || tokens === old) return [];
  return [{ id, isNew: (commandLine) => (contextOfCommand(commandLine) ?? tokens) === tokens }];
}

function sizeIn(text: string, id: string): number | undefined {
  try {
    return findContext(text, "ini", id).tokens;
  } catch {
    return undefined;
  }
}
