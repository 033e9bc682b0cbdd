/** How a model's thinking is controlled, and what the owner of a server declares of it. Pure. */
import { type JsonRecord, record, text, texts } from "../../lib/json.ts";
import { EFFORTS, type Thinking } from "../../lib/thinking.ts";

const MOST_LEVELS = 20;
const LEVEL = /^[\w-]{1,20}$/;
const VARIABLE = /^[A-Za-z_]\w{0,40}$/;

/**
 * What the metadata of a model declares.
 *
 * @param live what the loaded model's template tells: it knows the variable for what is declared
 */
export function declaredThinking(
  metadata: JsonRecord | undefined,
  live: Thinking | undefined,
): Thinking | undefined {
  const declared = parseDeclared(metadata);
  if (declared === undefined || declared.kind !== live?.kind) return declared;
  return declared.kind === "effort" ? { ...live, ...declared } : live;
}

function parseDeclared(metadata: JsonRecord | undefined): Thinking | undefined {
  const thinking = metadata?.thinking ?? metadata?.reasoning;
  const levels = levelsIn(metadata?.thinking_levels);
  if (levels.length > 0) return { kind: "effort", levels };
  if (thinking === true || thinking === "switch") return { kind: "switch" };
  if (thinking === false || thinking === "none") return { kind: "none" };
  if (thinking === "effort") return { kind: "effort", levels: EFFORTS };
  if (thinking === "budget" || thinking === "always") return { kind: thinking };
  return undefined;
}

function levelsIn(value: unknown): string[] {
  return texts(value)
    .filter((level) => LEVEL.test(level))
    .slice(0, MOST_LEVELS);
}

/** Reads what an earlier start stored; what is not of the right shape is unknown. */
export function restoredThinking(stored: unknown): Thinking | undefined {
  const thinking = record(stored);
  const kind = text(thinking?.kind);
  if (kind === "none" || kind === "always") return { kind };
  const variable = variableIn("variable", thinking?.variable);
  if (kind === "switch" || kind === "budget") return { kind, ...variable };
  const levels = levelsIn(thinking?.levels);
  if (kind !== "effort" || levels.length === 0) return undefined;
  return { kind, levels, ...variable, ...variableIn("switch", thinking?.switch) };
}

/** The name goes into requests as a key, so that nothing but a name will do. */
function variableIn<K extends string>(key: K, value: unknown): { [name in K]?: string } {
  const name = text(value);
  return name === undefined || !VARIABLE.test(name) ? {} : ({ [key]: name } as { [name in K]?: string });
}
