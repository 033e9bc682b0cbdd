import type { Activity } from "../stream.ts";

function seconds(milliseconds: number): string {
  return `${Math.round(milliseconds / 1000)} s`;
}

/** What pi's working line says of a turn; undefined where pi's own words are right. */
export function activityLine(activity: Activity, modelName: string): string | undefined {
  switch (activity.kind) {
    case "connecting":
      return "Waiting for the server";
    case "waiting":
      return `Waiting for ${activity.for}`;
    case "loading":
      return `Loading ${modelName} · ${seconds(activity.elapsedMs)}`;
    case "prompt": {
      const total = activity.total - activity.cached;
      const done = activity.processed - activity.cached;
      return total <= 0
        ? "Reading prompt"
        : `Reading prompt · ${Math.max(0, Math.min(100, Math.floor((100 * done) / total)))} %`;
    }
    case "retrying":
      return `Asking again in ${seconds(activity.delayMs)}: ${activity.why}`;
    case "generating":
      return undefined;
  }
}
