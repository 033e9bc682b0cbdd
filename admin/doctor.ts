/** `/ai-server-doctor`: goes the whole way from this laptop to the model's first token. */
import { shown } from "../host/config/refusals.ts";
import { ServerError, sentenceOf } from "../lib/errors.ts";
import { show } from "../ui/output.ts";
import { readFlags } from "./arguments.ts";
import { type Call, requireUser } from "./call.ts";
import { config } from "./doctor/config.ts";
import { examine, examineShown } from "./doctor/examination.ts";
import { type Finding, type Fix, fault, type Group } from "./doctor/finding.ts";
import { laptop } from "./doctor/laptop.ts";
import { machine } from "./doctor/machine.ts";
import { permittedTrial, type Trial } from "./doctor/model/permission.ts";
import { model as modelGroup } from "./doctor/model.ts";
import { server } from "./doctor/server.ts";
import { openVisit } from "./doctor/visit.ts";
import { way } from "./doctor/way.ts";
import { type Examination, findingLines, resultOf } from "./doctor/words.ts";
import { faultText } from "./report.ts";

const GROUPS: readonly Group[] = [laptop, way, server, config, machine, modelGroup];

interface Request {
  isFixing: boolean;
  /** As the user wrote it. */
  model: string | undefined;
}

export async function doctor(call: Call): Promise<void> {
  const { isFixing, model } = requestOf(call);
  if (isFixing) requireUser(call.ctx);
  const trial = model === undefined ? undefined : await permittedTrial(call, model);
  const seen = await visited(call, trial, GROUPS, examineShown);
  show(call.ctx, resultOf(seen, isFixing));
  if (isFixing && !seen.some(({ isStopped }) => isStopped)) await fix(call, seen, trial);
}

/** @throws {ServerError} for what the command does not take */
function requestOf({ argument, aiServer }: Pick<Call, "argument" | "aiServer">): Request {
  const ids = aiServer.models.map(({ id }) => id);
  const { given, text } = readFlags(argument, ["--fix", "--model"], ids);
  const isFixing = given.has("--fix");
  if (given.has("--model")) {
    if (text !== "") return { isFixing, model: text };
    throw new ServerError("Which model? Use /ai-server-doctor --model <id>; Tab completes the id.", {
      link: "model",
    });
  }
  if (text === "") return { isFixing, model: undefined };
  throw new ServerError(`/ai-server-doctor takes --fix and --model <id>; ${shown(text)} is not understood.`, {
    link: "configuration",
  });
}

/** The groups, examined in turn; a wrong setting is the only finding, since nothing can be looked at with it. */
async function visited(
  call: Call,
  trial: Trial | undefined,
  groups: readonly Group[],
  how: typeof examineShown,
): Promise<readonly Examination[]> {
  const stopped = new AbortController();
  const signal = AbortSignal.any([call.waiting.signal, stopped.signal]);
  const visit = await openVisit(call, trial, signal).catch((error: unknown) => {
    if (!(error instanceof ServerError)) throw error;
    return error;
  });
  if (visit instanceof ServerError) {
    const next = "Correct it, or the login with /login ai-server, and run /ai-server-doctor again.";
    return [{ group: laptop, findings: [fault("settings", "Settings", sentenceOf(visit), next)] }];
  }
  try {
    return await how(visit, groups, () => stopped.abort());
  } finally {
    await visit.close();
  }
}

/** Offers what can be fixed, one after another, and looks again at each that was. */
async function fix(call: Call, seen: readonly Examination[], trial: Trial | undefined): Promise<void> {
  const fixable = seen.flatMap(({ group, findings }) =>
    findings.flatMap((finding) => (finding.fix === undefined ? [] : [{ group, finding, fix: finding.fix }])),
  );
  if (fixable.length === 0) return show(call.ctx, "Nothing here can be fixed by the doctor.");
  for (const { group, finding, fix } of fixable) {
    if (!(await isCarriedOut(call, finding, fix))) continue;
    const again = await visited(call, trial, [group], (visit, groups) => examine(visit, groups));
    const now = again
      .flatMap(({ findings }) => findings)
      .find(({ check, subject }) => check === finding.check && subject === finding.subject);
    if (now === undefined) show(call.ctx, `✓ ${finding.subject}: the check finds nothing any more.`);
    else showFinding(call, now);
  }
}

/** A fix that fails is reported, and the next one is offered all the same. */
async function isCarriedOut(call: Call, { subject }: Finding, fix: Fix): Promise<boolean> {
  try {
    if (await fix.run(call)) return true;
    show(call.ctx, `${subject}: left as it is.`);
  } catch (error) {
    call.waiting.signal.throwIfAborted();
    show(call.ctx, `${subject}: ${faultText(error)}`, "error");
  }
  return false;
}

function showFinding({ ctx }: Call, finding: Finding): void {
  const level = ({ ok: "info", unchecked: "info", warning: "warning", fault: "error" } as const)[
    finding.verdict
  ];
  show(ctx, { level, content: (width, style) => findingLines(finding, width, style) });
}
