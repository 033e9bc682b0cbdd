import type { ModelStart } from "../command/model-start.ts";
import { GLOBAL, modelNames, readSections, sectionOf } from "./sections.ts";

/**
 * What a router starts for a model of its preset: itself, with the values of `[*]` and of the model's own section. Keys
 * are flags without their dashes, or the variables of flags.
 *
 * @param router the words of the router's own command line, the program first
 * @throws {ServerError} where the file is not understood
 */
export function iniStart(text: string, id: string, router: readonly string[]): ModelStart | undefined {
  const sections = readSections(text);
  if (!modelNames(sections).includes(id)) return undefined;
  const entries = [GLOBAL, id].flatMap((name) => sectionOf(sections, name)?.entries ?? []);
  const variables = entries.filter(({ key }) => /^[A-Z]/.test(key));
  const path = router[0] ?? "llama-server";
  return {
    path,
    name: path.replace(/^.*\//, ""),
    kind: "llama-server",
    place: undefined,
    isInScript: false,
    flags: entries
      .filter((entry) => !variables.includes(entry))
      .map(({ key, value }) => ({ name: key, value })),
    environment: variables.map(({ key, value }) => `${key}=${value}`),
  };
}
