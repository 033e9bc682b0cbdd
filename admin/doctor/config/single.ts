/** One llama-server has no config: the command line of its unit takes its place. */
import { quote } from "shlex";
import { type ModelStart, startOfCommand } from "../../../host/config/command/model-start.ts";
import { contextOfCommand } from "../../../host/config/command/server-arguments.ts";
import { judgeContext } from "../../../host/probe.ts";
import { ServerError, sentenceOf } from "../../../lib/errors.ts";
import { type Finding, fault, ok, unchecked, warning } from "../finding.ts";
import type { Visit } from "../visit.ts";
import { readsTemplates } from "./commands.ts";

const COMMAND = "Command of llama-server";
const NEXT = `Edit the unit's ExecStart, then "systemctl --user daemon-reload" and /ai-server-restart.`;

/** Builds below this read chat templates only with `--jinja` (llama.cpp #17524, of November 2025). */
const BUILD_WITH_TEMPLATES = 7100;

/** @throws the signal's reason */
export async function* single(visit: Visit): AsyncIterable<Finding> {
  const words = await commandLine(visit);
  if (typeof words === "string") {
    yield unchecked("config-file", COMMAND, words);
    return;
  }
  const line = words.map(quote).join(" ");
  const start = startOfCommand(line, []);
  if (start?.kind !== "llama-server") {
    yield unchecked("config-file", COMMAND, "the unit does not show it; something else starts llama-server");
    return;
  }
  yield ok("config-file", COMMAND, "the unit shows it");
  yield* context(visit, line);
  yield await templates(visit, start);
}

/** @returns a sentence where it is not known */
async function commandLine(visit: Visit): Promise<readonly string[] | string> {
  try {
    const { commandLine: words, problem } = await visit.unit();
    return words ?? problem ?? "systemd does not report it.";
  } catch (error) {
    visit.signal.throwIfAborted();
    if (!(error instanceof ServerError)) throw error;
    return sentenceOf(error);
  }
}

async function* context(visit: Visit, line: string): AsyncIterable<Finding> {
  const subject = "Context size";
  const facts = visit.outOfReach === undefined ? (await visit.models().catch(() => []))[0] : undefined;
  visit.signal.throwIfAborted();
  const tokens = contextOfCommand(line);
  if (facts?.context.source !== "live") {
    yield unchecked("context", subject, "the model does not report its context");
    return;
  }
  const live = { tokens: facts.context.value, trained: facts.trainedContext?.value };
  const gets = `a request may use ${live.tokens} tokens`;
  if (tokens === undefined) {
    yield ok("context", subject, `${gets}; the command sets none`);
    return;
  }
  const { kind, expected, why } = judgeContext(tokens, line, live);
  const seen = `${gets}, and --ctx-size ${tokens} should give it ${expected}: ${why}`;
  yield kind === "less"
    ? warning("context", subject, seen, `Set a smaller size. ${NEXT}`)
    : ok("context", subject, `${gets} of --ctx-size ${tokens}`);
}

async function templates(visit: Visit, start: ModelStart): Promise<Finding> {
  const reads = readsTemplates(start);
  const seen = "llama-server refuses every request that brings tools, as pi's do";
  if (reads === false) return fault("jinja", "Tools", `with --no-jinja ${seen}`, `Take it out. ${NEXT}`);
  if (reads === true) return ok("jinja", "Tools", "the chat template is read (--jinja)");
  const version =
    visit.outOfReach === undefined
      ? await visit.server.version(visit.signal).catch(() => undefined)
      : undefined;
  visit.signal.throwIfAborted();
  const build = /^b(\d{1,6})\b/.exec(version?.version ?? "")?.[1];
  if (build === undefined)
    return unchecked(
      "jinja",
      "Tools",
      "llama-server before December 2025 needs --jinja; its version is not known",
    );
  if (Number(build) < BUILD_WITH_TEMPLATES)
    return fault("jinja", "Tools", `without --jinja ${seen}`, `Add --jinja. ${NEXT}`);
  return ok("jinja", "Tools", "the chat template is read, as llama-server does by itself");
}
