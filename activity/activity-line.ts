import { counted, duration, rateWords, shortTokens } from "../lib/figures.ts";
import { ANSWER_KEY } from "../lib/thinking.ts";
import type { LoadStage } from "./load-state.ts";
import type { Activity, QuietReason } from "./turn-activity.ts";

/** Time left, in steps that do not flicker. */
function remaining(milliseconds: number): string {
  const seconds = Math.ceil(milliseconds / 1000);
  return duration(1000 * (seconds < 20 ? seconds : Math.ceil(seconds / 5) * 5));
}

function timed(what: string, elapsedMs: number): string {
  return elapsedMs < 1000 ? what : `${what} · ${duration(elapsedMs)}`;
}

function waitingWords(
  { blockedBy, requests, position, ahead, elapsedMs }: Extract<Activity, { kind: "waiting" }>,
  modelName: string,
): string {
  const whom =
    ahead !== undefined
      ? `Waiting for ${modelName}, which answers ${ahead === 1 ? "another request" : `${ahead} other requests`}`
      : position !== undefined
        ? `Place ${position} in the queue`
        : blockedBy === undefined
          ? "Waiting for the server"
          : requests === undefined || requests === 0
            ? `Waiting for ${blockedBy} to unload`
            : `Waiting for ${blockedBy}, which answers ${requests === 1 ? "a request" : `${requests} requests`}`;
  return timed(whom, elapsedMs);
}

/** Why an answer that has begun is silent. */
function quietWords(why: QuietReason, modelName: string): string {
  switch (why) {
    case "starting":
      return `the server loads ${modelName} again`;
    case "stopping":
      return `the server is stopping ${modelName}`;
    case "gone":
      return `${modelName} was unloaded`;
    case "unreachable":
      return "the server does not answer at all";
    case "not held":
      return "the server no longer works on it";
  }
}

function silentWords(
  { tokens, why, elapsedMs }: Extract<Activity, { kind: "silent" }>,
  modelName: string,
): string {
  const count = tokens === 0 ? "" : ` · ${counted(tokens, "token")}`;
  const reason = why === undefined ? "" : `: ${quietWords(why, modelName)}`;
  return `No answer for ${duration(elapsedMs)}${reason}${count}`;
}

function downWords({ by, elapsedMs }: Extract<Activity, { kind: "down" }>): string {
  const what = by === undefined ? "The server is restarting or stopped" : `The server is restarting (${by})`;
  return timed(what, elapsedMs);
}

/** How far a load has come, to add to its name. */
export function stageWords(stage: LoadStage | undefined): string {
  return stage === undefined ? "" : ` (${stage.name} ${Math.floor(100 * stage.share)} %)`;
}

function loadingWords(
  { elapsedMs, expectedMs, again, stage }: Extract<Activity, { kind: "loading" }>,
  modelName: string,
): string {
  const about = expectedMs === undefined ? "" : ` of about ${duration(expectedMs)}`;
  const line = (what: string): string =>
    `Loading ${what}${stageWords(stage)} · ${duration(elapsedMs)}${about}`;
  if (again === undefined) return line(modelName);
  const why = again.blockedBy === undefined ? "it was unloaded" : `${again.blockedBy} was loaded`;
  return `${line(`${modelName} again`)} · ${why} meanwhile`;
}

function promptWords(activity: Extract<Activity, { kind: "prompt" }>): string {
  const { total, cached, processed, perSecond, leftMs } = activity;
  const toRead = total - cached;
  if (toRead <= 0) return "Reading prompt";
  const percent = Math.max(0, Math.min(100, Math.floor((100 * (processed - cached)) / toRead)));
  const size = cached > 0 ? `${shortTokens(total)} (${shortTokens(cached)} cached)` : shortTokens(total);
  return [
    `Reading prompt · ${percent} % of ${size}`,
    ...(perSecond === undefined ? [] : [`${rateWords(perSecond)} tok/s`]),
    ...(leftMs === undefined || percent === 100 ? [] : [`${remaining(leftMs)} left`]),
  ].join(" · ");
}

/** What a turn does, on one line. */
export function activityLine(activity: Activity, modelName: string): string {
  switch (activity.kind) {
    case "connecting":
      return timed("Waiting for the server", activity.elapsedMs);
    case "waiting":
      return waitingWords(activity, modelName);
    case "down":
      return downWords(activity);
    case "silent":
      return silentWords(activity, modelName);
    case "loading":
      return loadingWords(activity, modelName);
    case "prompt":
      return promptWords(activity);
    case "retrying":
      return `Asking again in ${remaining(activity.leftMs)}: ${activity.why}`;
    case "generating": {
      const { tokens, perSecond, canAnswerNow } = activity;
      const count = counted(tokens, "token");
      const line = perSecond === undefined ? count : `${rateWords(perSecond)} tok/s · ${count}`;
      return canAnswerNow ? `${line} · ${ANSWER_KEY} answers now` : line;
    }
  }
}

/** The line of the turn in front of the user, with how many others there are. */
export function turnLine(activity: Activity, modelName: string, others: number): string {
  const line = activityLine(activity, modelName);
  return others === 0 ? line : `${line} · and ${others} more`;
}
