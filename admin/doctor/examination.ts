/** Makes the checks of each group in turn; in the terminal their findings are a table that grows. */
import { REAL_CLOCK } from "../../lib/clock.ts";
import { sentenceOf } from "../../lib/errors.ts";
import { inWholeTerminal } from "../../ui/whole-terminal.ts";
import { type Finding, type Group, unchecked } from "./finding.ts";
import { DoctorView, type Progress } from "./view.ts";
import type { Visit } from "./visit.ts";
import type { Examination } from "./words.ts";

const TICK_MS = 1000;

/**
 * Makes the checks of the groups. Where the user stops them, what was found until then is returned.
 *
 * @param onProgress after each finding, and when a group begins
 * @throws the reason of the command's signal
 */
export async function examine(
  visit: Visit,
  groups: readonly Group[],
  onProgress: (progress: Progress) => void = ({ at }) => visit.call.waiting.say(`Checking: ${at.title}`),
): Promise<Examination[]> {
  const done: Examination[] = [];
  for (const group of groups) {
    const findings: Finding[] = [];
    const since = REAL_CLOCK.now();
    const report = (): void =>
      onProgress({ examined: [...done, { group, findings }], at: placeOf(visit, group, since) });
    report();
    const isStopped = await isStoppedIn(visit, group, (finding) => {
      findings.push(finding);
      report();
    });
    done.push({ group, findings, isStopped, leaves: isStopped ? visit.leaves : undefined });
    visit.doing = undefined;
    if (isStopped) break;
  }
  return done;
}

/** What is being looked at, as it is when it is drawn. */
function placeOf(visit: Visit, { title }: Group, since: number): Progress["at"] {
  return {
    get title() {
      return visit.doing ?? title;
    },
    since,
  };
}

/** A check that fails in an unexpected way must not hide what the others have found. */
async function isStoppedIn(visit: Visit, group: Group, take: (finding: Finding) => void): Promise<boolean> {
  try {
    for await (const finding of group.examine(visit)) {
      if (visit.signal.aborted) break;
      take(finding);
    }
  } catch (error) {
    if (!visit.signal.aborted) take(unchecked("group", "The other checks", sentenceOf(error)));
  }
  visit.call.waiting.signal.throwIfAborted();
  return visit.signal.aborted;
}

/** The same, in the terminal with the table until the last check. Escape stops it. */
export async function examineShown(
  visit: Visit,
  groups: readonly Group[],
  stop: () => void,
): Promise<Examination[]> {
  const { ctx, waiting, ended } = visit.call;
  if (ctx.mode !== "tui") return examine(visit, groups);
  let redraw = (): void => {};
  let progress: Progress = { examined: [], at: { title: groups[0]?.title ?? "", since: REAL_CLOCK.now() } };
  const examining = examine(visit, groups, (now) => {
    progress = now;
    redraw();
  });
  const table = (): Promise<void> =>
    inWholeTerminal<void>(ctx, ended, ({ tui, theme, keys }, close, closed) => {
      redraw = () => tui.requestRender();
      const still = REAL_CLOCK.every(TICK_MS, redraw);
      closed.addEventListener("abort", still, { once: true });
      examining.catch(() => undefined).finally(() => close(undefined));
      return new DoctorView({ tui, theme, keys, progress: () => progress, now: REAL_CLOCK.now, stop });
    });
  await waiting.ask(table);
  return examining;
}
