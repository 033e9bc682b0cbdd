/** The unit: that it exists, starts with the machine, runs, and has no line that a user unit cannot have. */
import type { WrongLine } from "../../../host/examine/unit-file.ts";
import { counted, duration } from "../../../lib/figures.ts";
import { type Finding, fault, ok, unchecked, warning } from "../finding.ts";
import { isLlamaSwap, onServer, type Site, stateInMachine, withoutUnit } from "./site.ts";
import { enabling, writing } from "./unit-fixes.ts";

/** llama-swap (since v218) gives requests in flight 30 s, and exits after 35 s at the latest. */
const STOP_SECONDS = 35;

/** A unit that was started again by itself within this time may be about to end again. */
const SETTLED_SECONDS = 600;

/** systemd's own exit statuses (systemd.exec(5)). */
const EXITS: Readonly<Record<number, string>> = { 200: "CHDIR", 203: "EXEC", 216: "GROUP", 217: "USER" };

/** @throws {HostError}; the signal's reason */
export async function* unit(site: Site): AsyncIterable<Finding> {
  const { facts, host, signal } = site;
  const name = host.config.serviceUnit;
  const { problem, path, fileState } = facts.unit;
  const why = withoutUnit(site);
  if (why !== undefined) {
    const state = host.config.restartCommand === undefined ? stateInMachine(facts.unit) : undefined;
    yield state === undefined ? unchecked("unit", "Unit", why) : ofTheMachine(site, state);
    return;
  }
  if (problem?.code === "no-unit") {
    yield missing(site);
    return;
  }
  if (problem !== undefined) {
    const { problem: sentence } = await host.machine.status(signal);
    yield fault(
      "unit",
      "Unit",
      sentence ?? problem.detail,
      "Until then, pi can neither restart the server nor see its state.",
    );
  } else if (fileState === "masked") {
    yield fault(
      "unit",
      "Unit",
      `${name} is masked, so nothing can start it`,
      `${onServer(site)}: systemctl --user unmask ${name}`,
    );
    return;
  } else {
    yield known(site, path);
    yield enabled(site);
    yield running(site);
    yield* stopping(site);
  }
  yield* lines(site);
}

function missing(site: Site): Finding {
  const { serviceUnit } = site.host.config;
  const seen = `there is no ${serviceUnit} of ${site.facts.user}'s`;
  const fix = writing(site);
  const next =
    "Set AI_SERVER_SERVICE_UNIT to its name (systemctl --user list-units shows it), or AI_SERVER_RESTART_COMMAND to what restarts the server";
  return fault(
    "unit",
    "Unit",
    seen,
    fix === undefined ? `${next}.` : `${next}; --fix writes a new unit.`,
    fix,
  );
}

function ofTheMachine({ host }: Site, state: string): Finding {
  const { serviceUnit } = host.config;
  return warning(
    "unit",
    "Unit",
    `${serviceUnit} is a unit of the whole machine (${state}), which pi cannot restart as the user`,
    `Set AI_SERVER_RESTART_COMMAND='sudo -n /usr/bin/systemctl restart ${serviceUnit}', and allow that in sudoers (docs/administration.md).`,
  );
}

function known(site: Site, path: string): Finding {
  if (!site.facts.unit.needsReload) return ok("unit", "Unit", path);
  const seen = `${path} was changed after systemd read it`;
  return warning(
    "unit",
    "Unit",
    seen,
    `${onServer(site)}: systemctl --user daemon-reload, and /ai-server-restart here.`,
  );
}

function enabled(site: Site): Finding {
  const [check, subject] = ["unit-enabled", "Start with the machine"];
  const { fileState, wantedBy } = site.facts.unit;
  const { serviceUnit } = site.host.config;
  if (wantedBy.length > 0 && fileState !== "enabled-runtime") {
    return ok(check, subject, `${fileState}, by ${wantedBy.join(", ")}`);
  }
  const command = `${onServer(site)}: systemctl --user enable ${serviceUnit}`;
  const seen: Readonly<Record<string, string>> = {
    "enabled-runtime": "it is enabled until the next start of the machine only",
    enabled: "it is enabled, but no target of the user's starts it",
    static: "the unit has no [Install] section, so nothing starts it",
  };
  if (fileState === "enabled" || fileState === "static") {
    const next = `In its file, under [Install], write WantedBy=default.target; then, on the server: systemctl --user daemon-reload && systemctl --user reenable ${serviceUnit}`;
    return warning(check, subject, seen[fileState] ?? "", next);
  }
  if (["disabled", "linked", "linked-runtime", "enabled-runtime"].includes(fileState)) {
    return warning(check, subject, seen[fileState] ?? "the unit is not enabled", command, enabling(site));
  }
  return unchecked(
    check,
    subject,
    `systemd reports ${fileState === "" ? "no state" : `the state ${fileState}`} for the unit's file, and no target starts it`,
  );
}

function running(site: Site): Finding {
  const [check, subject] = ["unit-running", "State of the unit"];
  const { activeState, subState, result, restarts, exitStatus, activeSeconds } = site.facts.unit;
  const ended = exitStatus === 0 ? result : `${result}, exit status ${exitWords(exitStatus)}`;
  const times = counted(restarts, "time");
  if (activeState === "active" || activeState === "reloading") {
    const since = activeSeconds === undefined ? "" : ` for ${age(activeSeconds)}`;
    const again = restarts === 0 ? "" : `; systemd started it again ${times} by itself`;
    const seen = `${subState}${since}${again}`;
    if (restarts === 0 || (activeSeconds ?? SETTLED_SECONDS) >= SETTLED_SECONDS)
      return ok(check, subject, seen);
    return warning(check, subject, seen, "/ai-server-logs shows why it ended.");
  }
  if (subState === "auto-restart" || (activeState === "activating" && restarts > 0)) {
    const seen = `it ends at once and is started again, ${times} so far (${ended})`;
    return fault(check, subject, seen, exitAdvice(exitStatus));
  }
  if (activeState === "activating") return ok(check, subject, `starting (${subState})`);
  if (activeState === "failed")
    return fault(check, subject, `it has failed (${ended})`, exitAdvice(exitStatus));
  const next = "/ai-server-restart starts it; /ai-server-logs shows how it ended.";
  return fault(check, subject, `it is not running (${activeState || "unknown"})`, next);
}

/** `3 d 4 h`, `5 h 6 min`, and below an hour as any other time. */
function age(seconds: number): string {
  const hours = Math.floor(seconds / 3600);
  if (hours >= 24) return `${Math.floor(hours / 24)} d ${hours % 24} h`;
  return hours > 0 ? `${hours} h ${Math.floor((seconds % 3600) / 60)} min` : duration(seconds * 1000);
}

function exitWords(status: number): string {
  const name = EXITS[status];
  return name === undefined ? String(status) : `${status}/${name}`;
}

function exitAdvice(status: number): string {
  if (status === 216 || status === 217) {
    return "Remove User= and Group= from the unit: a user unit already runs as its user, and may not change that.";
  }
  if (status === 203)
    return "systemd cannot run the program in ExecStart=: check its path and that it is executable.";
  return "/ai-server-logs shows why; /ai-server-restart starts it again.";
}

function* stopping(site: Site): Iterable<Finding> {
  const [check, subject] = ["unit-stop", "Time to stop"];
  const { stopSeconds } = site.facts.unit;
  if (!isLlamaSwap(site) || stopSeconds === undefined) return;
  const limit = stopSeconds === Number.POSITIVE_INFINITY ? "no limit" : `${Math.round(stopSeconds)} s`;
  if (stopSeconds > STOP_SECONDS) {
    yield ok(check, subject, `${limit}; llama-swap needs up to ${STOP_SECONDS} s`);
    return;
  }
  const seen = `${limit}, but llama-swap needs up to ${STOP_SECONDS} s: systemd kills it, and with it answers in flight`;
  yield warning(check, subject, seen, "Set TimeoutStopSec=45 in the unit's [Service] section.");
}

function* lines(site: Site): Iterable<Finding> {
  const { unit: seen } = site.facts;
  const [check, subject] = ["unit-lines", "Lines of the unit"];
  if (seen.lines.length === 0) {
    yield unchecked(check, subject, "the unit's file cannot be read");
    return;
  }
  if (seen.wrong.length === 0) yield ok(check, subject, "none that a user unit cannot have");
  for (const wrong of seen.wrong) {
    const { line } = wrong;
    const next = `Remove the line from ${line.path || "the unit"}${REPLACED[line.key] ?? instead(wrong)}, and run systemctl --user daemon-reload there.`;
    const name = `${line.key}= in the unit`;
    const isFatal = wrong.why === "account" && [216, 217].includes(seen.exitStatus);
    const words = `${line.key}=${line.value} ${WHY[wrong.why]}`;
    yield isFatal ? fault(check, name, words, next) : warning(check, name, words, next);
  }
}

const WHY: Readonly<Record<WrongLine["why"], string>> = {
  unknown: "is no setting that systemd knows, so it is ignored",
  account:
    "has no place in a user unit, which runs as its user already; it can keep it from starting (216/GROUP)",
  target: "waits for nothing: a user's systemd does not have this target of the machine's",
  wanted:
    "does nothing: a user's systemd does not have this target, so the unit does not start with the machine",
};

/** What is meant by a setting that does not exist. */
const REPLACED: Readonly<Record<string, string>> = {
  LimitMEMLOCK_BYTES: " (the setting is called LimitMEMLOCK=, and cannot be raised above root's limit here)",
};

function instead({ why }: WrongLine): string {
  return why === "wanted" ? " and write WantedBy=default.target" : "";
}
