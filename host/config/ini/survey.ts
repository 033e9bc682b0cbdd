/** A preset of llama.cpp's router as a whole. Pure. */
import { shown } from "../refusals.ts";
import type { Clash, ConfigSurvey, ModelSurvey } from "../survey.ts";
import { positionAt } from "../traced-text.ts";
import { aliasesOf, iniSettings, iniStart } from "./config.ts";
import { GLOBAL, modelNames, readSections, type Section, sectionOf } from "./sections.ts";

/** @throws {ServerError} that names line and column, where the file is not understood */
export function iniSurvey(text: string): ConfigSurvey {
  const sections = readSections(text);
  const models = iniSettings(text).map((setting): ModelSurvey => {
    const { model: id } = setting;
    return {
      id,
      line: positionAt(text, sectionOf(sections, id)?.start ?? 0).line,
      setting,
      start: iniStart(text, id, []),
      assignments: [],
      isUnlisted: false,
      isOther: false,
      declared: undefined,
      ttl: undefined,
      proxy: undefined,
      fault: undefined,
    };
  });
  return {
    models,
    clashes: [...twice(text, sections), ...aliasClashes(sections)],
    slips: [],
    swap: undefined,
  };
}

/** Of two sections with one name llama.cpp forgets the first. */
function twice(text: string, sections: readonly Section[]): Clash[] {
  const written = sections.filter(({ headerEnd }) => headerEnd > 0);
  const later = written.filter((one, at) => written.findIndex(({ name }) => name === one.name) < at);
  return later.map(({ name, start }) => {
    const what = `Two sections have the name ${name === GLOBAL ? "[*]" : shown(name)}: llama.cpp ignores all before line ${positionAt(text, start).line}.`;
    return { name, what, isFatal: false };
  });
}

function aliasClashes(sections: readonly Section[]): Clash[] {
  const names = modelNames(sections);
  const holders = new Map(names.map((name) => [name, name]));
  return names.flatMap((id) =>
    aliasesOf(sectionOf(sections, id)).flatMap((name): Clash[] => {
      const other = holders.get(name);
      if (other === undefined) holders.set(name, id);
      if (other === undefined || other === id) return [];
      const what = `${shown(name)} is an alias of ${shown(id)}, and ${shown(other)} goes by that name too.`;
      return [{ name, what, isFatal: false }];
    }),
  );
}
