/** What a request really gets of each model's context size. Pure. */
import { contextOfCommand } from "../../../host/config/command/server-arguments.ts";
import { type ContextSetting, contextPerSlot } from "../../../host/config/config-file.ts";
import { judgeContext } from "../../../host/probe.ts";
import { changeContext } from "../../context.ts";
import { type Finding, type Fix, warning } from "../finding.ts";
import { allOr, type SeenModel, type Sight } from "./sight.ts";

/** pi's own prompt with its tools takes most of it. */
const LEAST_TOKENS = 8192;

/** Changes a size by the command that shows what it does, asks, and rolls back. */
export function resizing({ id, shown }: Pick<SeenModel, "id" | "shown">, size: number | "max"): Fix {
  return {
    does: `set the context size of ${shown}`,
    async run(call) {
      // It asks by itself, and shows how it ended.
      await changeContext({ ...call, argument: `${id} ${size}` });
      return true;
    },
  };
}

export function* contexts({ models }: Sight): Iterable<Finding> {
  const chat = models.filter(({ isChat, setting }) => isChat && setting.problem === undefined);
  const problems = chat.flatMap((model) => problemOf(model) ?? []);
  yield* allOr(problems, "context", "Context sizes", sizesWords(chat));
}

/** `all of it for one request` or which of them share it. */
function sizesWords(models: readonly SeenModel[]): string {
  const shared = models.flatMap(({ shown, setting }) => {
    const { tokens, slots } = setting;
    if (!tokens || !isDivided(setting)) return [];
    return [
      `${shown}: ${tokens} for ${slots.parallel} slots, ${contextPerSlot(tokens, slots)} for a request`,
    ];
  });
  if (shared.length === 0) return "a request gets all that is set";
  return `a request gets all that is set, but ${shared.slice(0, 5).join("; ")}`;
}

function isDivided({ slots }: ContextSetting): boolean {
  return slots.parallel !== undefined && slots.parallel > 1 && slots.kvUnified !== true;
}

function problemOf(model: SeenModel): Finding | undefined {
  const { setting, declared, facts, shown } = model;
  const { tokens, slots } = setting;
  if (!tokens) return undefined;
  const each = contextPerSlot(tokens, slots);
  const perSlots = isDivided(setting) ? (slots.parallel ?? 1) : 1;
  const found = (seen: string, next: string, size: number | "max"): Finding =>
    warning(
      "context",
      `Context of ${shown}`,
      seen,
      `${next} (/ai-server-ctx ${shown} ${size})`,
      resizing(model, size),
    );
  const divided =
    perSlots > 1 ? `--parallel ${perSlots} leaves a request ${each} of its ${tokens} tokens` : "";
  const isCapped = slots.perSlot === each;
  const capped = `--kv-unified-per-slot gives a request ${each} tokens`;
  const gets = isCapped ? capped : divided === "" ? `a request gets ${each} tokens` : divided;
  if (declared !== undefined && declared > each) {
    const seen = `${gets}, and capabilities.context says ${declared}: pi fills more than there is`;
    // A limit for each slot stays, whatever the size; and a figure that equals the size stays equal to it.
    if (isCapped || declared === tokens)
      return warning("context", `Context of ${shown}`, seen, `Set capabilities.context to ${each}.`);
    return found(seen, "Correct capabilities.context, or the size", declared * perSlots);
  }
  const trained = facts?.trainedContext?.value;
  if (trained !== undefined && each > trained && !isStretched(model)) {
    const seen = `set to ${each} tokens for a request, and trained for ${trained}: it gets no more, or answers worse beyond that`;
    return found(seen, "Set what it was trained for", trained * perSlots);
  }
  if (each >= LEAST_TOKENS) return undefined;
  const seen = `${gets}: pi's own prompt and tools take most of that`;
  if (isCapped)
    return warning("context", `Context of ${shown}`, seen, "Raise --kv-unified-per-slot, or leave it out.");
  return found(seen, "Set a larger one", 32_768 * perSlots);
}

/** Whether its command makes the model read more than it was trained for. */
function isStretched({ start }: SeenModel): boolean {
  return start?.flags.some(({ name }) => /^(rope-|yarn-|override-kv$)/.test(name)) === true;
}

/** Whether what is loaded has what the file gives it. */
export function* loadedContexts({ models, isPreset }: Sight): Iterable<Finding> {
  const loaded = models.filter(({ running, isChat }) => isChat && running?.state === "ready");
  if (loaded.length === 0) return;
  const problems = loaded.flatMap((model) => loadedProblem(model, isPreset) ?? []);
  yield* allOr(problems, "context-live", "Loaded models", "each has the context that the file gives it");
}

function loadedProblem(model: SeenModel, isPreset: boolean): Finding | undefined {
  const { setting, running, facts, shown } = model;
  const line = running?.commandLine;
  if (!setting.tokens || line === undefined) return undefined;
  const now = contextOfCommand(line);
  if (now !== undefined && now !== setting.tokens) {
    const reads = isPreset ? "/ai-server-refresh" : "/ai-server-restart";
    const seen = `runs with ${now} tokens, and the file says ${setting.tokens}`;
    const next = `Load it again; if that gives ${now} again, ${reads} makes the server read the file.`;
    return warning("context-live", `Loaded ${shown}`, seen, next);
  }
  const { value, source } = facts?.context ?? {};
  if (source !== "live" && source !== "last seen") return undefined;
  const live = { tokens: value, trained: facts?.trainedContext?.value };
  const { kind, expected, why } = judgeContext(setting.tokens, line, live, setting.slots);
  // The file asks for more than the model was trained for: the check of the sizes says so.
  if (kind !== "less" || (live.trained ?? expected) < expected) return undefined;
  const seen = `a request may use ${value} tokens, and the file gives it ${expected}: ${why}`;
  const next = `Set a size that fits: /ai-server-ctx ${shown} max.`;
  return warning("context-live", `Loaded ${shown}`, seen, next, resizing(model, "max"));
}

/** A size on the router's own command line, which wins over every section. */
export function* routerContext({ models, unit, config }: Sight): Iterable<Finding> {
  const words = unit?.commandLine;
  if (words === undefined) return;
  const at = words.findLastIndex((word) => /^(-c|--ctx-size)(=|$)/.test(word));
  const flag = words[at];
  const value = flag?.includes("=") ? flag.slice(flag.indexOf("=") + 1) : words[at + 1];
  const capped = models.filter(({ setting: { tokens } }) => tokens && String(tokens) !== value);
  const subject = "The router's own command";
  const ids = new Intl.ListFormat("en-GB").format(capped.slice(0, 5).map(({ shown }) => shown));
  const seen = `${flag} ${value} in ${config.serviceUnit} overrides the ctx-size of ${ids}`;
  const next = `Take it out of the unit's ExecStart, then "systemctl --user daemon-reload" and /ai-server-restart.`;
  yield* allOr(
    flag === undefined || capped.length === 0 ? [] : [warning("router-context", subject, seen, next)],
    "router-context",
    subject,
    "no size in it overrides the preset",
  );
}
