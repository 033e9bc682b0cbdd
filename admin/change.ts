/** What the commands that change the server's configuration share: the safe change with its words on the screen. */
import type { Config } from "../config.ts";
import type { Edit, Preview, Progress } from "../host/outcome.ts";
import type { Host } from "../host/service.ts";
import type { HostFile, RemoteMachine, UnitStatus } from "../host/ssh/machine.ts";
import type { ModelServer } from "../server/model-server.ts";
import { show } from "../ui/output.ts";
import { type Call, isConfirmed } from "./call.ts";
import { faultText } from "./fault-text.ts";
import { loadHooks } from "./loading.ts";
import { answerWords, type CommandOutcome, reportOf } from "./outcome.ts";

/**
 * What a step of a change is called on the screen.
 *
 * @param restarted what a restart restarts
 */
export function stepWords({ step, id, isGoingBack }: Progress, restarted: string): string {
  const name = id ?? "the model";
  const words: Record<Progress["step"], string> = {
    status: "Asking for the state of the unit",
    write: "Writing the config",
    reload: "Letting the router read the config again",
    "await reload": "Waiting for llama-swap to reload the config",
    restart: `Restarting ${restarted}`,
    answer: "Waiting for the server to answer again",
    load: `Loading ${name}`,
    verify: `Checking the context of ${name}`,
    "load again": `Loading ${name} again`,
    restore: "Putting the old config back",
  };
  const said = words[step];
  return isGoingBack && step !== "restore" ? `Going back: ${said}` : said;
}

/** What a change needs: the server from both sides, and the words for the screen. */
export interface Change {
  readonly host: Host;
  /** With path and unit of this kind of server. */
  readonly config: Config;
}

/** The server for a change that says each step on the screen and remembers how long models take to load. */
export async function changeOn(
  call: Call,
  server: ModelServer,
  machine: RemoteMachine,
  config: Config,
): Promise<Change> {
  const { waiting } = call;
  const { serviceUnit, restartTimeoutMs, loadTimeoutMs } = config;
  const { httpProbe } = await import("../host/probe.ts");
  // A server that does not answer can only be restarted.
  const backend = await server.backend(waiting.signal).catch(() => undefined);
  waiting.signal.throwIfAborted();
  const probe = httpProbe(server, loadHooks(call, server), backend);
  const report = (progress: Progress): void => {
    const restarted = progress.byCommand ? `the server by ${restartCommandName(config)}` : serviceUnit;
    if (progress.state === "begun") waiting.say(stepWords(progress, restarted));
  };
  return { host: { machine, probe, limits: { restartTimeoutMs, loadTimeoutMs }, report }, config };
}

/** Shows what an edit would do, asks, and makes the change where the user agrees. */
export async function askAndApply(
  { waiting }: Call,
  { host }: Change,
  edit: Edit,
  ask: (preview: Preview) => Promise<boolean>,
): Promise<{ outcome: CommandOutcome; preview?: Preview }> {
  const { signal } = waiting;
  const { previewChange, applyChange } = await import("../host/change.ts");
  if (edit.text === edit.file.text) return { outcome: { kind: "unchanged" } };
  try {
    const preview = await previewChange(host, edit, signal);
    if (!(await ask(preview))) return { outcome: { kind: "declined" }, preview };
    return { outcome: await applyChange(host, preview, signal), preview };
  } catch (error) {
    if (!signal.aborted) throw error;
    return { outcome: { kind: "cancelled", file: "old", backup: undefined } };
  }
}

/** What the command is called that restarts the server in place of systemctl: a wrapper runs its own and no other. */
export function restartCommandName({ sshHost, sshMode }: Config): string {
  const isWrapped = sshMode === "wrapper" && sshHost !== "local";
  return isWrapped ? "the wrapper's restart_command" : "AI_SERVER_RESTART_COMMAND";
}

/** What a restart is, as a sentence without its end: `llama-swap.service is restarted`. */
function restartWords({ hasRestartCommand }: UnitStatus, config: Config): string {
  if (!hasRestartCommand) return `${config.serviceUnit} is restarted`;
  return `the server is restarted by ${restartCommandName(config)}`;
}

/** Whether a change restarts the server, in place of a reload. */
export function isRestart({ unit, reloads }: Pick<Preview, "unit" | "reloads">): boolean {
  return !unit.watchesConfig && !reloads;
}

/** How a change of the config takes effect, as sentences. */
export function effectWords({ unit, reloads }: Preview, config: Config): string {
  const restarted = restartWords(unit, config);
  if (unit.watchesConfig) {
    const otherwise = unit.problem === undefined ? ` Where no reload comes, ${restarted}.` : "";
    return `llama-swap reloads the config by itself, which unloads every model.${otherwise}`;
  }
  if (reloads)
    return `The router reads its preset again, which unloads only the models that change. An old router cannot: then ${restarted}, which unloads every model.`;
  const why = unit.isBlind
    ? " Its container has the config as one mounted file, so that -watch-config never sees the new one."
    : "";
  return `${restarted.replace(/^the/, "The")}, which unloads every model.${why}`;
}

/** What of a change that was done has to be said beside it: a restart by a command of the user's. */
export function restartedWords(preview: Preview | undefined, config: Config): string {
  if (preview === undefined || !isRestart(preview) || !preview.unit.hasRestartCommand) return "";
  return ` ${restartWords(preview.unit, config).replace(/^the server is/, "The server was")}.`;
}

/** What the choices of a question before a change are called. @param act as "Change" */
export function actsOf(act: string, preview: Preview): readonly [string, string] {
  return ["Keep as it is", `${act} and ${isRestart(preview) ? "restart" : "reload"}`];
}

/** After a cancelled change that has written its file: offers to put the text of before back. */
export async function offerWayBack(
  call: Call,
  { host }: Change,
  outcome: CommandOutcome,
  file: HostFile,
  path: string,
): Promise<void> {
  if (outcome.kind !== "cancelled" || outcome.file !== "new" || outcome.backup === undefined) return;
  if (call.ended.aborted) return;
  const isWanted = await isConfirmed(
    call,
    {
      title: "Put the old config back?",
      consequences: ["The server may not run with the new config yet, and whether it can was not checked."],
    },
    ["Keep the new config", "Put the old one back"],
  );
  if (!isWanted) return;
  try {
    const { applyChange, backupEdit, previewChange } = await import("../host/change.ts");
    const edit = await backupEdit(host.machine, file.name, outcome.backup);
    const back = await applyChange(host, await previewChange(host, edit));
    const { level, text } = reportOf(back, `The old config is back, and ${answerWords(back)}.`, path);
    show(call.ctx, text, level);
  } catch (error) {
    // Nobody else tells of it: what a cancelled command throws is not heard.
    show(call.ctx, `The old config was not put back. ${faultText(error)}`, "error");
  }
}
